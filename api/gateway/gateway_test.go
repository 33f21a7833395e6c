package gateway_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
	mh "github.com/multiformats/go-multihash"
	"go.uber.org/goleak"

	"github.com/hypha-node/hypha-node/api/gateway"
	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/dag"
	"github.com/hypha-node/hypha-node/dag/car"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// rig is a gateway over a store with a small tree.
type rig struct {
	t       testing.TB
	store   *blockstore.Disk
	handler http.Handler
	config  gateway.Config
	big     string  // content of root/big.bin: several leaves
	root    cid.Cid // hello.txt, big.bin, site/index.html, sub/<names>
}

func newRig(t testing.TB) *rig {
	t.Helper()
	store, err := blockstore.Open(t.Context(), filepath.Join(t.TempDir(), "repo"), blockstore.Options{Reserve: -1})
	must(t, err)
	t.Cleanup(func() { must(t, store.Close()) })
	r := &rig{t: t, store: store, big: strings.Repeat("0123456789abcdef", 150_000)}
	dir := t.TempDir()
	for name, text := range map[string]string{
		"hello.txt": "hello world", "big.bin": r.big, "site/index.html": "<p>the site</p>", "sub/a.txt": "a", "sub/b & c.txt": "b",
	} {
		must(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, "tree", name)), 0o700))
		must(t, os.WriteFile(filepath.Join(dir, "tree", name), []byte(text), 0o600))
	}
	at, err := os.OpenRoot(dir)
	must(t, err)
	defer at.Close()
	e, err := dag.ImportTree(t.Context(), store, at, "tree", dag.TreeOptions{})
	must(t, err)
	r.root = e.Cid
	r.open(gateway.Config{})
	return r
}

// open makes the handler anew.
func (r *rig) open(c gateway.Config) {
	r.t.Helper()
	c.Store, r.config = r.store, c
	var err error
	r.handler, err = gateway.New(c)
	must(r.t, err)
}

// do sends a request; headers are pairs of name and value, "Host" is one.
func (r *rig) do(method, path string, headers ...string) *httptest.ResponseRecorder {
	r.t.Helper()
	req := httptest.NewRequestWithContext(r.t.Context(), method, path, http.NoBody)
	req.Host = "127.0.0.1:8080"
	for i := 0; i < len(headers); i += 2 {
		if req.Header.Set(headers[i], headers[i+1]); headers[i] == "Host" {
			req.Host = headers[i+1]
		}
	}
	w := httptest.NewRecorder()
	r.handler.ServeHTTP(w, req)
	return w
}

// get sends a GET and wants a status.
func (r *rig) get(status int, path string, headers ...string) *httptest.ResponseRecorder {
	r.t.Helper()
	w := r.do(http.MethodGet, path, headers...)
	if w.Code != status {
		r.t.Errorf("GET %s %q: %d, want %d: %.200s", path, headers, w.Code, status, w.Body)
	}
	return w
}

// hello returns the CID of hello.txt.
func (r *rig) hello() cid.Cid {
	r.t.Helper()
	c, err := dag.Resolve(r.t.Context(), r.store, r.root, "hello.txt")
	must(r.t, err)
	return c
}

func (r *rig) path(name string) string { return "/ipfs/" + r.root.String() + name }

func TestFile(t *testing.T) {
	r := newRig(t)
	w := r.get(200, r.path("/hello.txt"))
	if w.Body.String() != "hello world" || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/plain") {
		t.Errorf("%q, %v", w.Body, w.Header())
	}
	for name, want := range map[string]string{
		"Cache-Control": "public, max-age=29030400, immutable", "Etag": `"` + r.hello().String() + `"`,
		"X-Ipfs-Path": r.path("/hello.txt"), "X-Ipfs-Roots": r.root.String() + "," + r.hello().String(),
		"Access-Control-Allow-Origin": "*", "Content-Length": "11",
	} {
		if got := w.Header().Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	r.get(304, r.path("/hello.txt"), "If-None-Match", w.Header().Get("Etag"))
	if w := r.do(http.MethodHead, r.path("/hello.txt")); w.Code != 200 || w.Body.Len() > 0 || w.Header().Get("Content-Length") != "11" {
		t.Errorf("HEAD: %d %v", w.Code, w.Header())
	}
	if w := r.get(200, r.path("/hello.txt?filename=x.bin&download=true")); !strings.Contains(w.Header().Get("Content-Disposition"), `attachment; filename="x.bin"`) {
		t.Errorf("%v", w.Header())
	}
	r.get(404, r.path("/absent"))
	r.get(404, r.path("/hello.txt/below"))
}

