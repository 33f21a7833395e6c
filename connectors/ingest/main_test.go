package ingest_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	ipld "github.com/ipfs/go-ipld-format"
	"go.uber.org/goleak"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/connectors"
	httpconn "github.com/hypha-node/hypha-node/connectors/http"
	"github.com/hypha-node/hypha-node/connectors/ingest"
	"github.com/hypha-node/hypha-node/dag"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// origin is an HTTP server that counts what it gives.
type origin struct {
	*httptest.Server

	mu    sync.Mutex
	files map[string]*served

	requests atomic.Int64
	active   atomic.Int64 // requests under way
	bytes    atomic.Int64 // of bodies
}

// served is one file of an origin, and what goes wrong with it.
type served struct {
	content []byte
	etag    string // with quotes; "" sends none
	vary    string // "" sends none
	cache   string // Cache-Control; "" sends none
	digest  bool   // send Repr-Digest
	token   string // who must be asking
	status  int    // refuse with this

	hold    chan struct{} // stop in the middle until it is closed
	reached chan struct{} // closed there, if not nil
	once    sync.Once
}

func newOrigin(t *testing.T, files map[string]*served) *origin {
	t.Helper()
	o := &origin{files: files}
	o.Server = httptest.NewServer(o)
	t.Cleanup(o.Close)
	return o
}

func (o *origin) set(name string, f *served) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.files[name] = f
}

func (o *origin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.requests.Add(1)
	o.active.Add(1)
	defer o.active.Add(-1)
	o.mu.Lock()
	f := o.files[r.URL.Path]
	o.mu.Unlock()
	switch {
	case f == nil:
		http.NotFound(w, r)
		return
	case f.status != 0:
		http.Error(w, "refused", f.status)
		return
	case f.token != "" && r.Header.Get("Authorization") != "Bearer "+f.token:
		http.Error(w, "who are you?", http.StatusUnauthorized)
		return
	}
	if f.etag != "" {
		w.Header().Set("ETag", f.etag)
	}
	if f.vary != "" {
		w.Header().Set("Vary", f.vary)
	}
	if f.cache != "" {
		w.Header().Set("Cache-Control", f.cache)
	}
	if f.digest {
		sum := sha256.Sum256(f.content)
		w.Header().Set("Repr-Digest", "sha-256=:"+base64.StdEncoding.EncodeToString(sum[:])+":")
	}
	http.ServeContent(&counter{ResponseWriter: w, o: o, f: f, ctx: r.Context()}, r, "", time.Time{}, bytes.NewReader(f.content))
}

// counter counts a body and stops in its middle.
type counter struct {
	http.ResponseWriter
	o    *origin
	f    *served
	ctx  context.Context //nolint:containedctx // of the request that it answers
	sent int
}

func (c *counter) Write(p []byte) (int, error) {
	if half := len(c.f.content) / 2; c.f.hold != nil && c.sent+len(p) > half && c.sent <= half {
		n, err := c.ResponseWriter.Write(p[:half-c.sent])
		c.sent += n
		c.o.bytes.Add(int64(n))
		if err != nil {
			return n, err
		}
		if err := http.NewResponseController(c.ResponseWriter).Flush(); err != nil {
			return n, err
		}
		c.f.once.Do(func() {
			if c.f.reached != nil {
				close(c.f.reached)
			}
		})
		select {
		case <-c.f.hold:
		case <-c.ctx.Done():
			return n, c.ctx.Err()
		}
		rest, err := c.ResponseWriter.Write(p[n:])
		c.sent += rest
		c.o.bytes.Add(int64(rest))
		return n + rest, err
	}
	n, err := c.ResponseWriter.Write(p)
	c.sent += n
	c.o.bytes.Add(int64(n))
	return n, err
}

// ref returns a reference to a file of the origin.
func (o *origin) ref(name string) connectors.Ref {
	return connectors.Ref{Type: connectors.TypeURI, Value: o.URL + name}
}

// checked returns a reference with the sha256 of the content that is wanted.
func (o *origin) checked(name string, content []byte) connectors.Ref {
	r := o.ref(name)
	sum := sha256.Sum256(content)
	r.Checksum = "sha256:" + hex.EncodeToString(sum[:])
	return r
}

// counted runs f and returns the requests and bytes that it cost the origin.
func (o *origin) counted(f func()) (requests, bytes int64) {
	r, b := o.requests.Load(), o.bytes.Load()
	f()
	return o.requests.Load() - r, o.bytes.Load() - b
}

