package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
)

// post sends a raw request to the server and returns status and body.
func (r *rig) post(t *testing.T, method, path, body string) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	r.server.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body)))
	return w.Code, w.Body.String()
}

// TestBadRequests sends what no client of ours sends.
func TestBadRequests(t *testing.T) {
	r := newRig(t)
	for _, tc := range []struct {
		name, method, path, body string
		status                   int
		want                     string // in the detail
	}{
		{"no body", "POST", "/v1/add", "", 400, "empty"},
		{"no JSON", "POST", "/v1/add", "paths", 400, "invalid character"},
		{"cut JSON", "POST", "/v1/add", `{"paths":["/x"`, 400, "unexpected EOF"},
		{"two documents", "POST", "/v1/add", `{"paths":["/x"]}{}`, 400, "more than one"},
		{"array", "POST", "/v1/add", `[]`, 400, "array"},
		{"wrong type", "POST", "/v1/add", `{"paths":"/x"}`, 400, "field paths"},
		{"wrong element", "POST", "/v1/add", `{"paths":[7]}`, 400, "field paths"},
		{"wrong number", "POST", "/v1/get", `{"timeout_ms":1.5}`, 400, "field timeout_ms"},
		{"number too large", "POST", "/v1/get", `{"timeout_ms":99999999999999999999}`, 400, "field timeout_ms"},
		{"mode too large", "POST", "/v1/get", `{"mode":-1}`, 400, "field mode"},
		{"too large", "POST", "/v1/add", `{"name":"` + strings.Repeat("x", maxBody) + `"}`, 413, "exceeds"},
		{"deep", "POST", "/v1/fetch", `{"refs":[` + strings.Repeat("[", 50000), 400, ""},
		{"bad reference", "POST", "/v1/fetch", `{"refs":[{"type":"uri","value":7}]}`, 400, "value"},
		{"null", "POST", "/v1/fetch", `null`, 400, "no references"},
		{"unknown operation", "GET", "/v1/nothing", "", 404, "no operation"},
		{"unknown method", "DELETE", "/v1/add", "", 405, ""},
		{"bad CID", "GET", "/v1/blocks/xyz", "", 400, "xyz"},
		{"bad offset", "GET", "/v1/cat?path=" + helloCID + "&offset=x", "", 400, "offset"},
		{"bad length", "GET", "/v1/cat?path=" + helloCID + "&length=1e3", "", 400, "length"},
		{"control characters", "GET", "/v1/cat?path=" + url.QueryEscape("a\x1b[31m\nb"), "", 400, `\x1b`},
		{"long CID", "GET", "/v1/cat?path=" + strings.Repeat("b", 5000), "", 400, "…"},
		{"job id", "GET", "/v1/jobs/..%2Fx", "", 404, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			status, body := r.post(t, tc.method, tc.path, tc.body)
			if status != tc.status {
				t.Errorf("status %d, want %d: %s", status, tc.status, body)
			}
			var e Error
			if err := json.Unmarshal([]byte(body), &e); err != nil || e.Code == "" || !strings.Contains(e.Detail, tc.want) {
				t.Errorf("body %q, %v; want an error with %q", body, err, tc.want)
			}
			if len(body) > 1000 {
				t.Errorf("answer of %d bytes to a bad request", len(body))
			}
		})
	}
}

// TestUnknownFields are ignored: newer clients may say more.
func TestUnknownFields(t *testing.T) {
	r := newRig(t)
	path := r.write(t, "f", hello)
	status, body := r.post(t, "POST", "/v1/add", fmt.Sprintf(`{"paths":[%q],"from_the_future":{"x":1}}`, path))
	if status != 200 || !strings.Contains(body, helloCID) || !strings.HasSuffix(body, `{"event":"done"}`+"\n") {
		t.Errorf("%d %s", status, body)
	}
}

// TestShortBody is what a client that knows no trailers sees of a cat that
// fails half-way: fewer bytes than announced.
func TestShortBody(t *testing.T) {
	r := newRig(t)
	c := serve(t, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		req.Header.Del("TE")
		r.server.ServeHTTP(w, req)
	}))
	t.Cleanup(c.Close)
	root := r.broken(t)
	resp, err := c.send(t.Context(), http.MethodGet, "/v1/cat?path="+root, http.NoBody)
	must(t, err)
	defer resp.Body.Close()
	if resp.ContentLength != 3003 {
		t.Errorf("Content-Length %d", resp.ContentLength)
	}
	if got, err := io.ReadAll(resp.Body); !errors.Is(err, io.ErrUnexpectedEOF) || len(got) >= 3003 {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// TestCutStream ends the connection within a stream of events: the client must
// not take what it has for everything.
func TestCutStream(t *testing.T) {
	for name, text := range map[string]string{
		"before the first event": "",
		"between events":         `{"event":"item","item":{"name":"x"}}` + "\n",
		"within an event":        `{"event":"item","item":{"na`,
	} {
		t.Run(name, func(t *testing.T) {
			c := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if _, err := io.WriteString(w, text); err != nil {
					t.Error(err)
				}
				ctl := http.NewResponseController(w)
				if err := ctl.Flush(); err != nil {
					t.Error(err)
				}
				conn, _, err := ctl.Hijack()
				if err != nil {
					t.Error(err)
					return
				}
				must(t, conn.Close())
			}))
			t.Cleanup(c.Close)
			if got, err := items(c.List(t.Context(), PathRequest{})); !errors.Is(err, ErrCut) {
				t.Errorf("%v, %v", got, err)
			}
		})
	}
}

