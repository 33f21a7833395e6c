package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

// maxBody bounds a JSON request: bytes. 1 MiB holds 10,000 long references.
const maxBody = 1 << 20

// operation is one row of the table.
type operation struct {
	route string // method and path of http.ServeMux
	serve http.HandlerFunc
}

// operations is the whole API. Names of content in requests are CIDs with an
// optional path below them.
func (s *Server) operations() []operation {
	return []operation{
		{"GET /v1/id", one(s.id)},
		{"GET /v1/peers", one(s.peers)},
		{"GET /v1/status", one(s.status)},
		{"POST /v1/connect", one(s.connect)},

		{"POST /v1/fetch", many(s.fetch)},
		{"POST /v1/add", many(s.add)},
		{"POST /v1/add/content", s.addContent},
		{"POST /v1/get", many(s.get)},
		{"GET /v1/cat", s.cat},
		{"POST /v1/ls", many(s.list)},
		{"POST /v1/stat", one(s.stat)},

		{"GET /v1/blocks/{cid}", s.blockGet},
		{"POST /v1/blocks", s.blockPut},
		{"GET /v1/blocks/{cid}/stat", one(s.blockStat)},
		{"DELETE /v1/blocks/{cid}", one(s.blockRemove)},

		{"POST /v1/dag/export", many(s.dagExport)},
		{"GET /v1/dag/export", s.dagExportContent},
		{"POST /v1/dag/import", many(s.dagImport)},
		{"POST /v1/dag/import/content", s.dagImportContent},

		{"GET /v1/pins", many(s.pins)},
		{"POST /v1/pins", one(s.pin)},
		{"POST /v1/pins/remove", one(s.unpin)},
		{"POST /v1/gc", one(s.collect)},
		{"POST /v1/verify", many(s.verify)},
		{"GET /v1/usage", one(s.usage)},

		{"POST /v1/jobs", one(s.jobCreate)},
		{"GET /v1/jobs", many(s.jobList)},
		{"GET /v1/jobs/{id}", one(s.jobShow)},
		{"DELETE /v1/jobs/{id}", one(s.jobRemove)},
		{"POST /v1/jobs/{id}/stop", one(s.jobStop)},
		{"GET /v1/jobs/{id}/watch", many(s.jobWatch)},
		{"GET /v1/jobs/{id}/logs", s.jobLogs},
		{"POST /v1/jobs/{id}/hold", many(s.jobHold)},
		{"POST /v1/jobs/{id}/stage", many(s.jobStage)},
		{"POST /v1/jobs/{id}/finish", one(s.jobFinish)},
	}
}

// none is the request or the answer of an operation that has none.
type none struct{}

// key is a request that is a path value: a block's CID or a job's id.
type key struct{ Value string }

// fill takes the value from the path.
func (k *key) fill(r *http.Request) { k.Value = r.PathValue("cid") + r.PathValue("id") }

// filler is a request that does not come as a JSON body.
type filler interface{ fill(r *http.Request) }

// locater is a request whose JSON body lacks what the path says.
type locater interface{ locate(r *http.Request) }

// one serves an operation with one answer.
func one[Req, Resp any](do func(ctx context.Context, req Req) (Resp, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		req, err := decode[Req](w, r)
		if err != nil {
			writeError(w, err)
			return
		}
		resp, err := do(r.Context(), req)
		if err != nil {
			writeError(w, err)
			return
		}
		writeJSON(w, http.StatusOK, resp)
	}
}

// many serves an operation that answers with events, one JSON document a line.
// An error before the first event has a status of its own.
func many[Req, Item any](do func(ctx context.Context, req Req, out *stream[Item]) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		req, err := decode[Req](w, r)
		if err != nil {
			writeError(w, err)
			return
		}
		out := newStream[Item](w)
		out.end(do(r.Context(), req, out))
	}
}

