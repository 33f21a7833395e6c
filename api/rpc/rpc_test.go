package rpc_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/textproto"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/hypha-node/hypha-node/api/control"
	"github.com/hypha-node/hypha-node/api/rpc"
	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/connectors"
	"github.com/hypha-node/hypha-node/connectors/ingest"
	"github.com/hypha-node/hypha-node/connectors/ipfs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	token = "a-token-of-some-length"
	hello = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e" // "hello world"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// newHandler returns the handler over a new repository, offline.
func newHandler(t testing.TB) *rpc.Server {
	t.Helper()
	store, err := blockstore.Open(t.Context(), filepath.Join(t.TempDir(), "repo"), blockstore.Options{Reserve: -1})
	must(t, err)
	t.Cleanup(func() { must(t, store.Close()) })
	source := ipfs.New(store, nil)
	engine := ingest.New(ingest.Config{Store: store, Connectors: connectors.Set{source}, Blocks: source})
	t.Cleanup(func() { must(t, engine.Close()) })
	api := control.NewServer(control.Config{
		Repo: "/repo", Version: "1.2.3", Store: store, Engine: engine, Blocks: source,
		PeerID: func() (string, error) { return "12D3KooWTest", nil },
	})
	s, err := rpc.New(rpc.Config{Client: control.NewLocal(api), Store: store, Memory: engine.Memory(), Token: token})
	must(t, err)
	return s
}

// rig is a served handler.
type rig struct {
	t   testing.TB
	url string
}

func newRig(t testing.TB) *rig {
	t.Helper()
	server := httptest.NewServer(newHandler(t))
	t.Cleanup(server.Close)
	return &rig{t, server.URL}
}

// answer is what a command answered.
type answer struct {
	status  int
	body    string
	trailer string
}

// send posts a command; the body's kind is "" for none.
func (r *rig) send(path, kind string, body io.Reader) answer {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), http.MethodPost, r.url+"/api/v0/"+path, body)
	must(r.t, err)
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", kind)
	return r.do(req)
}

func (r *rig) do(req *http.Request) answer {
	r.t.Helper()
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := c.Do(req)
	must(r.t, err)
	b, err := io.ReadAll(resp.Body)
	must(r.t, err)
	must(r.t, resp.Body.Close())
	return answer{resp.StatusCode, string(b), resp.Trailer.Get("X-Stream-Error")}
}

// call posts a command without a body and wants its success.
func (r *rig) call(path string) string {
	r.t.Helper()
	a := r.send(path, "", http.NoBody)
	if a.status != http.StatusOK || a.trailer != "" {
		r.t.Errorf("%s: %d %q %q", path, a.status, a.body, a.trailer)
	}
	return a.body
}

// file is one part of an upload; a nil content is a directory.
type file struct {
	name    string
	content *string
}

func text(name, content string) file { return file{name, &content} }

// form returns an upload.
func form(t testing.TB, files ...file) (kind string, body *bytes.Buffer) {
	t.Helper()
	body = &bytes.Buffer{}
	w := multipart.NewWriter(body)
	for _, f := range files {
		h := textproto.MIMEHeader{"Content-Disposition": {`form-data; name="file"; filename="` + url.QueryEscape(f.name) + `"`}, "Content-Type": {"application/octet-stream"}}
		if f.content == nil {
			h.Set("Content-Type", "application/x-directory")
		}
		p, err := w.CreatePart(h)
		must(t, err)
		if f.content != nil {
			_, err = io.WriteString(p, *f.content)
			must(t, err)
		}
	}
	must(t, w.Close())
	return w.FormDataContentType(), body
}

// upload sends files.
func (r *rig) upload(path string, files ...file) answer {
	r.t.Helper()
	kind, body := form(r.t, files...)
	return r.send(path, kind, body)
}

// lines decodes an answer of documents.
func lines[T any](t testing.TB, body string) (all []T) {
	t.Helper()
	for dec := json.NewDecoder(strings.NewReader(body)); ; {
		var v T
		if err := dec.Decode(&v); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatalf("%v in %q", err, body)
		}
		all = append(all, v)
	}
}

type added struct{ Name, Hash, Size string }