// TestErrorInStream passes on an error that comes after items.
func TestErrorInStream(t *testing.T) {
	both(t, func(t *testing.T, r *rig) {
		good := r.write(t, "good", hello)
		got, err := items(r.Add(t.Context(), AddRequest{Paths: []string{good, filepath.Join(r.dir, "absent")}}))
		wantError(t, err, CodeNotFound, "absent")
		if len(got) != 1 || got[0].CID != helloCID {
			t.Errorf("%+v", got)
		}
	})
}

// TestNoDaemon says that nobody listens, whatever lies at the path.
func TestNoDaemon(t *testing.T) {
	dir := shortDir(t)
	stale := filepath.Join(dir, "stale.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: stale, Net: "unix"})
	must(t, err)
	l.SetUnlinkOnClose(false)
	must(t, l.Close())
	for _, path := range []string{filepath.Join(dir, "absent.sock"), stale} {
		c := NewClient(path)
		if err := c.Ping(t.Context()); !errors.Is(err, ErrNoDaemon) {
			t.Errorf("Ping: %v", err)
		}
		if _, err := c.ID(t.Context()); !errors.Is(err, ErrNoDaemon) {
			t.Errorf("ID: %v", err)
		}
		c.Close()
	}
}

// TestClientCancels ends the operation when the client stops listening.
func TestClientCancels(t *testing.T) {
	for _, name := range []string{"socket", "local"} {
		t.Run(name, func(t *testing.T) {
			ended := make(chan error, 1)
			h := many(func(ctx context.Context, _ none, out *stream[Entry]) error {
				if err := out.item(Entry{Name: "x"}); err != nil {
					return err
				}
				<-ctx.Done()
				ended <- ctx.Err()
				return ctx.Err()
			})
			c := NewLocal(h)
			if name == "socket" {
				c = serve(t, h)
			}
			t.Cleanup(c.Close)
			for ev, err := range c.List(t.Context(), PathRequest{}) {
				if err != nil || ev.Item == nil {
					t.Fatalf("%+v, %v", ev, err)
				}
				break
			}
			if err := <-ended; !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
	}
}

// TestProgress tells of a long file and not of a short one.
func TestProgress(t *testing.T) {
	w := httptest.NewRecorder()
	s := newStream[Entry](w)
	s.progress(Progress{Path: "short", Done: 1})
	s.progress(Progress{Path: "short", Done: 2})
	s.last["long"] = s.last["short"].Add(-2 * progressEvery)
	s.progress(Progress{Path: "long", Done: 7, Total: 9})
	s.finished("long")
	s.end(nil)
	want := `{"event":"progress","progress":{"path":"long","done":7,"total":9}}` + "\n" + `{"event":"done"}` + "\n"
	if w.Body.String() != want || len(s.last) != 1 {
		t.Errorf("%s, %v", w.Body, s.last)
	}
}

// FuzzDecode hands arbitrary bodies to the largest requests.
func FuzzDecode(f *testing.F) {
	f.Add(`{"refs":["hf://a/b",{"type":"uri","value":"https://x/y"}],"output":"/x"}`)
	f.Add(`{"paths":["/x"],"profile":"v1-2025"}`)
	f.Add(`{"refs":[[[[`)
	f.Fuzz(func(t *testing.T, body string) {
		w := httptest.NewRecorder()
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader(body))
		if req, err := decode[FetchRequest](w, r); err == nil {
			if refs, err := req.parse(); err == nil && len(refs) != len(req.Refs) {
				t.Errorf("%d of %d references", len(refs), len(req.Refs))
			}
		} else if e := describe(err); e.Status != 400 && e.Status != 413 {
			t.Errorf("%+v", e)
		}
	})
}

// FuzzCatRequest hands arbitrary queries to cat.
func FuzzCatRequest(f *testing.F) {
	f.Add("path=x&offset=1&length=2")
	f.Add("offset=-9223372036854775808")
	f.Fuzz(func(t *testing.T, query string) {
		q, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		r, err := catRequest(q)
		if err != nil {
			return
		}
		for _, size := range []int64{0, 1, 1 << 60} {
			if n, err := span(size, r); err == nil && (n < 0 || r.Offset+n > size) {
				t.Errorf("span(%d, %+v) = %d", size, r, n)
			}
		}
	})
}

// FuzzParse hands arbitrary names of content to parse.
func FuzzParse(f *testing.F) {
	f.Add("ipfs://" + helloCID + "/a/b")
	f.Add("/ipfs/x")
	f.Fuzz(func(t *testing.T, name string) {
		c, below, err := parse(name)
		if err == nil && (!c.Defined() || strings.HasPrefix(below, "/") || strings.HasSuffix(below, "/")) {
			t.Errorf("parse(%q) = %v, %q", name, c, below)
		}
	})
}
