package httpconn_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hypha-node/hypha-node/connectors"
	httpconn "github.com/hypha-node/hypha-node/connectors/http"
)

// TestHostileAnswers: origins whose answers can't be right. None of them gives
// bytes that were not asked for.
func TestHostileAnswers(t *testing.T) {
	const off, n = 10, 20
	text := strings.Repeat("0123456789", 10)
	part := text[off : off+n]
	tests := []struct {
		name   string
		answer string
		whole  bool   // the whole content is asked for, not the range off, n
		want   string // the content that is to arrive; "" when it is refused
		says   string // part of the error
	}{
		{name: "range from elsewhere", answer: answer("206 X", part, "Content-Length: 20", "Content-Range: bytes 11-30/100"), says: "instead of bytes=10-29"},
		{name: "range from before", answer: answer("206 X", text[5:25], "Content-Length: 20", "Content-Range: bytes 5-24/100"), says: "instead of bytes=10-29"},
		{name: "range too long", answer: answer("206 X", text[10:40], "Content-Length: 30", "Content-Range: bytes 10-39/100"), says: "instead of bytes=10-29"},
		{name: "range without a Content-Range", answer: answer("206 X", part, "Content-Length: 20"), says: "sound Content-Range"},
		{name: "range backwards", answer: answer("206 X", part, "Content-Length: 20", "Content-Range: bytes 29-10/100"), says: "sound Content-Range"},
		{name: "range behind its total", answer: answer("206 X", part, "Content-Length: 20", "Content-Range: bytes 10-29/20"), says: "sound Content-Range"},
		{name: "range in another unit", answer: answer("206 X", part, "Content-Length: 20", "Content-Range: items 10-29/100"), says: "sound Content-Range"},
		{name: "range that overflows", answer: answer("206 X", part, "Content-Length: 20", "Content-Range: bytes 10-99999999999999999999/*"), says: "sound Content-Range"},
		{name: "length and range differ", answer: answer("206 X", part, "Content-Length: 19", "Content-Range: bytes 10-29/100"), says: "length of a part"},
		{name: "several ranges", answer: answer("206 X", part, "Content-Length: 20", "Content-Type: multipart/byteranges; boundary=x"), says: "sound Content-Range"},
		{name: "part for the whole", whole: true, answer: answer("206 X", part, "Content-Length: 20", "Content-Range: bytes 0-19/100"), says: "whole was asked for"},
		{name: "part of unknown total", answer: answer("206 X", part, "Content-Length: 20", "Content-Range: bytes 10-29/*"), want: part},
		{name: "part without a length", answer: answer("206 X", part+"more", "Connection: close", "Content-Range: bytes 10-29/100"), want: part},
		{name: "whole for the range", answer: answer("200 OK", text, "Content-Length: 100"), want: part},
		{name: "whole for the range, too short", answer: answer("200 OK", "012", "Content-Length: 3"), says: "beyond the end"},
		{name: "whole for the range, too short, chunked", answer: answer("200 OK", "3\r\n012\r\n0\r\n\r\n", "Transfer-Encoding: chunked"), says: "ends before offset"},
		{name: "whole for the range, chunked", answer: answer("200 OK", "64\r\n"+text+"\r\n0\r\n\r\n", "Transfer-Encoding: chunked"), want: part},
		{name: "gzip", whole: true, answer: answer("200 OK", "\x1f\x8b123", "Content-Length: 5", "Content-Encoding: gzip"), says: "encoded"},
		{name: "gzip in a part", answer: answer("206 X", part, "Content-Length: 20", "Content-Range: bytes 10-29/100", "Content-Encoding: gzip"), says: "encoded"},
		{name: "two encodings", whole: true, answer: answer("200 OK", "12345", "Content-Length: 5", "Content-Encoding: identity, br"), says: "encoded"},
		{name: "identity is no encoding", whole: true, answer: answer("200 OK", text, "Content-Length: 100", "Content-Encoding: identity"), want: text},
		{name: "not modified", whole: true, answer: answer("304 X", ""), says: "not modified"},
		{name: "no content", whole: true, answer: answer("204 X", ""), says: "no content"},
		{name: "range refused", answer: answer("416 X", "", "Content-Length: 0"), says: "range was refused"},
		{name: "range refused inside", answer: answer("416 X", "", "Content-Length: 0", "Content-Range: bytes */100"), says: "inside the content"},
		{name: "range behind the end", answer: answer("416 X", "", "Content-Length: 0", "Content-Range: bytes */5"), says: "beyond the end"},
		{name: "redirect to nowhere", answer: answer("302 X", "", "Content-Length: 0"), says: "without a location"},
		{name: "redirect to a file", answer: answer("302 X", "", "Content-Length: 0", "Location: file:///etc/passwd"), says: "redirect to file:"},
		{name: "redirect to no host", answer: answer("302 X", "", "Content-Length: 0", "Location: http:///x"), says: "redirect to http:"},
		{name: "redirect to gopher", answer: answer("302 X", "", "Content-Length: 0", "Location: gopher://127.0.0.1/x"), says: "redirect to gopher:"},
		{name: "redirect to garbage", answer: answer("302 X", "", "Content-Length: 0", "Location: http://[::1"), says: "no URL"},
		{name: "not HTTP", answer: "SSH-2.0-OpenSSH_9\r\n", says: "after 2 attempts"},
		{name: "nothing at all", answer: "", says: "after 2 attempts"},
		{name: "two lengths", answer: answer("200 OK", text, "Content-Length: 100", "Content-Length: 50"), says: "after 2 attempts"},
		{name: "length of nonsense", answer: answer("200 OK", text, "Content-Length: -1"), says: "after 2 attempts"},
		{name: "huge headers", answer: answer("200 OK", text, "Content-Length: 100", "X: "+strings.Repeat("x", 300<<10)), says: "after 2 attempts"},
		{name: "error", answer: answer("500 X", "oops", "Content-Length: 4"), says: "after 2 attempts"},
		{name: "not implemented", answer: answer("501 X", "oops", "Content-Length: 4"), says: "not implemented"},
		{name: "odd status", answer: answer("799 X", "", "Content-Length: 0"), says: "status 799"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			base, _ := raw(t, func(_ int, _ *http.Request, w io.Writer) { _, _ = io.WriteString(w, tt.answer) })
			c := newClient(t, httpconn.Config{Retries: 1})
			from, count := int64(off), int64(n)
			if tt.whole {
				from, count = 0, -1
			}
			got, _, err := read(t.Context(), c, httpconn.Target{URL: base + "/x"}, from, count)
			if tt.want != "" {
				if err != nil || string(got) != tt.want {
					t.Errorf("read gives %q, %v, want %q", got, err, tt.want)
				}
				return
			}
			if err == nil || len(got) > 0 {
				t.Fatalf("read gives %q, %v, want an error", got, err)
			}
			if _, ok := errors.AsType[*connectors.Error](err); !ok || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error is %v, want one that says %q", err, tt.says)
			}
		})
	}
}

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
