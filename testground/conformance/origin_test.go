package conformance

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hypha-node/hypha-node/testground/rig"
)

// origin serves files that tests put there, with ranges and strong ETags.
type origin struct {
	*httptest.Server

	mu    sync.Mutex
	files map[string]*served    // by path
	bases map[*testing.T]string // path of each test's files
}

// served is one file of the origin.
type served struct {
	content []byte
	// A gate is where the body stops until the file is released; -1: nowhere.
	gate     int64
	reached  chan struct{} // closed when a body has come to the gate
	released chan struct{} // closed by release
	gone     chan struct{} // closed when a client of a body at the gate has gone

	mu       sync.Mutex
	requests []http.Header
	sent     int64 // bytes of bodies
	once     [2]sync.Once
}

// newOrigin starts an origin; close ends it.
func newOrigin() *origin {
	o := &origin{files: map[string]*served{}, bases: map[*testing.T]string{}}
	o.Server = httptest.NewServer(http.HandlerFunc(o.handle))
	return o
}

// close opens all gates and ends the server.
func (o *origin) close() {
	o.CloseClientConnections()
	o.Close()
}

// base returns the URL below which a test's files are, another one for each run
// of the test, so that no run finds what an earlier one has fetched.
func (o *origin) base(t *testing.T) string {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.bases[t] == "" {
		o.bases[t] = fmt.Sprintf("/%d/", len(o.bases))
	}
	return o.URL + o.bases[t]
}

// put serves content at a path of the test's own and returns its URL.
func (o *origin) put(t *testing.T, name string, content []byte) (url string, f *served) {
	t.Helper()
	return o.putGated(t, name, content, -1)
}

// putGated is put with a gate.
func (o *origin) putGated(t *testing.T, name string, content []byte, gate int64) (url string, f *served) {
	t.Helper()
	f = &served{content: content, gate: gate, reached: make(chan struct{}), released: make(chan struct{}), gone: make(chan struct{})}
	url = o.base(t) + name
	o.mu.Lock()
	defer o.mu.Unlock()
	o.files[strings.TrimPrefix(url, o.URL)] = f
	t.Cleanup(f.release)
	return url, f
}

// release opens the gate.
func (f *served) release() { f.once[0].Do(func() { close(f.released) }) }

// bytes returns how many bytes of the file went out.
func (f *served) bytes() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.sent
}

// headers returns those of all requests.
func (f *served) headers() []http.Header {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]http.Header(nil), f.requests...)
}

func (o *origin) handle(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	f := o.files[r.URL.Path]
	o.mu.Unlock()
	if f == nil {
		http.NotFound(w, r)
		return
	}
	f.mu.Lock()
	f.requests = append(f.requests, r.Header.Clone())
	f.mu.Unlock()
	sum := sha256.Sum256(f.content)
	w.Header().Set("ETag", `"`+hex.EncodeToString(sum[:8])+`"`)
	w.Header().Set("Content-Type", "application/octet-stream")
	http.ServeContent(&gated{ResponseWriter: w, file: f, request: r}, r, "", time.Time{}, bytes.NewReader(f.content))
}

// gated counts a body and stops it at the gate.
type gated struct {
	http.ResponseWriter
	file    *served
	request *http.Request
}

func (g *gated) Write(b []byte) (int, error) {
	n, err := g.ResponseWriter.Write(b)
	f := g.file
	f.mu.Lock()
	f.sent += int64(n)
	wait := f.gate >= 0 && f.sent >= f.gate
	f.mu.Unlock()
	if !wait || err != nil {
		return n, err
	}
	if err := http.NewResponseController(g.ResponseWriter).Flush(); err != nil {
		return n, err
	}
	f.mu.Lock()
	select {
	case <-f.reached:
	default:
		close(f.reached)
	}
	f.mu.Unlock()
	select {
	case <-f.released:
		return n, nil
	case <-g.request.Context().Done():
		f.once[1].Do(func() { close(f.gone) })
		return n, g.request.Context().Err()
	}
}

// random returns n bytes that follow from the seed.
func random(t *testing.T, seed uint64, n int64) []byte {
	t.Helper()
	b, err := io.ReadAll(rig.Random(seed, n))
	ok(t, err)
	return b
}

// digest is the sha256 of b as answers have it.
func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// await waits for an event.
func await(t *testing.T, what string, event <-chan struct{}) {
	t.Helper()
	select {
	case <-event:
	case <-rig.Within(t).Done():
		t.Fatalf("%s did not happen", what)
	}
}
