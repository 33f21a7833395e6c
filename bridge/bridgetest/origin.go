package bridgetest

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Origin is a plain HTTP server of files.
type Origin struct {
	URL string // without a slash at the end

	mu    sync.Mutex
	files map[string]*File
}

// File is one file of an Origin.
type File struct {
	data []byte
	etag string

	requests, sent atomic.Int64

	mu     sync.Mutex
	status int
	gate   *Gate
}

// Gate stops the body of a file half way.
type Gate struct {
	reached   chan struct{} // closed when a body got there
	open      chan struct{} // closed by Open
	abandoned chan struct{} // closed when a client gave up while it was stopped

	onceReached, onceOpen, onceAbandoned sync.Once
}

// Reached is closed when a body has got to the gate.
func (g *Gate) Reached() <-chan struct{} { return g.reached }

// Abandoned is closed when a client has gone that waited at the gate.
func (g *Gate) Abandoned() <-chan struct{} { return g.abandoned }

// Open lets bodies pass. It may be called more than once.
func (g *Gate) Open() { g.onceOpen.Do(func() { close(g.open) }) }

// NewOrigin starts an origin that ends with the test.
func NewOrigin(t testing.TB) *Origin {
	t.Helper()
	o := &Origin{files: map[string]*File{}}
	server := httptest.NewServer(o)
	o.URL = server.URL
	t.Cleanup(func() {
		o.mu.Lock()
		for _, f := range o.files {
			f.mu.Lock()
			if f.gate != nil {
				f.gate.Open()
			}
			f.mu.Unlock()
		}
		o.mu.Unlock()
		server.Close()
	})
	return o
}

// Put adds a file; path is unescaped and begins with a slash.
func (o *Origin) Put(path string, data []byte) *File {
	o.mu.Lock()
	defer o.mu.Unlock()
	f := &File{data: data, etag: `"v1"`}
	o.files[path] = f
	return f
}

// Stop puts a gate into the middle of the file's body.
func (f *File) Stop() *Gate {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.gate = &Gate{reached: make(chan struct{}), open: make(chan struct{}), abandoned: make(chan struct{})}
	return f.gate
}

// Fail makes the origin answer with a status from now on.
func (f *File) Fail(status int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.status = status
}

// Requests returns how often the file was asked for.
func (f *File) Requests() int64 { return f.requests.Load() }

// Sent returns how many bytes of bodies were written.
func (f *File) Sent() int64 { return f.sent.Load() }

// ServeHTTP answers with a file, ranges and conditions included.
func (o *Origin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	f := o.files[r.URL.Path]
	o.mu.Unlock()
	if f == nil {
		http.NotFound(w, r)
		return
	}
	f.requests.Add(1)
	f.mu.Lock()
	status, gate := f.status, f.gate
	f.mu.Unlock()
	if status != 0 {
		http.Error(w, http.StatusText(status), status)
		return
	}
	w.Header().Set("Etag", f.etag)
	w.Header().Set("Content-Type", "application/octet-stream")
	out := &gated{ResponseWriter: w, file: f, gate: gate, done: r.Context().Done()}
	http.ServeContent(out, r, "", time.Time{}, bytes.NewReader(f.data))
}

// gated is a response that counts, and stops half way if there is a gate.
type gated struct {
	http.ResponseWriter
	file *File
	gate *Gate
	done <-chan struct{} // the client is gone
	sent int
}

// Write passes the gate when half of the file is through.
func (g *gated) Write(p []byte) (n int, err error) {
	half := len(g.file.data) / 2
	if g.gate != nil && g.sent < half && g.sent+len(p) >= half {
		n, err = g.count(p[:half-g.sent])
		if err != nil {
			return n, err
		}
		if err := http.NewResponseController(g.ResponseWriter).Flush(); err != nil {
			return n, err
		}
		g.gate.onceReached.Do(func() { close(g.gate.reached) })
		select {
		case <-g.gate.open:
		case <-g.done:
			g.gate.onceAbandoned.Do(func() { close(g.gate.abandoned) })
		}
		p = p[n:]
	}
	m, err := g.count(p)
	return n + m, err
}

// count writes p.
func (g *gated) count(p []byte) (int, error) {
	n, err := g.ResponseWriter.Write(p)
	g.sent += n
	g.file.sent.Add(int64(n))
	return n, err
}