// decode reads the request: from where its fill says, else from the body, which
// a GET does not have. Unknown fields are ignored.
func decode[Req any](w http.ResponseWriter, r *http.Request) (Req, error) {
	var req Req
	if f, ok := any(&req).(filler); ok {
		f.fill(r)
		return req, nil
	}
	if _, ok := any(req).(none); ok || r.Method == http.MethodGet {
		return req, nil
	}
	body := http.MaxBytesReader(w, r.Body, maxBody)
	dec := json.NewDecoder(body)
	if err := dec.Decode(&req); err != nil {
		return req, bodyError(err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return req, bodyError(errors.New("more than one JSON document"))
	}
	if l, ok := any(&req).(locater); ok {
		l.locate(r)
	}
	return req, nil
}

// bodyError says what is wrong with a request body.
func bodyError(err error) error {
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return &Error{Status: http.StatusRequestEntityTooLarge, Code: CodeTooLarge, Detail: fmt.Sprintf("request body exceeds %d bytes", maxBody)}
	}
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok && wrong.Field != "" {
		return invalid("field %s: is no %s", wrong.Field, wrong.Type)
	}
	if errors.Is(err, io.EOF) {
		return invalid("request body is empty, expected a JSON object")
	}
	return invalid("request body: %v", err)
}

// writeJSON answers with one document.
func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	// A client that has gone away can't be told.
	_ = newEncoder(w).Encode(v) //nolint:errcheck // see above
}

// writeError answers with an error body. Nothing may have been written before.
func writeError(w http.ResponseWriter, err error) {
	e := describe(err)
	writeJSON(w, e.Status, e)
}

// newEncoder returns a JSON encoder that leaves <, > and & alone: names are for
// people, not for HTML.
func newEncoder(w io.Writer) *json.Encoder {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc
}

// progressEvery is the least time between two progress events of one file.
const progressEvery = 100 * time.Millisecond

// stream writes events. It is safe for concurrent use.
type stream[Item any] struct {
	w http.ResponseWriter

	mu      sync.Mutex
	started bool
	enc     *json.Encoder
	flush   func() error
	err     error                // of the first write that failed: the client is gone
	last    map[string]time.Time // by path: when its progress was last told, or begun
}

// newStream returns a stream into w. Nothing is written before the first event.
func newStream[Item any](w http.ResponseWriter) *stream[Item] {
	return &stream[Item]{w: w, enc: newEncoder(w), flush: http.NewResponseController(w).Flush, last: map[string]time.Time{}}
}

// item sends one item; an error means that the client is gone.
func (s *stream[Item]) item(v Item) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.send(Event[Item]{Event: "item", Item: &v})
}

// progress sends how far a file is, at most ten times a second for each.
func (s *stream[Item]) progress(p Progress) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	last, known := s.last[p.Path]
	if !known {
		s.last[p.Path] = now // what is done within the interval needs no bar
		return
	}
	if now.Sub(last) < progressEvery {
		return
	}
	s.last[p.Path] = now
	_ = s.send(Event[Item]{Event: "progress", Progress: &p}) //nolint:errcheck // kept in s.err for the next item
}

// finished forgets a file's progress.
func (s *stream[Item]) finished(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.last, path)
}

// end sends the last event, or the error's own answer if nothing was sent yet.
func (s *stream[Item]) end(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err == nil:
		_ = s.send(Event[Item]{Event: "done"}) //nolint:errcheck // the client is gone
	case !s.started:
		writeError(s.w, err)
	default:
		_ = s.send(Event[Item]{Event: "error", Error: describe(err)}) //nolint:errcheck // the client is gone
	}
}

// send writes one line; s.mu is held.
func (s *stream[Item]) send(ev Event[Item]) error {
	if s.err != nil {
		return s.err
	}
	if !s.started {
		s.started = true
		s.w.Header().Set("Content-Type", "application/x-ndjson")
		s.w.WriteHeader(http.StatusOK)
	}
	if s.err = s.enc.Encode(ev); s.err == nil {
		s.err = s.flush()
	}
	return s.err
}
