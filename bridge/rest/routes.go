package rest

import (
	"context"
	_ "embed"
	"net/http"
	"path"
	"slices"
	"strings"

	"github.com/hypha-node/hypha-node/bridge"
)

// openAPI describes the routes (OpenAPI 3.1, spec.openapis.org/oas/v3.1.1).
//
//go:embed openapi.json
var openAPI string

// Resources is what the routes need of a job.
type Resources interface {
	// Info describes the job.
	Info() bridge.Info
	// Closing tells whether the job ends.
	Closing() bool
	// Fetch brings the files of a reference into the work directory.
	Fetch(ctx context.Context, r bridge.FetchRequest) ([]bridge.Result, error)
}

var _ Resources = (*bridge.Job)(nil)

// route is one row of the table.
type route struct {
	method string
	path   string // as http.ServeMux has it
	serve  func(h *Handler, w http.ResponseWriter, r *http.Request) error
}

// routes is the API.
func routes() []route {
	return []route{
		{http.MethodGet, "/healthz", (*Handler).health},
		{http.MethodGet, "/job", (*Handler).job},
		{http.MethodGet, "/openapi.json", (*Handler).openAPI},
		{http.MethodPost, "/resources/fetch", (*Handler).fetch},
	}
}

// mux returns a router of the table that answers JSON in every case.
func (h *Handler) mux() http.Handler {
	m := http.NewServeMux()
	allow := map[string][]string{}
	for _, rt := range routes() {
		allow[rt.path] = append(allow[rt.path], rt.method)
		if rt.method == http.MethodGet {
			allow[rt.path] = append(allow[rt.path], http.MethodHead)
		}
		m.HandleFunc(rt.method+" "+rt.path, func(w http.ResponseWriter, r *http.Request) {
			if err := rt.serve(h, w, r); err != nil {
				h.fail(w, r, err)
			}
		})
	}
	for p, methods := range allow {
		slices.Sort(methods)
		m.HandleFunc(p, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Allow", strings.Join(methods, ", "))
			h.fail(w, r, errMethod)
		})
	}
	m.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { h.fail(w, r, errRoute) })
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// The mux redirects a path that is not clean, in HTML; here nothing lives there.
		if r.Method == http.MethodConnect || !strings.HasPrefix(r.URL.Path, "/") || path.Clean(r.URL.Path) != r.URL.Path {
			h.fail(w, r, errRoute)
			return
		}
		m.ServeHTTP(w, r)
	})
}

// health answers whether the job takes requests.
func (h *Handler) health(w http.ResponseWriter, _ *http.Request) error {
	if h.res.Closing() {
		return bridge.ErrClosed
	}
	return h.reply(w, http.StatusOK, map[string]string{"status": "ok"})
}

// job describes the job.
func (h *Handler) job(w http.ResponseWriter, _ *http.Request) error {
	return h.reply(w, http.StatusOK, h.res.Info())
}

// openAPI answers the description of this API.
func (h *Handler) openAPI(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Content-Type", "application/json")
	_, err := h.deadlined(w).Write([]byte(openAPI))
	return sent(err)
}

// fetch is POST /resources/fetch.
func (h *Handler) fetch(w http.ResponseWriter, r *http.Request) error {
	body, err := h.readBody(w, r)
	if err != nil {
		return err
	}
	req, err := parseFetch(body)
	if err != nil {
		return err
	}
	results, err := h.res.Fetch(r.Context(), req)
	if err != nil {
		return err
	}
	return h.reply(w, http.StatusOK, results)
}