func TestAddCat(t *testing.T) {
	r := newRig(t)
	a := r.upload("add", text("hello.txt", "hello world"))
	if got := lines[added](t, a.body); a.status != 200 || len(got) != 1 || got[0] != (added{"hello.txt", hello, "11"}) {
		t.Errorf("%+v", a)
	}
	if got := r.call("cat?arg=" + hello); got != "hello world" {
		t.Errorf("%q", got)
	}
	if got := r.call("cat?arg=/ipfs/" + hello + "&offset=6&length=3"); got != "wor" {
		t.Errorf("%q", got)
	}
	if got := r.call("pin/ls"); !strings.Contains(got, `{"Keys":{"`+hello+`":{"Type":"recursive"}}}`) {
		t.Errorf("%q", got)
	}
	if got := lines[added](t, r.upload("add?pin=false&cid-version=0", text("", "hello world")).body); len(got) != 1 || got[0].Name != got[0].Hash || got[0].Hash != "Qmf412jQZiuVUtdgnB36FXFX7xg5V6KEbSJ4dpQuhkLyfD" || got[0].Size != "19" {
		t.Errorf("%+v", got)
	}
	if got := lines[added](t, r.upload("add?only-hash=true", text("x", "not stored")).body); len(got) != 1 || r.send("block/stat?arg="+got[0].Hash, "", http.NoBody).status == 200 {
		t.Errorf("%+v is stored", got)
	}
	if a := r.upload("add?progress=true", text("x", strings.Repeat("x", 3<<20))); !strings.Contains(a.body, `{"Bytes":`) {
		t.Errorf("no progress: %q", a.body)
	}
}

func TestAddTree(t *testing.T) {
	r := newRig(t)
	files := []file{{"d", nil}, text("d/b/c.txt", "c"), text("d/a.txt", "a"), {"d/empty", nil}, text("e.txt", "e")}
	var names []string
	var root string
	for _, l := range lines[added](t, r.upload("add?wrap-with-directory=true", files...).body) {
		names = append(names, l.Name)
		root = l.Hash
	}
	if got := strings.Join(names, " "); got != "d/b/c.txt d/a.txt e.txt d/b d/empty d " {
		t.Errorf("%q", got)
	}
	if got := r.call("cat?arg=" + root + "/d/b/c.txt"); got != "c" {
		t.Errorf("%q", got)
	}
	if got := r.call("ls?arg=" + root); !strings.Contains(got, `"Name":"d"`) || !strings.Contains(got, `"Name":"e.txt"`) {
		t.Errorf("%q", got)
	}
	if got := r.call("pin/ls?stream=true"); strings.Count(got, "recursive") != 1 || !strings.Contains(got, root) {
		t.Errorf("pins %q", got)
	}
	type counted struct {
		UniqueBlocks, TotalSize int64
	}
	if got := lines[counted](t, r.call("dag/stat?arg="+root)); len(got) != 1 || got[0].UniqueBlocks != 7 {
		t.Errorf("%+v", got)
	}

	car := r.call("dag/export?arg=" + root)
	other := newRig(t)
	a := other.upload("dag/import?stats=true", text("x.car", car))
	if a.status != 200 || !strings.Contains(a.body, root) || !strings.Contains(a.body, `"BlockCount":7`) {
		t.Errorf("%+v", a)
	}
	if got := other.call("cat?arg=" + root + "/d/a.txt"); got != "a" {
		t.Errorf("%q", got)
	}
	other.call("pin/rm?arg=" + root)
	other.call("repo/gc")
	if a := other.send("cat?arg="+root+"/d/a.txt", "", http.NoBody); a.status == 200 {
		t.Errorf("%+v after a collection", a)
	}
}

