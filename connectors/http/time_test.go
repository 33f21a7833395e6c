package httpconn_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hypha-node/hypha-node/connectors"
	httpconn "github.com/hypha-node/hypha-node/connectors/http"
)

// TestWaits: how long the client waits before it asks again.
func TestWaits(t *testing.T) {
	tests := []struct {
		name     string
		status   int
		fields   map[string]string
		min, max time.Duration // of the wait; max 0: it gives up at once
	}{
		{"jittered by default", 503, nil, 250 * time.Millisecond, 750 * time.Millisecond},
		{"Retry-After", 429, map[string]string{"Retry-After": "7"}, 7 * time.Second, 8 * time.Second},
		{"Retry-After of a 503", 503, map[string]string{"Retry-After": "7"}, 7 * time.Second, 8 * time.Second},
		{"Retry-After as a date", 429, map[string]string{"Retry-After": "Sat, 01 Jan 2000 00:01:00 GMT"}, 59 * time.Second, 60 * time.Second},
		{"Retry-After of the past", 429, map[string]string{"Retry-After": "Sat, 01 Jan 1994 00:01:00 GMT"}, 250 * time.Millisecond, 750 * time.Millisecond},
		{"Retry-After of nonsense", 429, map[string]string{"Retry-After": "soon"}, 250 * time.Millisecond, 750 * time.Millisecond},
		{"used up window", 429, map[string]string{"RateLimit": `"api";r=0;t=40`}, 40 * time.Second, 41 * time.Second},
		{"window is not the cause", 429, map[string]string{"RateLimit": `"api";r=12;t=40`, "Retry-After": "3"}, 3 * time.Second, 4 * time.Second},
		{"one of two windows", 429, map[string]string{"RateLimit": `"pages";r=5;t=9, "api";r=0;t=40`}, 40 * time.Second, 41 * time.Second},
		{"longer than anybody waits", 429, map[string]string{"Retry-After": "3600"}, 0, 0},
		{"too early", 425, nil, 250 * time.Millisecond, 750 * time.Millisecond},
		{"timeout", 408, nil, 250 * time.Millisecond, 750 * time.Millisecond},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, httpconn.Config{}, func(n int, w http.ResponseWriter, _ *http.Request) {
				if n > 0 {
					_, _ = w.Write([]byte("now"))
					return
				}
				for name, value := range tt.fields {
					w.Header().Set(name, value)
				}
				w.WriteHeader(tt.status)
			}, func(t *testing.T, c *httpconn.Client, _ *requests) {
				begin := time.Now()
				got, _, err := read(t.Context(), c, httpconn.Target{URL: "http://origin.test/"}, 0, -1)
				took := time.Since(begin)
				if tt.max == 0 {
					ce, ok := errors.AsType[*connectors.Error](err)
					if !ok || ce.RetryAfter != time.Hour || ce.Status != tt.status || took != 0 {
						t.Errorf("after %v: %v", took, err)
					}
					return
				}
				if err != nil || string(got) != "now" {
					t.Errorf("%q, %v", got, err)
				}
				if took < tt.min || took > tt.max {
					t.Errorf("waited %v, want %v to %v", took, tt.min, tt.max)
				}
			})
		})
	}
}

// TestBackoff: pauses grow, and end after six attempts.
func TestBackoff(t *testing.T) {
	bubble(t, httpconn.Config{}, func(_ int, w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadGateway)
	}, func(t *testing.T, c *httpconn.Client, log *requests) {
		begin := time.Now()
		_, _, err := read(t.Context(), c, httpconn.Target{URL: "http://origin.test/"}, 0, -1)
		if !errors.Is(err, connectors.ErrUpstream) || !strings.Contains(err.Error(), "after 6 attempts") || log.count() != 6 {
			t.Errorf("%v after %d requests", err, log.count())
		}
		// 0.5 + 1 + 2 + 4 + 8 s, each plus or minus a half.
		if took := time.Since(begin); took < 7750*time.Millisecond || took > 23250*time.Millisecond {
			t.Errorf("took %v", took)
		}
	})
}

// TestStall: a body that falls silent is given up after 15 s and resumed.
func TestStall(t *testing.T) {
	b := content()
	bubble(t, httpconn.Config{}, func(n int, w http.ResponseWriter, r *http.Request) {
		if n > 0 {
			serveFrom(w, r, `"v1"`, b)
			return
		}
		w.Header().Set("ETag", `"v1"`)
		w.Header().Set("Content-Length", "300000")
		_, _ = w.Write(b[:100_000])
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}, func(t *testing.T, c *httpconn.Client, log *requests) {
		begin := time.Now()
		got, _, err := read(t.Context(), c, httpconn.Target{URL: "http://origin.test/"}, 0, -1)
		if err != nil || !bytes.Equal(got, b) {
			t.Errorf("read gives %d bytes, %v", len(got), err)
		}
		if took := time.Since(begin); took < 15*time.Second || took > 16*time.Second {
			t.Errorf("took %v", took)
		}
		if got := log.list()[1].Header.Get("Range"); got != "bytes=100000-299999" {
			t.Errorf("the second request asks for %q", got)
		}
	})
}

