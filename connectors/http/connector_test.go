package httpconn_test

import (
	"bytes"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/hypha-node/hypha-node/connectors"
	"github.com/hypha-node/hypha-node/connectors/conntest"
	httpconn "github.com/hypha-node/hypha-node/connectors/http"
)

// operator is the access of the CLI's own commands: loopback may be reached.
var operator = connectors.Access{Operator: true} //nolint:gochecknoglobals // a constant

// newConnector returns a connector that retries fast, and is closed at the end.
func newConnector(t *testing.T, cfg httpconn.Config) *httpconn.Connector {
	t.Helper()
	if cfg.Delay == 0 {
		cfg.Delay = time.Millisecond
	}
	c := httpconn.New(cfg)
	t.Cleanup(c.Close)
	return c
}

// parse returns the reference of a URI.
func parse(t *testing.T, uri string) connectors.Ref {
	t.Helper()
	ref, err := connectors.ParseURI(uri)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

// random returns bytes that depend on a seed.
func random(seed uint64, size int) []byte {
	b := make([]byte, size)
	var key [32]byte
	key[0] = byte(seed)
	_, _ = rand.NewChaCha8(key).Read(b)
	return b
}

func TestConformance(t *testing.T) {
	content := random(1, 3<<20+17)
	small := []byte("hello")
	handlers := map[string]http.HandlerFunc{
		"ranges": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("ETag", `"v1"`)
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
		},
		"small": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("ETag", `"v1"`)
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(small))
		},
		"no ranges": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "3145745")
			_, _ = w.Write(content)
		},
		"chunked": func(w http.ResponseWriter, r *http.Request) {
			_, _ = w.Write(content[:100])
			w.(http.Flusher).Flush()
			_, _ = w.Write(content[100:])
		},
		"empty": func(w http.ResponseWriter, r *http.Request) {
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(nil))
		},
	}
	contents := map[string][]byte{"small": small, "empty": {}}
	for name, handler := range handlers {
		t.Run(name, func(t *testing.T) {
			conntest.Run(t, func(t *testing.T) conntest.Fixture {
				server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.URL.Path != "/dir/file name.bin" {
						http.NotFound(w, r)
						return
					}
					handler(w, r)
				}))
				t.Cleanup(server.Close)
				want, ok := contents[name]
				if !ok {
					want = content
				}
				return conntest.Fixture{
					Connector: newConnector(t, httpconn.Config{}),
					Access:    operator,
					Ref:       parse(t, server.URL+"/dir/file%20name.bin?x=y#frag"),
					Files:     []conntest.File{{Path: "file name.bin", Content: want}},
					Missing:   parse(t, server.URL+"/nothing"),
				}
			})
		})
	}
}