func TestBlocksAndPins(t *testing.T) {
	r := newRig(t)
	if a := r.upload("block/put", text("", "hello world")); !strings.Contains(a.body, `{"Key":"`+hello+`","Size":11}`) {
		t.Errorf("%+v", a)
	}
	if got := r.call("block/get?arg=" + hello); got != "hello world" {
		t.Errorf("%q", got)
	}
	r.call("block/stat?arg=" + hello)
	// As ipfshttpclient says it.
	if got := lines[added](t, r.upload("add?trickle=False&only-hash=True&wrap-with-directory=False&pin=True&raw-leaves=False&nocopy=False", text("f", "hello world")).body); len(got) != 1 || got[0].Hash != "Qmf412jQZiuVUtdgnB36FXFX7xg5V6KEbSJ4dpQuhkLyfD" {
		t.Errorf("%+v", got)
	}
	r.call("pin/add?arg=" + hello + "&name=mine")
	if got := r.call("pin/ls?names=true"); !strings.Contains(got, `"Name":"mine"`) {
		t.Errorf("%q", got)
	}
	r.call("pin/add?arg=" + hello + "&name=a%20while&expires=2199-12-31T18:00:00Z")
	r.call("pin/add?arg=" + hello + "&name=b%20while&expires-in=72h")
	for name, ends := range map[string]bool{"mine": false, "a while": true, "b while": true} {
		got := r.call("pin/ls?names=true&name=" + url.QueryEscape(name))
		if strings.Contains(got, `"Expires":"2`) != ends || strings.Contains(got, "2199-12-31T18:00:00Z") != (name == "a while") {
			t.Errorf("%s: %q", name, got)
		}
	}
	if got := r.call("pin/ls?name=while"); !strings.Contains(got, `"Expires":"2199-12-31T18:00:00Z"`) {
		t.Errorf("the last of two ends: %q", got)
	}
	if got := r.call("pin/ls"); strings.Contains(got, "Expires") {
		t.Errorf("one of three pins does not end: %q", got)
	}
	if got := r.call("block/rm?arg=" + hello); !strings.Contains(got, "pinned") {
		t.Errorf("%q", got)
	}
	r.call("pin/rm?arg=" + hello)
	if a := r.send("pin/rm?arg="+hello, "", http.NoBody); a.status != 500 || !strings.Contains(a.body, "not pinned") {
		t.Errorf("%+v", a)
	}
	if got := r.call("block/rm?arg=" + hello); strings.Contains(got, "Error") {
		t.Errorf("%q", got)
	}
	for _, name := range []string{"version", "id", "repo/stat"} {
		if got := r.call(name); !json.Valid([]byte(got)) {
			t.Errorf("%s: %q", name, got)
		}
	}
	if a := r.send("swarm/peers", "", http.NoBody); a.status != 500 || !strings.Contains(a.body, "network") {
		t.Errorf("%+v", a)
	}
}

// TestAdmits lets in who has the token, by POST, and no web page.
func TestAdmits(t *testing.T) {
	r := newRig(t)
	for _, tc := range []struct {
		name, method string
		status       int
		headers      map[string]string
	}{
		{"fine", "POST", 200, nil},
		{"another case", "POST", 200, map[string]string{"Authorization": "bearer " + token}},
		{"no token", "POST", 403, map[string]string{"Authorization": ""}},
		{"wrong token", "POST", 403, map[string]string{"Authorization": "Bearer " + token + "x"}},
		{"basic", "POST", 403, map[string]string{"Authorization": "Basic " + token}},
		{"GET", "GET", 405, nil},
		{"preflight", "OPTIONS", 405, nil},
		{"preflight of a page", "OPTIONS", 403, map[string]string{"Origin": "http://evil.example"}},
		{"a page", "POST", 403, map[string]string{"Origin": "http://localhost:3000"}},
		{"a page without Origin", "POST", 403, map[string]string{"Referer": "http://evil.example/"}},
		{"a form", "POST", 403, map[string]string{"Sec-Fetch-Site": "cross-site"}},
	} {
		req, err := http.NewRequestWithContext(t.Context(), tc.method, r.url+"/api/v0/version", http.NoBody)
		must(t, err)
		req.Header.Set("Authorization", "Bearer "+token)
		for name, value := range tc.headers {
			req.Header.Set(name, value)
		}
		a := r.do(req)
		if a.status != tc.status {
			t.Errorf("%s: %d %q, want %d", tc.name, a.status, a.body, tc.status)
		}
		if a.status != 200 && !strings.HasPrefix(a.body, `{"Message":"`) {
			t.Errorf("%s: %q", tc.name, a.body)
		}
	}
	if _, err := rpc.New(rpc.Config{Token: "short"}); err == nil {
		t.Error("a short token is taken")
	}
}