// TestDrip: an origin that sends a byte every few seconds, on however many
// connections, is given up; one that does so once is asked again.
func TestDrip(t *testing.T) {
	b := random(8, 12<<20)
	for _, parts := range []bool{true, false} {
		for _, always := range []bool{true, false} {
			bubble(t, httpconn.Config{}, func(n int, w http.ResponseWriter, r *http.Request) {
				if n > 0 && !always {
					serveFrom(w, r, `"v1"`, b)
					return
				}
				first, last := 0, len(b)
				w.Header().Set("ETag", `"v1"`)
				if asked := r.Header.Get("Range"); parts && asked != "" {
					if _, err := fmt.Sscanf(asked, "bytes=%d-%d", &first, &last); err == nil {
						last++
					}
					w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", first, last-1, len(b)))
					w.Header().Set("Content-Length", fmt.Sprint(last-first))
					w.WriteHeader(http.StatusPartialContent)
				} else {
					w.Header().Set("Content-Length", fmt.Sprint(len(b)))
				}
				for i := first; i < last; i++ {
					if _, err := w.Write(b[i : i+1]); err != nil {
						return
					}
					_ = http.NewResponseController(w).Flush()
					select {
					case <-r.Context().Done():
						return
					case <-time.After(3 * time.Second):
					}
				}
			}, func(t *testing.T, c *httpconn.Client, _ *requests) {
				begin := time.Now()
				got, _, err := read(t.Context(), c, httpconn.Target{URL: "http://origin.test/", Size: int64(len(b))}, 0, -1)
				took := time.Since(begin)
				switch {
				case always:
					if !errors.Is(err, connectors.ErrUpstream) || !strings.Contains(err.Error(), "less than 1024 bytes in 15s") || took > 5*time.Minute {
						t.Errorf("parts=%t: after %v: %v", parts, took, err)
					}
				case err != nil || !bytes.Equal(got, b) || took > time.Minute:
					t.Errorf("parts=%t: after %v: %d bytes, %v", parts, took, len(got), err)
				}
			})
		}
	}
}

