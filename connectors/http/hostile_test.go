package httpconn_test

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	httpconn "github.com/hypha-node/hypha-node/connectors/http"
)

// content is what the origins of the next tests have.
func content() []byte { return random(7, 300_000) }

// serveFrom answers a request for a range of b, with an ETag.
func serveFrom(w http.ResponseWriter, r *http.Request, etag string, b []byte) {
	if etag != "" {
		w.Header().Set("ETag", etag)
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(b))
}

// breaking answers with b, but breaks after n bytes of the body.
func breaking(w http.ResponseWriter, etag string, b []byte, n int) {
	if etag != "" {
		w.Header().Set("ETag", etag)
	}
	w.Header().Set("Content-Length", fmt.Sprint(len(b)))
	_, _ = w.Write(b[:n])
	cut(w)
}

// TestBrokenBody: a body that breaks is resumed when it is certain, or will be
// checked, that the rest belongs to it; never otherwise.
func TestBrokenBody(t *testing.T) {
	b := content()
	changed := bytes.Clone(b)
	changed[len(b)-1] ^= 1
	old := time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat)
	const at = 100_000
	tests := []struct {
		name    string
		first   func(w http.ResponseWriter) // the answer that breaks
		then    func(w http.ResponseWriter, r *http.Request)
		digest  bool   // the reader will check a digest
		ifRange string // what the second request must carry; "-" when there must be none
		says    string // part of the error; "" when the content arrives
	}{
		{
			name: "strong tag", ifRange: `"v1"`,
			first: func(w http.ResponseWriter) { breaking(w, `"v1"`, b, at) },
			then:  func(w http.ResponseWriter, r *http.Request) { serveFrom(w, r, `"v1"`, b) },
		},
		{
			name: "strong tag, range ignored", ifRange: `"v1"`,
			first: func(w http.ResponseWriter) { breaking(w, `"v1"`, b, at) },
			then: func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("ETag", `"v1"`)
				_, _ = w.Write(b)
			},
		},
		{
			name: "changed", ifRange: `"v1"`, says: "has changed",
			first: func(w http.ResponseWriter) { breaking(w, `"v1"`, b, at) },
			then:  func(w http.ResponseWriter, r *http.Request) { serveFrom(w, r, `"v2"`, changed) },
		},
		{
			name: "changed, with the range of the new one", ifRange: `"v1"`, says: "has changed",
			first: func(w http.ResponseWriter) { breaking(w, `"v1"`, b, at) },
			then: func(w http.ResponseWriter, r *http.Request) {
				r.Header.Del("If-Range")
				serveFrom(w, r, `"v2"`, changed)
			},
		},
		{
			name: "another length", ifRange: `"v1"`, says: "bytes instead of",
			first: func(w http.ResponseWriter) { breaking(w, `"v1"`, b, at) },
			then:  func(w http.ResponseWriter, r *http.Request) { serveFrom(w, r, `"v1"`, b[:len(b)-1]) },
		},
		{
			name: "tag is gone, range kept", ifRange: `"v1"`,
			first: func(w http.ResponseWriter) { breaking(w, `"v1"`, b, at) },
			then: func(w http.ResponseWriter, r *http.Request) {
				r.Header.Del("If-Range")
				serveFrom(w, r, "", b)
			},
		},
		{
			name: "tag is gone, whole", ifRange: `"v1"`, says: "has changed",
			first: func(w http.ResponseWriter) { breaking(w, `"v1"`, b, at) },
			then:  func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(b) },
		},
		{
			name: "weak tag", says: "no strong validator",
			first: func(w http.ResponseWriter) { breaking(w, `W/"v1"`, b, at) },
		},
		{
			name: "malformed tag", says: "no strong validator",
			first: func(w http.ResponseWriter) { breaking(w, `v1`, b, at) },
		},
		{
			name: "no validator", says: "no strong validator",
			first: func(w http.ResponseWriter) { breaking(w, "", b, at) },
		},
		{
			name: "weak tag and a digest", digest: true, ifRange: "-",
			first: func(w http.ResponseWriter) { breaking(w, `W/"v1"`, b, at) },
			then:  func(w http.ResponseWriter, r *http.Request) { serveFrom(w, r, "", b) },
		},
		{
			name: "no validator and a digest, range ignored", digest: true, ifRange: "-",
			first: func(w http.ResponseWriter) { breaking(w, "", b, at) },
			then:  func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(b) },
		},
		{
			name: "old date", ifRange: old,
			first: func(w http.ResponseWriter) {
				w.Header().Set("Last-Modified", old)
				breaking(w, "", b, at)
			},
			then: func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Last-Modified", old)
				r.Header.Del("If-Range")
				serveFrom(w, r, "", b)
			},
		},
		{
			name: "date of this second", says: "no strong validator",
			first: func(w http.ResponseWriter) {
				now := time.Now().UTC().Format(http.TimeFormat)
				w.Header().Set("Last-Modified", now)
				w.Header().Set("Date", now)
				breaking(w, "", b, at)
			},
		},
		{
			name: "before the first byte", ifRange: "-",
			first: func(w http.ResponseWriter) { breaking(w, "", b, 0) },
			then:  func(w http.ResponseWriter, r *http.Request) { serveFrom(w, r, "", b) },
		},
		{
			name: "before the first byte, range ignored", ifRange: "-",
			first: func(w http.ResponseWriter) { breaking(w, "", b, 0) },
			then:  func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(b) },
		},
		{
			name: "before the first byte, then changed", ifRange: "-", says: "has changed",
			first: func(w http.ResponseWriter) { breaking(w, `W/"v1"`, b, 0) },
			then:  func(w http.ResponseWriter, r *http.Request) { serveFrom(w, r, `W/"v2"`, changed) },
		},
		{
			name: "gone", ifRange: `"v1"`, says: "not found",
			first: func(w http.ResponseWriter) { breaking(w, `"v1"`, b, at) },
			then:  func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) },
		},
		{
			name: "range refused", ifRange: `"v1"`, says: "range was refused",
			first: func(w http.ResponseWriter) { breaking(w, `"v1"`, b, at) },
			then:  func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusRequestedRangeNotSatisfiable) },
		},
		{
			name: "chunks end early", ifRange: `"v1"`,
			first: func(w http.ResponseWriter) {
				w.Header().Set("ETag", `"v1"`)
				_, _ = w.Write(b[:at])
				cut(w)
			},
			then: func(w http.ResponseWriter, r *http.Request) { serveFrom(w, r, `"v1"`, b) },
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			base, log := serve(t, func(n int, w http.ResponseWriter, r *http.Request) {
				if n == 0 {
					tt.first(w)
					return
				}
				if tt.then != nil {
					tt.then(w, r.Clone(r.Context()))
				}
			})
			c := newClient(t, httpconn.Config{})
			got, _, err := read(t.Context(), c, httpconn.Target{URL: base + "/x", Digest: tt.digest}, 0, -1)
			if tt.says == "" && (err != nil || !bytes.Equal(got, b)) {
				t.Errorf("read gives %d bytes, %v", len(got), err)
			}
			if tt.says != "" && (err == nil || !strings.Contains(err.Error(), tt.says)) {
				t.Errorf("error is %v, want one that says %q", err, tt.says)
			}
			if !bytes.HasPrefix(b, got) {
				t.Error("what was read is not the beginning of the content")
			}
			asked := log.list()
			if want := 1; tt.then == nil && len(asked) != want {
				t.Fatalf("%d requests, want %d", len(asked), want)
			}
			if tt.then == nil {
				return
			}
			if len(asked) != 2 {
				t.Fatalf("%d requests, want 2", len(asked))
			}
			if got, want := asked[1].Header.Get("If-Range"), strings.TrimPrefix(tt.ifRange, "-"); got != want {
				t.Errorf("If-Range is %q, want %q", got, want)
			}
		})
	}
}
