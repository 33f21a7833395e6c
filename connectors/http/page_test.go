package httpconn_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/hypha-node/hypha-node/connectors"
	httpconn "github.com/hypha-node/hypha-node/connectors/http"
)

// TestLoginPage: a page to log in, which comes with the status 200, is not taken for
// the file; what may be a page, and what only resembles one, is.
func TestLoginPage(t *testing.T) {
	const page = "\ufeff \n<!DOCTYPE HTML><title>Log in</title>"
	tests := []struct {
		name, path, text string
		refused          bool
	}{
		{"weights", "/m.safetensors", page, true},
		{"archive, by a redirect", "/login/m.tar.gz", page, true},
		{"without a type", "/m.bin", "<html lang=en>", true},
		{"a page", "/index.html", page, false},
		{"a name that says nothing", "/download", page, false},
		{"text about pages", "/m.json", `{"a":"<html>"}`, false},
		{"empty", "/m.bin", "", false},
		{"shorter than what tells", "/m.bin", "<!doct", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/login/m.tar.gz" {
					http.Redirect(w, r, "/login", http.StatusFound)
					return
				}
				w.Header().Set("Content-Type", "text/html; charset=utf-8")
				_, _ = io.WriteString(w, tt.text)
			}))
			defer s.Close()
			c := newConnector(t, httpconn.Config{Retries: -1})
			for _, checksum := range []string{"", "sha256:" + repeat("0", 64)} {
				ref, err := parse(t, s.URL+tt.path).WithChecksum(checksum)
				if err != nil {
					t.Fatal(err)
				}
				for it, err := range c.Items(t.Context(), ref, connectors.Access{Operator: true}) {
					if err != nil {
						t.Fatal(err)
					}
					body, err := it.Open(t.Context(), 0, -1, nil)
					if tt.refused && checksum == "" { // with a checksum it is that which tells
						ce, ok := errors.AsType[*connectors.Error](err)
						if !ok || !errors.Is(err, connectors.ErrUpstream) || ce.Hint == "" {
							t.Errorf("error is %v, want ErrUpstream with a hint", err)
						}
						continue
					}
					if err != nil {
						t.Fatal(err)
					}
					got, err := io.ReadAll(body)
					if err != nil || string(got) != tt.text {
						t.Errorf("read %q, %v", got, err)
					}
					if err := body.Close(); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
}
