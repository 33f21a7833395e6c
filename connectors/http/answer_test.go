package httpconn

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestParseContentRange(t *testing.T) {
	tests := []struct {
		field string
		want  contentRange
		ok    bool
	}{
		{"bytes 0-0/1", contentRange{0, 1, 1}, true},
		{"bytes 10-29/100", contentRange{10, 30, 100}, true},
		{"bytes 10-29/*", contentRange{10, 30, -1}, true},
		{"bytes 10-29/30", contentRange{10, 30, 30}, true},
		{"bytes 10-29/29", contentRange{}, false},
		{"bytes 30-29/100", contentRange{}, false},
		{"bytes */100", contentRange{}, false},
		{"bytes -5/100", contentRange{}, false},
		{"bytes 5-/100", contentRange{}, false},
		{"bytes +1-2/100", contentRange{}, false},
		{"bytes 1-2/-1", contentRange{}, false},
		{"bytes 1-2", contentRange{}, false},
		{"bytes=1-2/3", contentRange{}, false},
		{"Bytes 1-2/3", contentRange{}, false},
		{"bytes  1-2/3", contentRange{}, false},
		{"bytes 0x1-2/3", contentRange{}, false},
		{"bytes 1-9223372036854775807/*", contentRange{}, false},
		{"", contentRange{}, false},
	}
	for _, tt := range tests {
		got, ok := parseContentRange(tt.field)
		if got != tt.want || ok != tt.ok {
			t.Errorf("%q gives %+v, %t, want %+v, %t", tt.field, got, ok, tt.want, tt.ok)
		}
	}
}

func TestDigestOf(t *testing.T) {
	sum := sha256.Sum256([]byte("x"))
	b64, text := base64.StdEncoding.EncodeToString(sum[:]), hex.EncodeToString(sum[:])
	tests := []struct {
		name, value string
		found       bool
	}{
		{"Repr-Digest", "sha-256=:" + b64 + ":", true},
		{"Repr-Digest", "sha-512=:AAAA:, sha-256=:" + b64 + ":;q=1", true},
		{"Repr-Digest", "sha-256=" + b64, false},
		{"Repr-Digest", "sha-256=:" + b64[:20] + ":", false},
		{"Repr-Digest", "sha-256=:!:", false},
		{"Repr-Digest", "sha-512=:" + b64 + ":", false},
		{"Content-Digest", "sha-256=:" + b64 + ":", false}, // of this message only
		{"Digest", "SHA-256=" + b64, true},
		{"Digest", "md5=x,sha-256=" + b64, true},
		{"Digest", "sha-256=" + text, false},
		{"X-Amz-Checksum-Sha256", b64, true},
		{"X-Amz-Checksum-Sha256", b64 + "-3", false}, // of the checksums of the parts
		{"X-Checksum-Sha256", text, true},
		{"X-Checksum-Sha256", text[:62], false},
		{"X-Checksum-Sha256", strings.Repeat("*", 64), false},
	}
	for _, tt := range tests {
		got := digestOf(http.Header{tt.name: {tt.value}})
		if tt.found != (got != nil) || got != nil && *got != sum {
			t.Errorf("%s: %s gives %x", tt.name, tt.value, got)
		}
	}
	part := http.Header{"X-Amz-Checksum-Sha256": {b64}, "Content-Range": {"bytes 0-0/1"}}
	if digestOf(part) != nil {
		t.Error("the checksum of a part is taken for that of the content")
	}
	if digestOf(http.Header{}) != nil {
		t.Error("no field gives a digest")
	}
}

func TestRateLimit(t *testing.T) {
	tests := []struct {
		field string
		left  uint64
		reset time.Duration
		ok    bool
	}{
		{`"api";r=0;t=12`, 0, 12 * time.Second, true},
		{`"api"; r=499; t=300`, 499, 300 * time.Second, true},
		{`"pages";r=9;t=1, "api";r=3;t=2`, 3, 2 * time.Second, true},
		{`"api";r=0`, 0, 0, false},
		{`"api";t=5`, 0, 0, false},
		{`"api";r=-1;t=5`, 0, 0, false},
		{`r=0;t=99999999999999`, 0, 0, false},
		{``, 0, 0, false},
		{`;;;=,=`, 0, 0, false},
	}
	for _, tt := range tests {
		left, reset, ok := rateLimit(tt.field)
		if left != tt.left || reset != tt.reset || ok != tt.ok {
			t.Errorf("%q gives %d, %v, %t", tt.field, left, reset, ok)
		}
	}
}

func TestPasses(t *testing.T) {
	for status, want := range map[int]bool{
		408: true, 425: true, 429: true, 500: true, 502: true, 503: true, 504: true, 507: true, 520: true,
		400: false, 401: false, 403: false, 404: false, 409: false, 416: false, 418: false, 501: false, 505: false, 508: false, 200: false,
	} {
		if passes(status) != want {
			t.Errorf("%d passes: %t", status, !want)
		}
	}
}

// FuzzAnswer gives the parsers of header fields anything. They must not panic,
// and what they accept must make sense.
func FuzzAnswer(f *testing.F) {
	for _, seed := range []string{
		"bytes 10-29/100", "bytes */5", `"api";r=0;t=12`, "sha-256=:AAAA:", `W/"x"`, "\"\xc8\"", "max-age=5, immutable", "120",
		"Fri, 31 Dec 1999 00:00:00 GMT", `{"etag":"\"v\"","modified":"x","until":5}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if r, ok := parseContentRange(s); ok && (r.start < 0 || r.end <= r.start || r.total >= 0 && r.total < r.end) {
			t.Errorf("%q gives %+v", s, r)
		}
		if n, ok := unsatisfied(s); ok && n < 0 {
			t.Errorf("%q gives %d", s, n)
		}
		now := time.Unix(1e9, 0)
		for _, name := range []string{"Retry-After", "Ratelimit"} {
			if wait := retryAfter(http.Header{name: {s}}, now); wait < 0 {
				t.Errorf("%s: %q gives %v", name, s, wait)
			}
		}
		for _, name := range []string{"Repr-Digest", "Digest", "X-Amz-Checksum-Sha256", "X-Checksum-Sha256"} {
			digestOf(http.Header{name: {s}})
		}
		for _, name := range []string{"Etag", "Last-Modified", "Cache-Control", "Date"} {
			v := validatorOf(http.Header{name: {s}}, now)
			checkValidator(t, v)
			if again := parseMeta(v.meta()); again.ETag != v.ETag || again.Modified != v.Modified || again.Until != v.Until {
				t.Errorf("%s: %q is %+v, then %+v", name, s, v, again)
			}
		}
		checkValidator(t, parseMeta([]byte(s)))
	})
}

// checkValidator fails when a validator can't be sent in a header.
func checkValidator(t *testing.T, v validator) {
	t.Helper()
	if strings.ContainsAny(v.ETag+v.Modified, "\r\n\x00") || strings.HasPrefix(v.strong(), "W/") {
		t.Errorf("validator is %+v", v)
	}
}