// TestSlowHeader: an answer that does not begin is given up.
func TestSlowHeader(t *testing.T) {
	bubble(t, httpconn.Config{Retries: 1}, func(_ int, _ http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
	}, func(t *testing.T, c *httpconn.Client, log *requests) {
		begin := time.Now()
		_, _, err := read(t.Context(), c, httpconn.Target{URL: "http://origin.test/"}, 0, -1)
		if !errors.Is(err, connectors.ErrUpstream) || log.count() != 2 {
			t.Errorf("%v after %d requests", err, log.count())
		}
		if took := time.Since(begin); took < time.Minute || took > 62*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

// TestEndOfWait: what ends a stream also ends its wait for the next attempt, and
// a Read that waits for bytes.
func TestEndOfWait(t *testing.T) {
	b := content()
	reason := errors.New("reason")
	for _, stalls := range []bool{true, false} {
		for _, closes := range []bool{true, false} {
			bubble(t, httpconn.Config{Stall: time.Hour}, func(n int, w http.ResponseWriter, r *http.Request) {
				switch {
				case n > 0:
					w.Header().Set("Retry-After", "300")
					w.WriteHeader(http.StatusServiceUnavailable)
				case stalls:
					w.Header().Set("ETag", `"v1"`)
					_, _ = w.Write(b[:1000])
					_ = http.NewResponseController(w).Flush()
					<-r.Context().Done()
				default:
					breaking(w, `"v1"`, b, 1000)
				}
			}, func(t *testing.T, c *httpconn.Client, _ *requests) {
				ctx, cancel := context.WithCancelCause(t.Context())
				defer cancel(nil)
				body, err := c.Open(ctx, httpconn.Target{URL: "http://origin.test/", Size: -1, Operator: true}, 0, -1, nil)
				if err != nil {
					t.Fatal(err)
				}
				result := make(chan error)
				go func() {
					_, err := io.Copy(io.Discard, body)
					result <- err
				}()
				begin := time.Now()
				synctest.Wait()
				if !stalls {
					<-time.After(10 * time.Second) // into the wait that the origin has asked for
				}
				if closes {
					err = body.Close()
				} else {
					cancel(reason)
				}
				if err != nil {
					t.Error(err)
				}
				err = <-result
				if err == nil || !closes && !errors.Is(err, reason) {
					t.Errorf("stalls=%t closes=%t: error is %v", stalls, closes, err)
				}
				if took := time.Since(begin); took > 10*time.Second {
					t.Errorf("stalls=%t closes=%t: took %v", stalls, closes, took)
				}
				if err := body.Close(); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// TestConditional: what an earlier answer said makes the next request
// conditional, or needless.
func TestConditional(t *testing.T) {
	old := "Fri, 31 Dec 1999 00:00:00 GMT"
	tests := []struct {
		name    string
		fields  map[string]string
		sends   map[string]string // of the second request; nil: there is none
		expires bool              // two hours pass in between
		meta    bool
	}{
		{"tag", map[string]string{"ETag": `"v1"`}, map[string]string{"If-None-Match": `"v1"`}, false, true},
		{"weak tag", map[string]string{"ETag": `W/"v1"`}, map[string]string{"If-None-Match": `W/"v1"`}, false, true},
		{"date", map[string]string{"Last-Modified": old}, map[string]string{"If-Modified-Since": old}, false, true},
		{"both", map[string]string{"ETag": `"v1"`, "Last-Modified": old}, map[string]string{"If-None-Match": `"v1"`, "If-Modified-Since": ""}, false, true},
		{"immutable", map[string]string{"Cache-Control": "public, max-age=3600, immutable"}, nil, false, true},
		{"was immutable", map[string]string{"ETag": `"v1"`, "Cache-Control": "max-age=3600, immutable"}, map[string]string{"If-None-Match": `"v1"`}, true, true},
		{"no-cache wins", map[string]string{"ETag": `"v1"`, "Cache-Control": "max-age=3600, immutable, no-cache"}, map[string]string{"If-None-Match": `"v1"`}, false, true},
		{"neither", nil, map[string]string{"If-None-Match": "", "If-Modified-Since": ""}, false, false},
		{"malformed tag", map[string]string{"ETag": "v1\""}, map[string]string{"If-None-Match": ""}, false, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, httpconn.Config{}, func(n int, w http.ResponseWriter, _ *http.Request) {
				if n > 0 && tt.meta {
					w.WriteHeader(http.StatusNotModified)
					return
				}
				for name, value := range tt.fields {
					w.Header().Set(name, value)
				}
				_, _ = w.Write([]byte("x"))
			}, func(t *testing.T, c *httpconn.Client, log *requests) {
				target := httpconn.Target{URL: "http://origin.test/", Size: -1, Operator: true}
				_, first, err := read(t.Context(), c, target, 0, -1)
				if err != nil {
					t.Fatal(err)
				}
				if (first.Meta != nil) != tt.meta {
					t.Errorf("meta is %s", first.Meta)
				}
				if tt.expires {
					<-time.After(2 * time.Hour)
				}
				second, err := c.Open(t.Context(), target, 0, -1, first.Meta)
				if tt.meta != errors.Is(err, connectors.ErrNotModified) {
					t.Errorf("error is %v", err)
				}
				if err == nil {
					if err := second.Close(); err != nil {
						t.Error(err)
					}
				}
				asked := log.list()[1:]
				if tt.sends == nil != (len(asked) == 0) {
					t.Fatalf("%d more requests", len(asked))
				}
				for name, want := range tt.sends {
					if got := asked[0].Header.Get(name); got != want {
						t.Errorf("%s is %q, want %q", name, got, want)
					}
				}
			})
		})
	}
}

// TestOddCondition: a condition that this package did not write is none.
func TestOddCondition(t *testing.T) {
	base, log := serve(t, func(_ int, w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("x")) })
	c := newClient(t, httpconn.Config{})
	for _, cond := range []string{"", "x", "{}", "[]", `{"etag":"a\r\nb"}`, `{"etag":1}`, `{"modified":"yesterday"}`, `{"until":-5}`} {
		body, err := c.Open(t.Context(), httpconn.Target{URL: base, Size: -1, Operator: true}, 0, -1, []byte(cond))
		if err != nil {
			t.Fatalf("%q: %v", cond, err)
		}
		if err := body.Close(); err != nil {
			t.Error(err)
		}
	}
	for _, r := range log.list() {
		if h := r.Header; h.Get("If-None-Match") != "" || h.Get("If-Modified-Since") != "" {
			t.Errorf("a request was conditional: %v", h)
		}
	}
}