func TestRanges(t *testing.T) {
	r := newRig(t)
	n := len(r.big)
	for spec, want := range map[string]string{
		"bytes=0-9": r.big[:10], "bytes=1048570-1048590": r.big[1048570:1048591], "bytes=-7": r.big[n-7:],
		"bytes=2399990-": r.big[2399990:], "bytes=0-": r.big,
	} {
		w := r.get(206, r.path("/big.bin"), "Range", spec)
		if w.Body.String() != want || !strings.HasPrefix(w.Header().Get("Content-Range"), "bytes ") {
			t.Errorf("%s: %d bytes, %q", spec, w.Body.Len(), w.Header().Get("Content-Range"))
		}
	}
	r.get(416, r.path("/big.bin"), "Range", "bytes=9999999-")
	if w := r.get(200, r.path("/big.bin")); w.Body.String() != r.big {
		t.Errorf("%d bytes", w.Body.Len())
	}
}

func TestDirectory(t *testing.T) {
	r := newRig(t)
	if w := r.get(301, r.path("/sub")); w.Header().Get("Location") != r.path("/sub/") {
		t.Errorf("%v", w.Header())
	}
	w := r.get(200, r.path("/sub/"))
	if text := w.Body.String(); !strings.Contains(text, "a.txt") || !strings.Contains(text, "b &amp; c.txt") || !strings.Contains(w.Header().Get("Content-Type"), "text/html") {
		t.Errorf("%.400s", text)
	}
	if !strings.HasPrefix(w.Header().Get("Etag"), `"DirIndex-`) {
		t.Errorf("%v", w.Header())
	}
	if w := r.get(200, r.path("/site/")); w.Body.String() != "<p>the site</p>" {
		t.Errorf("%q", w.Body)
	}
}

// readCAR returns the roots and blocks of a CAR; all hash to their CIDs.
func readCAR(t *testing.T, body io.Reader) (roots, cids []cid.Cid) {
	t.Helper()
	in, err := car.NewReader(body)
	must(t, err)
	for {
		c, data, err := in.Next()
		if errors.Is(err, io.EOF) {
			return in.Roots, cids
		}
		must(t, err)
		if got, err := c.Prefix().Sum(data); err != nil || !got.Equals(c) {
			t.Errorf("%s is %s", c, got)
		}
		cids = append(cids, c)
	}
}

func TestTrustless(t *testing.T) {
	r := newRig(t)
	hello := r.hello()
	for _, w := range []*httptest.ResponseRecorder{
		r.get(200, "/ipfs/"+hello.String()+"?format=raw"),
		r.get(200, "/ipfs/"+hello.String(), "Accept", "application/vnd.ipld.raw"),
		r.get(200, r.path("/hello.txt?format=raw")),
	} {
		if w.Body.String() != "hello world" || w.Header().Get("Content-Type") != "application/vnd.ipld.raw" || w.Header().Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%q, %v", w.Body, w.Header())
		}
	}
	w := r.get(200, r.path("?format=car"))
	roots, all := readCAR(t, w.Body)
	if len(roots) != 1 || !roots[0].Equals(r.root) || len(all) < 8 || !all[0].Equals(r.root) {
		t.Errorf("roots %v, %d blocks", roots, len(all))
	}
	if kind := w.Header().Get("Content-Type"); !strings.HasPrefix(kind, "application/vnd.ipld.car; version=1; order=dfs; dups=n") {
		t.Errorf("%q", kind)
	}
	if _, some := readCAR(t, r.get(200, r.path("/hello.txt?dag-scope=block"), "Accept", "application/vnd.ipld.car").Body); len(some) != 2 {
		t.Errorf("%d blocks to one and its path", len(some))
	}
	if _, some := readCAR(t, r.get(200, r.path("/big.bin?format=car&dag-scope=entity&entity-bytes=0:5")).Body); len(some) != 3 {
		t.Errorf("%d blocks of the beginning", len(some))
	}
	r.get(400, r.path("?format=car&dag-scope=nonsense"))
}

