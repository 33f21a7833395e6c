package rest

import (
	"context"
	_ "embed"
	"encoding/json"
	"iter"
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

// Resources is what the routes need of a job. It is safe for concurrent use; how
// the methods behave is told by those of bridge.Job.
type Resources interface {
	Job
	Files
	Exchange
	Ledger
}

var _ Resources = (*bridge.Job)(nil)

// Job is what a job says of itself.
type Job interface {
	// Info describes the job.
	Info() bridge.Info
	// Closing tells whether the job ends.
	Closing() bool
	// Stats returns what the job did.
	Stats() bridge.Stats
}

// Files come into the work directory and the store.
type Files interface {
	// Fetch brings the files of a reference into the work directory.
	Fetch(ctx context.Context, r bridge.FetchRequest) ([]bridge.Result, error)
	// Prefetch begins to bring them into the store.
	Prefetch(ctx context.Context, r bridge.FetchRequest) (transferID string, err error)
	// Put takes a file or a directory of the work directory into the store.
	Put(ctx context.Context, r bridge.PutRequest) (bridge.Published, error)
}

// Exchange is what a job gives to others and gets from them.
type Exchange interface {
	// Send sends a file and returns when the peers have it.
	Send(ctx context.Context, r bridge.SendRequest) ([]bridge.Delivered, error)
	// SendLater returns when the file was read and the send is recorded.
	SendLater(ctx context.Context, r bridge.SendRequest) (transferID string, err error)
	// Receive yields what peers sent; ctx ends it.
	Receive(ctx context.Context, r bridge.ReceiveRequest) iter.Seq2[bridge.Received, error]
	// Report passes what an executor says on to the job's controller.
	Report(ctx context.Context, route string, body json.RawMessage) (json.RawMessage, error)
}

// Ledger knows the transfers of a job.
type Ledger interface {
	// Transfers returns what runs and what ended last.
	Transfers() []bridge.Transfer
	// Transfer returns one of them.
	Transfer(id string) (bridge.Transfer, error)
	// Cancel ends one of them.
	Cancel(id string) error
}

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
		{http.MethodGet, "/stats", (*Handler).stats},
		{http.MethodGet, "/openapi.json", (*Handler).openAPI},
		{http.MethodPost, "/resources/fetch", (*Handler).fetch},
		{http.MethodPost, "/resources/prefetch", (*Handler).prefetch},
		{http.MethodPost, "/resources/put", (*Handler).put},
		{http.MethodPost, "/resources/receive", (*Handler).receive},
		{http.MethodPost, "/resources/send", (*Handler).send},
		{http.MethodPost, "/status/send", (*Handler).report},
		{http.MethodPost, "/action/update", (*Handler).report},
		{http.MethodPost, "/job/progress", (*Handler).report},
		{http.MethodGet, "/transfers", (*Handler).transfers},
		{http.MethodGet, "/transfers/{id}", (*Handler).transfer},
		{http.MethodDelete, "/transfers/{id}", (*Handler).cancelTransfer},
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

// stats tells what the job did.
func (h *Handler) stats(w http.ResponseWriter, _ *http.Request) error {
	return h.reply(w, http.StatusOK, h.res.Stats())
}

// openAPI answers the description of this API.
func (h *Handler) openAPI(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Content-Type", "application/json")
	_, err := h.deadlined(w).Write([]byte(openAPI))
	return sent(err)
}
