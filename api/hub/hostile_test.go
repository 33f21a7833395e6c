package hub_test

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/hypha-node/hypha-node/api/hub"
)

// TestHostile sends what no client means.
func TestHostile(t *testing.T) {
	r := start(t, nil)
	const file = "/org/model/resolve/main/config.json"
	for _, tc := range []struct {
		request string
		fields  string
		status  int
	}{
		{"GET /org/model/resolve/main/../config.json", "", 400},
		{"GET /org/model/resolve/main/%2e%2e/config.json", "", 400},
		{"GET /org/model/resolve/main/a%2f..%2fb", "", 400},
		{"GET /org/model/resolve/main/a%5cb", "", 400},
		{"GET /org/model/resolve/main/a%00b", "", 400},
		{"GET /org/model/resolve/main/", "", 400},
		{"GET /org/model/resolve/main//etc/passwd", "", 400},
		{"GET /org/model/resolve/..%2f..%2fapi/x", "", 400},
		{"GET /org/model/resolve/%2e/x", "", 400},
		{"GET /org/model/resolve/a%0d%0aHost:%20x/y", "", 400},
		{"GET /org/.hidden/resolve/main/x", "", 400},
		{"GET /o%2frg/model/resolve/main/x", "", 400},
		{"GET /org/mo%20del/resolve/main/x", "", 400},
		{"GET /" + strings.Repeat("a", 200) + "/model/resolve/main/x", "", 400},
		{"GET /org/model/resolve/" + strings.Repeat("a", 300) + "/x", "", 400},
		{"GET /org/model/resolve/main/" + strings.Repeat("a/", 3000) + "x", "", 400},
		{"GET /api/models/org/model/tree/main/..", "", 400},
		{"GET /api/models/org/model/tree/main?cursor=" + strings.Repeat("x", 9000), "", 414},
		{"GET /", "", 404},
		{"GET /api", "", 404},
		{"GET /api/models", "", 404},
		{"GET /api/models/org/model/commits/main", "", 404},
		{"GET /api/models/org/model/xet-read-token/main", "", 404},
		{"GET /org/model/blob/main/config.json", "", 404},
		{"GET /api/resolve-cache/models/org/model/x/y", "", 404},
		{"POST " + file, "", 405},
		{"PUT " + file, "", 405},
		{"DELETE /api/models/org/model", "", 405},
		{"GET /api/models/org/model/paths-info/main", "", 405},
		{"POST /api/models/org/model/paths-info/main " + strings.Repeat("paths=a&", 1<<20), "Content-Type: application/x-www-form-urlencoded", 413},
		{"GET " + file, "Authorization: Basic dXNlcjpwYXNz", 401},
		{"GET " + file, "Authorization: Bearer " + strings.Repeat("x", 5000), 401},
		{"GET " + file, "Range: bytes=12-", 416},
		{"GET " + file, "Range: bytes=-0", 416},
		{"GET " + file, "Range: bytes=99999999999999999999999-", 416},
		{"GET /org/model/resolve/main/empty.txt", "Range: bytes=0-0", 416},
		{"GET " + file, "Range: bytes=5-2", 200},
		{"GET " + file, "Range: bytes=a-b", 200},
		{"GET " + file, "Range: bytes=-", 200},
		{"GET " + file, "Range: bytes=0-1,3-4", 200},
		{"GET " + file, "Range: lines=0-1", 200},
		{"GET " + file, "Range: bytes=-5", 206},
		{"GET " + file, "Range: bytes=0-99999999999999999999999", 206},
		{"GET " + file, "Range: bytes=3-\nIf-Range: \"another\"", 200},
		{"GET " + file, "Via: 1.1 hypha-hub-a, 1.1 hypha-hub-b, 1.1 hypha-hub-c, 1.1 hypha-hub-d", 508},
		{"GET " + file, "Via: 1.1 proxy", 200},
	} {
		what := tc.request[:min(len(tc.request), 80)] + " " + tc.fields[:min(len(tc.fields), 60)]
		var fields []string
		if tc.fields != "" {
			fields = strings.Split(tc.fields, "\n")
		}
		a := r.do(tc.request, fields...)
		a.want(t, what, tc.status, nil)
		if a.status >= 400 && (a.header.Get("X-Error-Message") == "" || !strings.Contains(string(a.body), `"error"`)) {
			t.Errorf("%s: no reason is given: %q", what, a.body)
		}
	}
	for _, q := range r.up.Requests() {
		if strings.Contains(q.Path, "..") || strings.Contains(q.Path, "%2e") {
			t.Errorf("the hub was asked for %s", q.Path)
		}
	}
}