func TestSubdomain(t *testing.T) {
	r := newRig(t)
	r.open(gateway.Config{Hosts: []string{"example.net"}})
	for _, host := range []string{"localhost:8080", "example.net"} {
		want := "http://" + r.root.String() + ".ipfs." + host + "/hello.txt"
		if w := r.get(301, r.path("/hello.txt"), "Host", host); w.Header().Get("Location") != want {
			t.Errorf("%q, want %q", w.Header().Get("Location"), want)
		}
		if w := r.get(200, "/hello.txt", "Host", r.root.String()+".ipfs."+host); w.Body.String() != "hello world" {
			t.Errorf("%q", w.Body)
		}
	}
	r.get(400, "/hello.txt", "Host", r.root.String()+".ipfs.example.org") // no host of this gateway
	if w := r.do(http.MethodConnect, "http://example.net:80"); w.Code != 200 || w.Body.Len() > 0 {
		t.Errorf("CONNECT: %d", w.Code)
	}
}

// putCodec stores a block.
func (r *rig) putCodec(codec uint64, data string) cid.Cid {
	r.t.Helper()
	c, err := cid.Prefix{Version: 1, Codec: codec, MhType: mh.SHA2_256, MhLength: -1}.Sum([]byte(data))
	must(r.t, err)
	blk, err := blocks.NewBlockWithCid([]byte(data), c)
	must(r.t, err)
	must(r.t, r.store.Put(r.t.Context(), blk))
	return c
}

func TestDocuments(t *testing.T) {
	r := newRig(t)
	js := r.putCodec(cid.DagJSON, `{"a":1}`)
	if w := r.get(200, "/ipfs/"+js.String(), "Accept", "application/vnd.ipld.dag-json"); w.Body.String() != `{"a":1}` {
		t.Errorf("%q", w.Body)
	}
	cb := r.putCodec(cid.DagCBOR, "\xa1\x61a\x01")
	if w := r.get(200, "/ipfs/"+cb.String()+"?format=dag-cbor"); w.Body.String() != "\xa1\x61a\x01" {
		t.Errorf("%q", w.Body)
	}
}

// source is what peers would have.
type source struct {
	blocks map[string]blocks.Block
	asked  atomic.Int64
}

// Get returns a block.
func (s *source) Get(_ context.Context, c cid.Cid) (blocks.Block, error) {
	s.asked.Add(1)
	if blk := s.blocks[string(c.Hash())]; blk != nil {
		return blk, nil
	}
	return nil, ipld.ErrNotFound{Cid: c}
}

// TestFetch: what is not stored is not there, unless it may be fetched.
func TestFetch(t *testing.T) {
	r := newRig(t)
	other := newRig(t) // the store that lacks it
	must(t, other.store.DeleteBlock(t.Context(), r.root))
	far := &source{blocks: map[string]blocks.Block{}}
	for b, err := range dag.Blocks(t.Context(), r.store, []cid.Cid{r.root}, dag.BlocksOptions{}) {
		must(t, err)
		blk, err := blocks.NewBlockWithCid(b.Data, b.Cid)
		must(t, err)
		far.blocks[string(b.Cid.Hash())] = blk
		must(t, other.store.DeleteBlock(t.Context(), b.Cid))
	}
	other.get(404, r.path("/hello.txt"))
	other.get(412, r.path("/hello.txt"), "Cache-Control", "only-if-cached")
	other.open(gateway.Config{Fetch: func(context.Context) dag.Getter { return far }})
	other.get(412, r.path("/hello.txt"), "Cache-Control", "only-if-cached")
	if w := other.get(200, r.path("/big.bin")); w.Body.String() != r.big || far.asked.Load() == 0 {
		t.Errorf("%d bytes, asked %d times", w.Body.Len(), far.asked.Load())
	}
	if _, all := readCAR(t, other.get(200, r.path("?format=car")).Body); len(all) < 8 {
		t.Errorf("%d blocks", len(all))
	}
	other.get(404, "/ipfs/"+r.putCodec(cid.Raw, "nobody has it").String())
}

