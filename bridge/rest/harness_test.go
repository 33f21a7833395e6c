package rest

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/legacy"
	"go.uber.org/goleak"

	"github.com/hypha-node/hypha-node/bridge"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server is a handler served on a socket, and a client that holds every answer
// against openapi.json.
type server struct {
	t      testing.TB
	socket string
	client *http.Client
	doc    *openapi3.T
	router routers.Router
	stop   func() // ends Serve and waits for it; the test does it as well
}

// serve serves a handler until the test ends.
func serve(t testing.TB, c Config) *server {
	t.Helper()
	socket := filepath.Join(privateDir(t), "b.sock")
	l, err := Listen(t.Context(), socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- New(c).Serve(ctx, l) }()
	client := unixClient(t, socket)
	s := &server{t: t, socket: socket, client: client}
	stopped := false
	s.stop = func() {
		if stopped {
			return
		}
		stopped = true
		client.CloseIdleConnections()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	}
	t.Cleanup(s.stop)
	s.doc, s.router = document(t)
	return s
}

// privateDir returns a directory that a socket can be in.
func privateDir(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "s")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

// unixClient returns a client of a socket.
func unixClient(t testing.TB, socket string) *http.Client {
	t.Helper()
	var d net.Dialer
	tr := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return d.DialContext(ctx, "unix", socket)
	}}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

// document loads openapi.json.
func document(t testing.TB) (*openapi3.T, routers.Router) {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromData([]byte(openAPI))
	if err != nil {
		t.Fatal(err)
	}
	router, err := legacy.NewRouter(doc)
	if err != nil {
		t.Fatal(err)
	}
	return doc, router
}

// answer is what a request got.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// problem decodes a refusal.
func (a answer) problem(t testing.TB) problem {
	t.Helper()
	var p problem
	if err := json.Unmarshal(a.body, &p); err != nil {
		t.Fatalf("%d %s: %v", a.status, a.body, err)
	}
	return p
}

// files decodes the answer of a fetch that must have succeeded.
func (a answer) files(t testing.TB) []bridge.Result {
	t.Helper()
	var list []bridge.Result
	if a.status != http.StatusOK {
		t.Fatalf("status %d: %s", a.status, a.body)
	}
	if err := json.Unmarshal(a.body, &list); err != nil {
		t.Fatalf("%s: %v", a.body, err)
	}
	return list
}

// fetch posts a body to /resources/fetch.
func (s *server) fetch(body string) answer {
	s.t.Helper()
	return s.do(s.t.Context(), http.MethodPost, "/resources/fetch", "application/json", body)
}

// post posts a body to a path.
func (s *server) post(path, body string, edit ...func(*http.Request)) answer {
	s.t.Helper()
	return s.do(s.t.Context(), http.MethodPost, path, "application/json", body, edit...)
}

// with sets a header.
func with(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

// get asks for a path.
func (s *server) get(path string) answer {
	s.t.Helper()
	return s.do(s.t.Context(), http.MethodGet, path, "", "")
}

// do sends a request and checks the answer against the document.
func (s *server) do(ctx context.Context, method, path, media, body string, edit ...func(*http.Request)) answer {
	s.t.Helper()
	a, req, err := s.try(ctx, method, path, media, body, edit...)
	if err != nil {
		s.t.Fatal(err)
	}
	s.check(req, body, a)
	return a
}

// try sends a request.
func (s *server) try(ctx context.Context, method, path, media, body string, edit ...func(*http.Request)) (answer, *http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://bridge"+path, bytes.NewReader([]byte(body)))
	if err != nil {
		return answer{}, nil, err
	}
	if media != "" {
		req.Header.Set("Content-Type", media)
	}
	for _, f := range edit {
		f(req)
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return answer{}, req, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, data}, req, err
}
