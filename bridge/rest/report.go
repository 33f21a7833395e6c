package rest

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/hypha-node/hypha-node/connectors"
)

// report is POST /status/send, /action/update and /job/progress. What executors
// and their controllers say to each other changes often: the body goes on byte
// for byte, and so does the answer.
func (h *Handler) report(w http.ResponseWriter, r *http.Request) error {
	body, err := h.readBody(w, r)
	if err != nil {
		return err
	}
	answer, err := h.res.Report(r.Context(), r.URL.Path, json.RawMessage(body))
	if errors.Is(err, connectors.ErrUpstream) {
		err = fmt.Errorf("%w: %w", errController, err)
	}
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	_, err = h.deadlined(w).Write(answer)
	return sent(err)
}