func TestRefuses(t *testing.T) {
	r := newRig(t)
	kind, body := form(t, text("a", "a"))
	whole := body.String()
	badKind, bad := form(t, text("a", "\xff"))
	for _, tc := range []struct {
		path, kind, body string
		status           int
		want             string
	}{
		{"nonsense", "", "", 404, "no command"},
		{"files/write", "", "", 404, "no command"},
		{"cat", "", "", 400, "arguments"},
		{"cat?arg=a&arg=b", "", "", 400, "arguments"},
		{"cat?arg=x", "", "", 400, "invalid CID"},
		{"cat?arg=" + hello + "&offset=-1", "", "", 400, "no number"},
		{"cat?arg=" + hello, "", "", 500, hello},
		{"cat?arg=" + hello + "&colour=red", "", "", 400, "colour"},
		{"version?encoding=xml", "", "", 400, "encoding"},
		{"version?%zz", "", "", 400, "query"},
		{"add", "", "", 400, "no multipart"},
		{"add", "text/plain", "a", 400, "no multipart"},
		{"add?trickle=true", kind, whole, 400, "option trickle="},
		{"add?pin=perhaps", kind, whole, 400, "neither true nor false"},
		{"add?pin=true&pin=false", kind, whole, 400, "twice"},
		{"add?cid-version=2", kind, whole, 400, "option cid-version="},
		{"add?cid-version=0&raw-leaves=true", kind, whole, 400, "raw-leaves"},
		{"add?cid-version=1&raw-leaves=False", kind, whole, 400, "raw-leaves"},
		{"add?nocopy=True", kind, whole, 400, "option nocopy="},
		{"add?chunker=rabin", kind, whole, 400, "chunker"},
		{"add?hash=sha3", kind, whole, 400, "option hash="},
		{"add?only-hash=true&wrap-with-directory=true", kind, whole, 400, "only-hash"},
		{"add", kind, whole[:len(whole)-20], 0, "upload"}, // after the file was told, or before
		{"block/put?cid-codec=dag-cbor", kind, whole, 400, "dag-cbor"},
		{"block/put?cid-codec=dag-pb", badKind, bad.String(), 500, "malformed"},
		{"dag/import", kind, whole, 500, "CAR"},
		{"pin/add?arg=" + hello + "&expires=tomorrow", "", "", 400, "no time"},
		{"pin/add?arg=" + hello + "&expires-in=-1h", "", "", 400, "no time from now"},
		{"pin/add?arg=" + hello + "&expires-in=1h&expires=2199-12-31T18:00:00Z", "", "", 400, "exclude"},
		{"pin/add?arg=" + hello + "&expires=2001-12-31T18:00:00Z", "", "", 400, "is past"},
		{"swarm/connect?arg=x", "", "", 500, "no network"},
		{"ls?arg=" + hello + strings.Repeat("x", 20<<10), "", "", 400, "query"},
	} {
		a := r.send(tc.path, tc.kind, strings.NewReader(tc.body))
		if tc.status != 0 && a.status != tc.status || !strings.Contains(a.body+a.trailer, tc.want) || !strings.Contains(a.body, `"Type":"error"`) {
			t.Errorf("%.60s: %+v, want %d %q", tc.path, a, tc.status, tc.want)
		}
	}
	for _, name := range []string{"../x", "a/../b", "a//b", "a\x00b", "a\\b", strings.Repeat("x/", 70) + "x", strings.Repeat("x", 300)} {
		if a := r.upload("add", text(name, "x")); a.status != 400 || !strings.Contains(a.body, "file name") {
			t.Errorf("%q: %+v", name, a)
		}
	}
	if a := r.upload("add", text("a", "x"), text("a", "y")); !strings.Contains(a.trailer, "twice") {
		t.Errorf("%+v", a)
	}
	if got := r.call("pin/ls"); got != "{\"Keys\":{}}\n" {
		t.Errorf("something is pinned: %q", got)
	}
	if a := r.upload("block/put", text("", strings.Repeat("x", 2<<20+1))); a.status != 413 {
		t.Errorf("%+v", a)
	}
}

// FuzzRequest: no query and no upload makes the handler fail otherwise than with
// an error of its own.
func FuzzRequest(f *testing.F) {
	s := newHandler(f)
	kind, body := form(f, text("d/a", "a"), file{"d/e", nil})
	f.Add("add", "wrap-with-directory=true&progress=true", kind, body.Bytes())
	f.Add("block/put", "format=v0", kind, body.Bytes())
	f.Add("pin/ls", "arg="+hello, "", []byte(nil))
	f.Add("cat", "arg="+hello+"/x&offset=1", "", []byte(nil))
	f.Fuzz(func(t *testing.T, name, query, kind string, body []byte) {
		if name == "swarm/connect" {
			return
		}
		req := &http.Request{
			Method: http.MethodPost, URL: &url.URL{Path: "/api/v0/" + name, RawQuery: query}, Host: "h",
			Header: http.Header{"Authorization": {"Bearer " + token}, "Content-Type": {kind}},
			Body:   io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)),
		}
		w := httptest.NewRecorder()
		s.ServeHTTP(w, req.WithContext(context.WithoutCancel(t.Context())))
		if w.Code/100 != 2 && !strings.HasPrefix(w.Body.String(), `{"Message":`) {
			t.Error(fmt.Sprint(w.Code), w.Body)
		}
	})
}