// TestRawLines sends bytes that are no request of an HTTP client.
func TestRawLines(t *testing.T) {
	r := start(t, nil)
	for _, line := range []string{
		"GET http://169.254.169.254/latest/meta-data HTTP/1.1\r\nHost: 169.254.169.254",
		"GET //evil.example/org/resolve/main/x HTTP/1.1\r\nHost: x",
		"CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443",
	} {
		answer := r.raw(line + "\r\nConnection: close\r\n\r\n")
		if !strings.HasPrefix(answer, "HTTP/1.1 4") {
			t.Errorf("%q: %.60q", line, answer)
		}
	}
	if n := len(r.up.Requests()); n != 0 {
		t.Errorf("the hub was asked %d times", n)
	}
}

// TestLoop makes the façade its own upstream.
func TestLoop(t *testing.T) {
	r := start(t, nil)
	var loop http.Handler
	front := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) { loop.ServeHTTP(w, q) })} //nolint:gosec // a test's
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	ended := make(chan error, 1)
	go func() { ended <- front.Serve(l) }()
	t.Cleanup(func() { must(t, front.Close()); <-ended })
	r.open("http://"+l.Addr().String(), nil)
	loop = r.server
	for _, request := range []string{"GET /org/model/resolve/main/x", "GET /api/models/org/model", "GET /api/whoami-v2"} {
		a := r.do(request)
		a.want(t, request, 508, nil)
		if !strings.Contains(a.header.Get("X-Error-Message"), "hf_endpoint") {
			t.Errorf("message %q", a.header.Get("X-Error-Message"))
		}
	}
}

// TestAddress holds what addresses mean, and which endpoints lead back.
func TestAddress(t *testing.T) {
	for text, want := range map[string]string{
		"8787": "127.0.0.1:8787", ":8787": "127.0.0.1:8787", "localhost:0": "127.0.0.1:0", "[::1]:80": "[::1]:80",
		"0.0.0.0:80": "0.0.0.0:80", "": "", "x": "", "host:80": "", "127.0.0.1": "", "127.0.0.1:70000": "", "127.0.0.1:-1": "", "::1:80": "",
	} {
		if got, err := hub.Address(text); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v, want %q", text, got, err, want)
		}
	}
	loopback, any4 := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 8787}, &net.TCPAddr{IP: net.IPv4zero, Port: 8787}
	for _, tc := range []struct {
		endpoint string
		addr     net.Addr
		want     bool
	}{
		{"http://127.0.0.1:8787", loopback, true},
		{"http://localhost:8787/", loopback, true},
		{"http://0.0.0.0:8787", loopback, true},
		{"http://127.0.0.1:8787", any4, true},
		{"http://127.0.0.1:8788", loopback, false},
		{"http://192.0.2.1:8787", loopback, false},
		{"https://huggingface.co", loopback, false},
		{"", loopback, false},
		{"::", loopback, false},
	} {
		if got := hub.IsSelf(tc.endpoint, tc.addr); got != tc.want {
			t.Errorf("%s at %s: %v", tc.endpoint, tc.addr, got)
		}
	}
	if got := hub.URL(any4); got != "http://127.0.0.1:8787" || hub.IsLoopback(any4) || !hub.IsLoopback(loopback) {
		t.Errorf("URL %s", got)
	}
}

// TestClosed holds that a server that is closed says so.
func TestClosed(t *testing.T) {
	r := start(t, nil)
	must(t, r.server.Close())
	r.do("GET /org/model/resolve/main/config.json").want(t, "closed", 503, nil)
	must(t, r.server.Close())
	if fmt.Sprint(len(r.up.Requests())) != "0" {
		t.Error("the hub was asked")
	}
}
