package rest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	ipld "github.com/ipfs/go-ipld-format"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/bridge"
	"github.com/hypha-node/hypha-node/connectors"
)

func TestRoutes(t *testing.T) {
	s := serve(t, Config{Job: &scripted{}})
	tests := []struct {
		method, path string
		status       int
		code, allow  string
	}{
		{"GET", "/healthz", 200, "", ""},
		{"GET", "/job", 200, "", ""},
		{"GET", "/openapi.json", 200, "", ""},
		{"POST", "/healthz", 405, "method_not_allowed", "GET, HEAD"},
		{"DELETE", "/job", 405, "method_not_allowed", "GET, HEAD"},
		{"GET", "/resources/fetch", 405, "method_not_allowed", "POST"},
		{"PUT", "/resources/fetch", 405, "method_not_allowed", "POST"},
		{"OPTIONS", "/resources/fetch", 405, "method_not_allowed", "POST"},
		{"BREW", "/resources/fetch", 405, "method_not_allowed", "POST"},
		{"GET", "/", 404, "not_found", ""},
		{"GET", "/healthz/", 404, "not_found", ""},
		{"POST", "/resources", 404, "not_found", ""},
		{"GET", "/transfers", 200, "", ""},
		{"GET", "/resources/send", 405, "method_not_allowed", "POST"},
		{"GET", "/resources/receive", 405, "method_not_allowed", "POST"},
		{"GET", "/status/send", 405, "method_not_allowed", "POST"},
		{"PUT", "/transfers/x", 405, "method_not_allowed", "DELETE, GET, HEAD"},
		{"POST", "/transfers", 405, "method_not_allowed", "GET, HEAD"},
		{"GET", "/transfers/x", 404, "not_found", ""},
		{"DELETE", "/transfers/x", 404, "not_found", ""},
		{"GET", "/transfers/", 404, "not_found", ""},
		{"GET", "/transfers/x/y", 404, "not_found", ""},
		{"GET", "/transfers/%2e%2e", 404, "not_found", ""},
		{"POST", "/status/receive", 404, "not_found", ""},
		{"POST", "/resources/fetch/x", 404, "not_found", ""},
		{"POST", "/resources/../resources/fetch", 404, "not_found", ""},
		{"POST", "//resources/fetch", 404, "not_found", ""},
		{"POST", "/resources%2Ffetch", 404, "not_found", ""},
		{"GET", "/%2e%2e/job", 404, "not_found", ""},
	}
	for _, tt := range tests {
		t.Run(tt.method+" "+tt.path, func(t *testing.T) {
			a := s.do(t.Context(), tt.method, tt.path, "", "")
			if a.status != tt.status || a.header.Get("Allow") != tt.allow {
				t.Fatalf("status %d, Allow %q; want %d, %q", a.status, a.header.Get("Allow"), tt.status, tt.allow)
			}
			if tt.code != "" && a.problem(t).Error != tt.code {
				t.Errorf("code %q, want %q", a.problem(t).Error, tt.code)
			}
		})
	}
}

// Whatever Host an executor makes up, the socket decides.
func TestAnyHost(t *testing.T) {
	s := serve(t, Config{Job: &scripted{}})
	for _, host := range []string{"hypha", "localhost", "x:80", "[::1]", ""} {
		conn := dial(t, s.socket)
		fmt.Fprintf(conn, "GET /healthz HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", host)
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != http.StatusOK {
			t.Errorf("Host %q: %s", host, resp.Status)
		}
		resp.Body.Close()
		conn.Close()
	}
}

