package hubtest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start runs a hub until the end of the test.
func start(t *testing.T, cfg Config) *Hub {
	t.Helper()
	h, err := New(cfg)
	if err == nil {
		err = h.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

// clock is a time that a test sets: seconds.
type clock struct{ atomic.Int64 }

// time returns the time.
func (c *clock) time() time.Time { return time.Unix(1e9+c.Load(), 0) }

// client follows no redirect and keeps no connection.
func client() *http.Client {
	return &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true, DisableCompression: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// answer is an answer whose body was read.
type answer struct {
	code   int
	header http.Header
	body   []byte
}

// do sends a request and reads the answer; the error is the body's.
func do(t *testing.T, method, url, body string, fields ...string) (answer, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(fields); i += 2 {
		req.Header.Set(fields[i], fields[i+1])
	}
	resp, err := client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, b}, errors.Join(err, resp.Body.Close())
}

// get is a plain GET that must succeed in being read.
func get(t *testing.T, url string, fields ...string) answer {
	t.Helper()
	a, err := do(t, http.MethodGet, url, "", fields...)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// read returns a content as bytes.
func read(t *testing.T, c Content) []byte {
	t.Helper()
	f, err := c.Open()
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(f)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	return b
}

// repos is what the hub of the next tests has.
func repos() []Repo {
	return []Repo{{
		ID: "owner/name", Direct: []string{"direct"},
		Files: map[string]Content{
			"config.json": Bytes([]byte("{}")), "model.safetensors": Random(1, 100_000), "a b/c%.txt": Bytes([]byte("odd")), "direct": Bytes([]byte("direct")),
		},
	}}
}

// TestShapes: the three kinds of answers to a request for a file.
func TestShapes(t *testing.T) {
	h := start(t, Config{Repos: repos()})
	commit := h.Head("model/owner/name")
	for _, rev := range []string{"main", commit, "refs%2Fpr%2F1"} {
		a := get(t, h.URL+"/owner/name/resolve/"+rev+"/config.json")
		if a.code != 307 || !strings.HasPrefix(a.header.Get("Location"), "/api/resolve-cache/models/owner/name/"+commit+"/config.json?") {
			t.Fatalf("%d to %q", a.code, a.header.Get("Location"))
		}
		small := map[string]string{
			"X-Repo-Commit": commit, "X-Linked-Size": "2", "X-Linked-Etag": `"9e26dfeeb6e641a33dae4961196235bdb965b21b"`,
		}
		for name, want := range small {
			if got := a.header.Get(name); got != want {
				t.Errorf("%s is %q, want %q", name, got, want)
			}
		}
		a = get(t, h.URL+a.header.Get("Location"))
		if a.code != 200 || string(a.body) != "{}" || a.header.Get("ETag") != small["X-Linked-Etag"] {
			t.Errorf("%d %q %v", a.code, a.body, a.header)
		}
	}
	a := get(t, h.URL+"/owner/name/resolve/main/direct")
	if a.code != 200 || string(a.body) != "direct" {
		t.Errorf("%d %q", a.code, a.body)
	}
	a = get(t, h.URL+"/owner/name/resolve/main/a%20b/c%25.txt")
	if a := get(t, h.URL+a.header.Get("Location")); a.code != 200 || string(a.body) != "odd" {
		t.Errorf("%d %q", a.code, a.body)
	}
	a = get(t, h.URL+"/owner/name/raw/main/model.safetensors")
	sum, err := Random(1, 100_000).SHA256()
	if err != nil {
		t.Fatal(err)
	}
	if want := "version https://git-lfs.github.com/spec/v1\noid sha256:" + sum + "\nsize 100000\n"; a.code != 200 || string(a.body) != want {
		t.Errorf("%d %q", a.code, a.body)
	}
}

// TestCDN: large files come from another origin, by signed URLs.
func TestCDN(t *testing.T) {
	var now clock
	h := start(t, Config{Repos: repos(), Now: now.time})
	a := get(t, h.URL+"/owner/name/resolve/main/model.safetensors")
	link := a.header.Get("Location")
	whole := read(t, Random(1, 100_000))
	sum := sha256.Sum256(whole)
	if a.code != 302 || !strings.HasPrefix(link, h.CDNURL+"/xet-bridge-us/") || a.header.Get("X-Linked-Etag") != `"`+hex.EncodeToString(sum[:])+`"` {
		t.Fatalf("%d to %q", a.code, link)
	}
	a = get(t, link)
	if a.code != 200 || !bytes.Equal(a.body, whole) || strings.Contains(a.header.Get("ETag"), hex.EncodeToString(sum[:])) {
		t.Errorf("%d, %d bytes, %v", a.code, len(a.body), a.header)
	}
	tag := a.header.Get("ETag")
	a = get(t, link, "Range", "bytes=10-19", "If-Range", tag)
	if a.code != 206 || !bytes.Equal(a.body, whole[10:20]) {
		t.Errorf("%d, %d bytes", a.code, len(a.body))
	}
	if a = get(t, link, "Range", "bytes=10-19", "If-Range", `"other"`); a.code != 200 || len(a.body) != len(whole) {
		t.Errorf("%d, %d bytes", a.code, len(a.body))
	}
	if a = get(t, link, "Authorization", "Bearer x"); a.code != 400 {
		t.Errorf("with a token: %d, want 400", a.code)
	}
	if a = get(t, strings.Replace(link, "X-Amz-Expires=3600", "X-Amz-Expires=36000", 1)); a.code != 403 {
		t.Errorf("with another life: %d, want 403", a.code)
	}
	now.Store(7200)
	if a = get(t, link); a.code != 403 {
		t.Errorf("expired: %d, want 403", a.code)
	}
	log := h.Requests()
	if len(log) != 7 || log[0].CDN || !log[1].CDN || log[1].Status != 200 || log[2].Status != 206 || log[6].Status != 403 {
		t.Errorf("log is %+v", log)
	}
	if h.ResetRequests(); len(h.Requests()) != 0 {
		t.Error("the log is not empty")
	}
}

// TestListing: pages, directories and what the clients ask for.
func TestListing(t *testing.T) {
	h := start(t, Config{Repos: repos(), PageSize: 2})
	var paths []string
	next := h.URL + "/api/models/owner/name/tree/main?recursive=True&expand=False"
	for next != "" {
		a := get(t, next)
		var page []treeEntry
		if err := json.Unmarshal(a.body, &page); err != nil {
			t.Fatal(err)
		}
		for _, e := range page {
			paths = append(paths, e.Type[:1]+" "+e.Path)
		}
		next, _, _ = strings.Cut(strings.TrimPrefix(a.header.Get("Link"), "<"), ">")
	}
	if diff := cmp.Diff([]string{"d a b", "f a b/c%.txt", "f config.json", "f direct", "f model.safetensors"}, paths); diff != "" {
		t.Errorf("listing differs (-want +got):\n%s", diff)
	}
	if a := get(t, h.URL+"/api/models/owner/name/tree/main/nothing"); a.header.Get("X-Error-Code") != "EntryNotFound" {
		t.Errorf("%d %v", a.code, a.header)
	}
	for kind, body := range map[string]string{
		"application/json":                  `{"paths":["config.json","a b","none"],"expand":true}`,
		"application/x-www-form-urlencoded": "paths=config.json&paths=a+b&paths=none&expand=True",
	} {
		a, err := do(t, http.MethodPost, h.URL+"/api/models/owner/name/paths-info/main", body, "Content-Type", kind)
		if err != nil {
			t.Fatal(err)
		}
		var found []treeEntry
		if err := json.Unmarshal(a.body, &found); err != nil || len(found) != 2 || found[0].Path != "config.json" || found[1].Type != "directory" || found[0].LastCommit == nil {
			t.Errorf("%s gives %s, %v", kind, a.body, err)
		}
	}
}

// TestBadRequests: what the hub does not understand is an error, no panic.
func TestBadRequests(t *testing.T) {
	h := start(t, Config{Repos: repos(), Tokens: map[string]User{"good": {Name: "alice"}}})
	for path, want := range map[string]int{
		"/":                                      404,
		"/api":                                   404,
		"/api/":                                  404,
		"/x":                                     404,
		"/a/b/c":                                 404,
		"/api/x":                                 404,
		"/api/models/owner/name/revision/nope":   404,
		"/api/models/owner/name/paths-info/main": 405,
		"/api/resolve-cache":                     404,
		"/api/resolve-cache/models":              401,
		"/api/resolve-cache/models/owner/name/main/config.json":                            400,
		"/api/resolve-cache/models/owner/name/" + strings.Repeat("0", 40) + "/config.json": 404,
		"/owner/name":                      404,
		"/owner/name/resolve/nope/x":       404,
		"/owner/name/resolve/main/nope":    404,
		"/api/whoami-v2":                   401,
		"/api/models/owner/name?expand=id": 200,
		"/api/models/owner/name/refs":      200,
	} {
		if a := get(t, h.URL+path); a.code != want {
			t.Errorf("%s: %d, want %d", path, a.code, want)
		}
	}
	if a := get(t, h.URL+"/api/whoami-v2", "Authorization", "Bearer good"); !strings.Contains(string(a.body), `"name":"alice"`) {
		t.Errorf("whoami gives %s", a.body)
	}
}

func TestFaults(t *testing.T) {
	h := start(t, Config{Repos: repos()})
	a := get(t, h.URL+"/owner/name/resolve/main/model.safetensors")
	link := a.header.Get("Location")
	whole := read(t, Random(1, 100_000))

	h.Plant(Fault{CDN: true, Corrupt: true, At: 50_000, Times: 1})
	a = get(t, link)
	if len(a.body) != len(whole) || bytes.Equal(a.body, whole) || !bytes.Equal(a.body[:50_000], whole[:50_000]) || !bytes.Equal(a.body[50_001:], whole[50_001:]) {
		t.Error("not exactly the byte at 50,000 is corrupt")
	}
	h.Plant(Fault{CDN: true, Corrupt: true, At: 50_000, Times: 1})
	if a = get(t, link, "Range", "bytes=49999-50001"); a.body[0] != whole[49_999] || a.body[1] == whole[50_000] || a.body[2] != whole[50_001] {
		t.Error("not exactly the byte at 50,000 of the content is corrupt in a range")
	}
	h.Plant(Fault{CDN: true, Cut: true, At: 40_000, Times: 1})
	if a, err := do(t, http.MethodGet, link, ""); err == nil || !bytes.Equal(a.body, whole[:40_000]) {
		t.Errorf("%d bytes before the cut, %v", len(a.body), err)
	}
	h.Plant(Fault{Path: "/resolve/", Status: 429, RetryAfter: "3", Exhausted: 9, Times: 1})
	a = get(t, h.URL+"/owner/name/resolve/main/direct")
	if a.code != 429 || a.header.Get("Retry-After") != "3" || a.header.Get("RateLimit") != `"resolvers";r=0;t=9` {
		t.Errorf("%d %v", a.code, a.header)
	}
	if a = get(t, link); !bytes.Equal(a.body, whole) {
		t.Error("a fault befell one request too many")
	}
	h.Plant(Fault{Status: 500})
	h.ClearFaults()
	if a = get(t, h.URL+"/owner/name/resolve/main/direct"); a.code != 200 {
		t.Errorf("%d after the faults were cleared", a.code)
	}
}

// TestStallEndsWithTheHub: a request that is left waiting does not keep Close.
func TestStallEndsWithTheHub(t *testing.T) {
	h, err := New(Config{Repos: repos()})
	if err == nil {
		err = h.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	h.Plant(Fault{Stall: true, At: 2})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, h.URL+"/owner/name/resolve/main/direct", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 2)
	if _, err := io.ReadFull(resp.Body, b); err != nil || string(b) != "di" {
		t.Errorf("%q, %v", b, err)
	}
	if err := h.Close(); err != nil {
		t.Error(err)
	}
	if rest, err := io.ReadAll(resp.Body); err == nil || len(rest) > 0 {
		t.Errorf("%q, %v after the hub was closed", rest, err)
	}
	if err := resp.Body.Close(); err != nil {
		t.Error(err)
	}
}

func TestQuota(t *testing.T) {
	var now clock
	h := start(t, Config{Repos: repos(), Quota: 2, Now: now.time})
	ask := func() string {
		a := get(t, h.URL+"/api/models/owner/name")
		return fmt.Sprint(a.code) + " " + a.header.Get("RateLimit")
	}
	for _, want := range []string{`200 "api";r=1;t=300`, `200 "api";r=0;t=300`, `429 "api";r=0;t=300`} {
		if got := ask(); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	now.Store(301)
	if got := ask(); got != `200 "api";r=1;t=300` {
		t.Errorf("%s in the next window", got)
	}
}

func TestCommit(t *testing.T) {
	h := start(t, Config{Repos: repos()})
	first := h.Head("model/owner/name")
	second, err := h.Commit("model/owner/name", map[string]Content{"config.json": Bytes([]byte("new"))})
	if err != nil || second == first || h.Head("model/owner/name") != second {
		t.Fatalf("%s after %s, %v", second, first, err)
	}
	for rev, want := range map[string]string{first: "{}", second: "new", "main": "new"} {
		a := get(t, h.URL+"/owner/name/resolve/"+rev+"/config.json")
		if a := get(t, h.URL+a.header.Get("Location")); string(a.body) != want {
			t.Errorf("%s: %q, want %q", rev, a.body, want)
		}
	}
	if _, err := h.Commit("model/none", nil); err == nil || h.Head("model/none") != "" {
		t.Error("a repository that does not exist took a commit")
	}
}

func BenchmarkServe(b *testing.B) {
	const size = 256 << 20
	h, err := New(Config{Repos: []Repo{{ID: "a/b", Direct: []string{"x"}, Files: map[string]Content{"x": Random(1, size)}}}})
	if err == nil {
		err = h.Start()
	}
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = h.Close() }()
	c := client()
	buf := make([]byte, 1<<20)
	b.SetBytes(size)
	for b.Loop() {
		req, err := http.NewRequestWithContext(b.Context(), http.MethodGet, h.URL+"/a/b/resolve/main/x", nil)
		if err != nil {
			b.Fatal(err)
		}
		resp, err := c.Do(req)
		if err != nil {
			b.Fatal(err)
		}
		if n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{resp.Body}, buf); n != size || err != nil {
			b.Fatal(n, err)
		}
		_ = resp.Body.Close()
	}
}