// newEngine returns an engine over the store, with the HTTP connector.
func newEngine(t *testing.T, cfg ingest.Config) *ingest.Engine {
	t.Helper()
	conn := httpconn.New(httpconn.Config{Retries: -1, Connections: 1}) // more, on a busy machine, would begin parts that are not needed
	t.Cleanup(conn.Close)
	if cfg.Connectors == nil {
		cfg.Connectors = connectors.Set{conn}
	}
	e := ingest.New(cfg)
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

// item resolves a reference that stands for one item.
func item(t *testing.T, e *ingest.Engine, ref connectors.Ref) connectors.Item {
	t.Helper()
	for it, err := range e.Resolve(t.Context(), ref, connectors.Access{Operator: true}) {
		must(t, err)
		return it
	}
	t.Fatal("no item")
	return connectors.Item{}
}

// fetch fetches what a reference stands for, and holds it against the content.
func fetch(t *testing.T, e *ingest.Engine, s blockstore.Store, ref connectors.Ref, content []byte) ingest.Fetched {
	t.Helper()
	got, err := e.Fetch(t.Context(), item(t, e, ref), ingest.Options{})
	must(t, err)
	checkStored(t, s, got.File, content)
	return got
}

// checkStored fails unless the store has the file, whole, pinned and findable.
func checkStored(t *testing.T, s blockstore.Store, f dag.File, content []byte) {
	t.Helper()
	if f.Size != int64(len(content)) || f.SHA256 != sha256.Sum256(content) {
		t.Errorf("file of %d bytes, sha256 %x, want %d, %x", f.Size, f.SHA256, len(content), sha256.Sum256(content))
	}
	r, err := dag.Open(t.Context(), s, f.Root)
	must(t, err)
	defer r.Close()
	var b bytes.Buffer
	if _, err := r.CopyRange(t.Context(), &b, 0, -1); err != nil || !bytes.Equal(b.Bytes(), content) {
		t.Errorf("stored content differs (%d bytes, %v)", b.Len(), err)
	}
	if got, err := s.File(t.Context(), f.Root); err != nil || got.SHA256 != f.SHA256 {
		t.Errorf("File = %+v, %v, want %+v", got, err, f)
	}
	if a, err := s.Alias(t.Context(), "sha256:"+hex.EncodeToString(f.SHA256[:])); err != nil || a.Root != f.Root {
		t.Errorf("alias of the sha256 = %v, %v, want %v", a.Root, err, f.Root)
	}
	if !pinned(t, s, f, "") {
		t.Error("file is not pinned")
	}
}

func pinned(t *testing.T, s blockstore.Store, f dag.File, name string) bool {
	t.Helper()
	for p, err := range s.Pins(t.Context()) {
		must(t, err)
		if p.Root == f.Root && p.Name == name {
			return true
		}
	}
	return false
}

// checkNothing fails if anything of the content was recorded.
func checkNothing(t *testing.T, s blockstore.Store, content []byte, keys ...string) {
	t.Helper()
	for c, err := range s.Keys(t.Context()) {
		must(t, err)
		t.Errorf("block %s is stored", c)
	}
	sum := sha256.Sum256(content)
	for _, key := range append(keys, "sha256:"+hex.EncodeToString(sum[:])) {
		if _, err := s.Alias(t.Context(), key); !ipld.IsNotFound(err) {
			t.Errorf("alias %s = %v, want not found", key, err)
		}
	}
	for p, err := range s.Pins(t.Context()) {
		must(t, err)
		t.Errorf("%s is pinned", p.Root)
	}
}

// eachStore runs a test over every kind of store.
func eachStore(t *testing.T, test func(t *testing.T, s blockstore.Store)) {
	t.Helper()
	t.Run("memory", func(t *testing.T) { test(t, blockstore.NewMemory()) })
	t.Run("disk", func(t *testing.T) {
		d, err := blockstore.Open(t.Context(), t.TempDir(), blockstore.Options{Reserve: -1})
		must(t, err)
		t.Cleanup(func() {
			if err := d.Close(); err != nil {
				t.Error(err)
			}
		})
		test(t, d)
	})
}

// until waits for a condition that other goroutines bring about.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick, limit := time.NewTicker(time.Millisecond), time.After(time.Minute)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("never: %s", what)
		}
	}
}

// random returns n bytes that depend on the seed alone.
func random(seed byte, n int) []byte {
	b := make([]byte, n)
	if _, err := rand.NewChaCha8([32]byte{seed}).Read(b); err != nil {
		return nil // is documented never to happen
	}
	return b
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func urlKey(t *testing.T, e *ingest.Engine, ref connectors.Ref) string {
	t.Helper()
	if _, err := url.Parse(ref.Value); err != nil {
		t.Fatal(err)
	}
	return item(t, e, ref).Key
}

func quoted(i int) string { return strconv.Quote("v" + strconv.Itoa(i)) }

// memFile is a tee that can be compared, and that notices use after its time.
type memFile struct {
	mu     sync.Mutex
	b      []byte
	closed bool
	late   bool
	fail   error
}

func (m *memFile) WriteAt(p []byte, off int64) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.late = m.late || m.closed
	if m.fail != nil {
		return 0, m.fail
	}
	if need := int(off) + len(p); need > len(m.b) {
		m.b = append(m.b, make([]byte, need-len(m.b))...)
	}
	return copy(m.b[off:], p), nil
}

func (m *memFile) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
}