func dial(t testing.TB, socket string) net.Conn {
	t.Helper()
	var d net.Dialer
	conn, err := d.DialContext(t.Context(), "unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

func TestErrorTable(t *testing.T) {
	var fail error
	s := serve(t, Config{Job: &scripted{fetch: func(context.Context, bridge.FetchRequest) ([]bridge.Result, error) { return nil, fail }}})
	tests := []struct {
		name   string
		err    error
		status int
		code   string
		class  string
	}{
		{"path", &bridge.PathError{Path: "../x", Err: errors.New("no")}, 400, "invalid_path", ""},
		{"invalid", &connectors.FieldError{Field: "f", Problem: "is odd"}, 400, "invalid_request", ""},
		{"unsupported", fmt.Errorf("x: %w", connectors.ErrUnsupported), 422, "unsupported_reference", ""},
		{"missing", &connectors.Error{Op: "open", Err: connectors.ErrNotFound}, 404, "not_found", "connector_error"},
		{"missing block", ipld.ErrNotFound{}, 404, "not_found", "network_error"},
		{"gated", &connectors.Error{Op: "open", Status: 401, Err: connectors.ErrUnauthorized}, 403, "gated", "connector_error"},
		{"address", &connectors.Error{Op: "open", Err: connectors.ErrForbidden}, 403, "forbidden_address", "connector_error"},
		{"checksum", fmt.Errorf("x: %w", connectors.ErrMismatch), 422, "checksum_mismatch", "connector_error"},
		{"pointer", fmt.Errorf("x: %w", connectors.ErrPointer), 422, "lfs_pointer", "connector_error"},
		{"too many", fmt.Errorf("x: %w", bridge.ErrTooMany), 422, "too_many_files", ""},
		{"origin", &connectors.Error{Op: "open", Status: 500, Err: connectors.ErrUpstream}, 502, "origin_error", "connector_error"},
		{"space", fmt.Errorf("x: %w", blockstore.ErrNoSpace), 507, "no_space", "io_error"},
		{"ENOSPC", &os.PathError{Op: "write", Path: "p", Err: syscall.ENOSPC}, 507, "no_space", "io_error"},
		{"quota", &os.PathError{Op: "write", Path: "p", Err: syscall.EDQUOT}, 507, "no_space", "io_error"},
		{"closing", bridge.ErrClosed, 503, "shutting_down", ""},
		{"store closed", fmt.Errorf("x: %w", blockstore.ErrClosed), 503, "shutting_down", ""},
		{"deadline", context.DeadlineExceeded, 504, "timeout", "network_error"},
		{"other", errors.New("surprise"), 500, "internal", ""},
		{"disk", &os.PathError{Op: "write", Path: "p", Err: syscall.EIO}, 500, "internal", "io_error"},
		{"file", fmt.Errorf("%w: %w", bridge.ErrNotFound, os.ErrNotExist), 404, "not_found", "io_error"},
		{"transfer", bridge.ErrNotFound, 404, "not_found", ""},
		{"inside a fetch", &bridge.FetchError{Path: "artifacts/x", Completed: []bridge.Result{}, Err: connectors.ErrNotFound}, 404, "not_found", "connector_error"},
		{"closing beats the cause", fmt.Errorf("%w: %w", bridge.ErrClosed, connectors.ErrUpstream), 503, "shutting_down", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			fail = tt.err
			a := s.fetch(`"https://h/x"`)
			if p := a.problem(t); a.status != tt.status || p.Error != tt.code || p.Class != tt.class || p.Detail == "" {
				t.Errorf("%d %s; want %d %s of class %q", a.status, a.body, tt.status, tt.code, tt.class)
			}
		})
	}
	fail = &connectors.Error{Op: "open", Status: 429, RetryAfter: 1500 * time.Millisecond, Hint: "wait", Err: connectors.ErrUpstream}
	a := s.fetch(`"https://h/x"`)
	if got := a.header.Get("Retry-After"); got != "2" || a.problem(t).Hint != "wait" {
		t.Errorf("Retry-After %q, %s", got, a.body)
	}
	fail = errors.New("\x1b[31m<b>&" + strings.Repeat("é", 5000))
	a = s.fetch(`"https://h/x"`)
	if p := a.problem(t); len(p.Detail) > 3<<10 || !strings.Contains(p.Detail, "<b>&") || strings.Contains(string(a.body), "\x1b") {
		t.Errorf("hostile detail: %.200s", a.body)
	}
	if !strings.Contains(string(a.body), "<b>&") {
		t.Error("the answer is escaped for HTML")
	}
}

func TestCompletedIsAListOrAbsent(t *testing.T) {
	s := serve(t, Config{Job: &scripted{fetch: func(context.Context, bridge.FetchRequest) ([]bridge.Result, error) {
		return nil, &bridge.FetchError{Completed: []bridge.Result{}, Err: connectors.ErrNotFound}
	}}})
	if a := s.fetch(`"https://h/x"`); !strings.Contains(string(a.body), `"completed":[]`) {
		t.Errorf("%s", a.body)
	}
	if a := s.fetch(`7`); strings.Contains(string(a.body), "completed") {
		t.Errorf("%s", a.body)
	}
}

func TestHealthWhenClosing(t *testing.T) {
	job := &scripted{closing: true}
	s := serve(t, Config{Job: job})
	if a := s.get("/healthz"); a.status != http.StatusServiceUnavailable || a.problem(t).Error != "shutting_down" {
		t.Errorf("%d %s", a.status, a.body)
	}
}