// TestServed: what strangers may not have is there in no form, also where what is
// missing is fetched.
func TestServed(t *testing.T) {
	r := newRig(t)
	secret := r.hello()
	leak := &source{blocks: map[string]blocks.Block{}}
	blk, err := r.store.Get(t.Context(), secret)
	must(t, err)
	leak.blocks[string(secret.Hash())] = blk
	served := func(_ context.Context, c cid.Cid) bool { return !bytes.Equal(c.Hash(), secret.Hash()) }
	for _, c := range []gateway.Config{{Served: served}, {Served: served, Fetch: func(context.Context) dag.Getter { return leak }}} {
		r.open(c)
		for _, path := range []string{"/ipfs/" + secret.String(), r.path("/hello.txt")} {
			for _, query := range []string{"", "?format=raw", "?format=dag-json", "?format=tar"} {
				if w := r.do(http.MethodGet, path+query); w.Code < 400 || strings.Contains(w.Body.String(), "hello world") {
					t.Errorf("%s%s: %d %q", path, query, w.Code, w.Body)
				}
			}
			if w := r.do(http.MethodHead, path); w.Code < 400 {
				t.Errorf("HEAD %s: %d", path, w.Code)
			}
			if w := r.do(http.MethodGet, path+"?format=car"); strings.Contains(w.Body.String(), "hello world") {
				t.Errorf("%s: %d %q", path, w.Code, w.Body)
			}
		}
		if r.get(200, r.path("/sub/a.txt")).Body.String() != "a" {
			t.Error("the rest is not served")
		}
	}
	if leak.asked.Load() > 0 {
		t.Errorf("peers were asked %d times", leak.asked.Load())
	}
}

func TestRefuses(t *testing.T) {
	r := newRig(t)
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodPatch} {
		if w := r.do(method, r.path("/hello.txt")); w.Code != http.StatusMethodNotAllowed && w.Code != http.StatusBadRequest {
			t.Errorf("%s: %d", method, w.Code)
		}
	}
	for path, status := range map[string]int{
		"/ipfs/nonsense": 400, "/ipfs/": 400, "/": 400, "/ipfs/" + r.root.String() + "/..%2f..%2fetc/passwd": 400,
		"/ipns/example.org/": 501, "/ipns/k51qzi5uqu5dh71qgwangrt6r0nd4094i88nsady6qgd1dhjcyfsaqmpp143ab": 501,
	} {
		r.get(status, path)
	}
	r.get(501, "/", "Host", "example-org.ipns.localhost")
}

// FuzzRequest: no request makes the gateway fail.
func FuzzRequest(f *testing.F) {
	r := newRig(f)
	f.Add("/ipfs/"+r.root.String()+"/hello.txt?format=car&entity-bytes=0:1", "localhost", "text/html", "bytes=0-1")
	f.Add("/ipfs/"+r.root.String()+"/sub/?dag-scope=entity", r.root.String()+".ipfs.localhost", "application/vnd.ipld.car;dups=y", "")
	f.Add("/ipns/x?uri=ipfs%3A%2F%2F", "x.ipns.localhost:1", "application/vnd.ipld.raw", "bytes=-")
	f.Fuzz(func(t *testing.T, target, host, accept, ranges string) {
		if !strings.HasPrefix(target, "/") {
			return // no server hands it on
		}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://h/", http.NoBody)
		must(t, err)
		if req.URL, err = req.URL.Parse(target); err != nil || req.URL.Host != "h" {
			return
		}
		req.Host, req.RequestURI = host, target
		req.Header.Set("Accept", accept)
		req.Header.Set("Range", ranges)
		w := httptest.NewRecorder()
		r.handler.ServeHTTP(w, req)
		if w.Code >= 500 && w.Code != http.StatusNotImplemented {
			t.Errorf("%d %.300s", w.Code, w.Body)
		}
	})
}
