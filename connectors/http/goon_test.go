package httpconn_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/hypha-node/hypha-node/connectors"
	httpconn "github.com/hypha-node/hypha-node/connectors/http"
)

// TestGoOn: behind the beginning, a condition pins the content: what follows is
// of the same version, or it is an ErrChanged.
func TestGoOn(t *testing.T) {
	b := content()
	changed := bytes.Clone(b)
	changed[len(b)-1] ^= 1
	const off = 100_000
	old := "Fri, 31 Dec 1999 00:00:00 GMT"
	tag := `{"etag":"\"v1\""}`
	plain := func(w http.ResponseWriter, r *http.Request) { serveFrom(w, r, `"v1"`, b) }
	careless := func(etag string, b []byte) func(http.ResponseWriter, *http.Request) {
		return func(w http.ResponseWriter, r *http.Request) {
			r = r.Clone(r.Context())
			r.Header.Del("If-Range")
			serveFrom(w, r, etag, b)
		}
	}
	dated := func(modified string) func(http.ResponseWriter, *http.Request) {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Last-Modified", modified)
			careless("", b)(w, r)
		}
	}
	whole := func(etag string) func(http.ResponseWriter, *http.Request) {
		return func(w http.ResponseWriter, _ *http.Request) {
			if etag != "" {
				w.Header().Set("ETag", etag)
			}
			w.Header().Set("Content-Length", fmt.Sprint(len(b)))
			_, _ = w.Write(b)
		}
	}
	tests := []struct {
		name    string
		cond    string
		digest  bool
		serve   func(w http.ResponseWriter, r *http.Request)
		ifRange string
		asked   int  // requests
		ok      bool // else it has changed
	}{
		{"no condition", "", false, plain, "", 1, true},
		{"same tag", tag, false, plain, `"v1"`, 1, true},
		{"same tag, called immutable", `{"etag":"\"v1\"","until":99999999999}`, false, plain, `"v1"`, 1, true},
		{"same tag, range ignored", tag, false, whole(`"v1"`), `"v1"`, 1, true},
		{"tag not repeated", tag, false, careless("", b), `"v1"`, 1, true},
		{"another tag", tag, false, func(w http.ResponseWriter, r *http.Request) { serveFrom(w, r, `"v2"`, changed) }, `"v1"`, 1, false},
		{"another tag on a part", tag, false, careless(`"v2"`, changed), `"v1"`, 1, false},
		{"tag became weak", tag, false, careless(`W/"v1"`, b), `"v1"`, 1, false},
		{"no tag on the whole", tag, false, whole(""), `"v1"`, 1, false},
		{"shorter by now", tag, false, careless(`"v2"`, b[:off-1]), `"v1"`, 1, false},
		{"same date", `{"modified":"` + old + `","dated":true}`, false, dated(old), old, 1, true},
		{"another date on a part", `{"modified":"` + old + `","dated":true}`, false, dated("Sat, 01 Jan 2000 00:00:00 GMT"), old, 1, false},
		{"weak date", `{"modified":"` + old + `"}`, false, dated(old), "", 0, false},
		{"weak tag", `{"etag":"W/\"v1\""}`, false, plain, "", 0, false},
		{"garbage", `x`, false, plain, "", 0, false},
		{"another tag and a digest", tag, true, careless(`"v2"`, b), "", 1, true},
		{"weak tag and a digest", `{"etag":"W/\"v1\""}`, true, plain, "", 1, true},
		{"garbage and a digest", `x`, true, plain, "", 1, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			base, log := serve(t, func(_ int, w http.ResponseWriter, r *http.Request) { tt.serve(w, r) })
			target := httpconn.Target{URL: base + "/x", Size: -1, Digest: tt.digest, Operator: true}
			body, err := newClient(t, httpconn.Config{}).Open(t.Context(), target, off, -1, []byte(tt.cond))
			if log.count() != tt.asked {
				t.Errorf("%d requests, want %d", log.count(), tt.asked)
			}
			for _, r := range log.list() {
				if got := r.Header.Get("If-Range"); got != tt.ifRange {
					t.Errorf("If-Range is %q, want %q", got, tt.ifRange)
				}
			}
			if !tt.ok {
				if !errors.Is(err, connectors.ErrChanged) || !errors.Is(err, connectors.ErrUpstream) {
					t.Fatalf("error is %v, want %v", err, connectors.ErrChanged)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(body)
			if err := errors.Join(err, body.Close()); err != nil || !bytes.Equal(got, b[off:]) {
				t.Errorf("read gives %d bytes, %v", len(got), err)
			}
		})
	}
}

// TestGoOnMeta: the Meta of a body is a condition to go on with; of a date, only
// if the second that it names was over.
func TestGoOnMeta(t *testing.T) {
	b := content()
	at := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, age := range []time.Duration{0, time.Second} {
		base, _ := serve(t, func(_ int, w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Date", at.Add(age).Format(http.TimeFormat))
			http.ServeContent(w, r, "", at, bytes.NewReader(b))
		})
		c := newClient(t, httpconn.Config{})
		target := httpconn.Target{URL: base + "/x", Size: -1, Operator: true}
		_, first, err := read(t.Context(), c, target, 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		body, err := c.Open(t.Context(), target, 1000, 50, first.Meta)
		if age == 0 {
			if !errors.Is(err, connectors.ErrChanged) {
				t.Errorf("error is %v, want %v", err, connectors.ErrChanged)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(body)
		if err := errors.Join(err, body.Close()); err != nil || !bytes.Equal(got, b[1000:1050]) {
			t.Errorf("read gives %d bytes, %v", len(got), err)
		}
		if !bytes.Equal(body.Meta, first.Meta) {
			t.Errorf("meta is %s, was %s", body.Meta, first.Meta)
		}
	}
}
