package rest

import (
	"net/http"
)

// transfers is GET /transfers.
func (h *Handler) transfers(w http.ResponseWriter, _ *http.Request) error {
	return h.reply(w, http.StatusOK, h.res.Transfers())
}

// transfer is GET /transfers/{id}.
func (h *Handler) transfer(w http.ResponseWriter, r *http.Request) error {
	t, err := h.res.Transfer(r.PathValue("id"))
	if err != nil {
		return err
	}
	return h.reply(w, http.StatusOK, t)
}

// cancelTransfer is DELETE /transfers/{id}.
func (h *Handler) cancelTransfer(w http.ResponseWriter, r *http.Request) error {
	if err := h.res.Cancel(r.PathValue("id")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
