package httpconn

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// contentRange is a parsed Content-Range.
type contentRange struct {
	start, end int64 // bytes, end exclusive
	total      int64 // bytes; -1 if not told
}

// parseContentRange parses "bytes 0-99/1000" or "bytes 0-99/*". Anything else,
// also another unit and a range beyond its total, is refused.
func parseContentRange(field string) (contentRange, bool) {
	rest, ok := strings.CutPrefix(field, "bytes ")
	if !ok {
		return contentRange{}, false
	}
	span, size, ok := strings.Cut(rest, "/")
	if !ok {
		return contentRange{}, false
	}
	first, last, ok := strings.Cut(span, "-")
	if !ok {
		return contentRange{}, false
	}
	start, ok1 := parseSize(first)
	end, ok2 := parseSize(last)
	r := contentRange{start: start, end: end + 1, total: -1}
	if !ok1 || !ok2 || r.start >= r.end {
		return contentRange{}, false
	}
	if size != "*" {
		if r.total, ok = parseSize(size); !ok || r.total < r.end {
			return contentRange{}, false
		}
	}
	return r, true
}

// unsatisfied returns the total of "bytes */1000", the Content-Range of a 416.
func unsatisfied(field string) (int64, bool) {
	text, ok := strings.CutPrefix(field, "bytes */")
	if !ok {
		return 0, false
	}
	return parseSize(text)
}

// parseSize parses a plain decimal number below 1 EiB, where sums do not overflow.
func parseSize(s string) (int64, bool) {
	if s == "" || s[0] < '0' || s[0] > '9' {
		return 0, false
	}
	n, err := strconv.ParseUint(s, 10, 60)
	return int64(n), err == nil
}

// validator is what a resource was when it was read: the Meta of an alias.
type validator struct {
	ETag     string `json:"etag,omitempty"`     // as sent, weak or strong
	Modified string `json:"modified,omitempty"` // Last-Modified, as sent
	Until    int64  `json:"until,omitempty"`    // Unix seconds up to which the origin calls it immutable
	Dated    bool   `json:"dated,omitempty"`    // Modified is a strong validator
}

// strong returns what may be sent as If-Range; "" if nothing.
func (v validator) strong() string {
	switch {
	case strings.HasPrefix(v.ETag, `"`):
		return v.ETag
	case v.ETag == "" && v.Dated:
		return v.Modified
	}
	return ""
}

// validatorOf reads the validators of an answer.
func validatorOf(h http.Header, now time.Time) validator {
	v := validator{ETag: h.Get("ETag"), Modified: h.Get("Last-Modified")}
	if len(v.ETag) > 1024 || !isETag(v.ETag) {
		v.ETag = ""
	}
	modified, err := http.ParseTime(v.Modified)
	if err != nil {
		v.Modified = ""
	}
	if v.Modified != "" {
		// A date is a strong validator when the second it names was over as
		// the answer was made: RFC 9110, section 8.8.2.2.
		date, err := http.ParseTime(h.Get("Date"))
		v.Dated = err == nil && date.Sub(modified) >= time.Second
	}
	if age, ok := immutableFor(h.Get("Cache-Control")); ok {
		v.Until = now.Add(age).Unix()
	}
	return v
}

// isETag tells whether s is an entity tag: W/ and quotes around printable ASCII,
// which JSON keeps as it is.
func isETag(s string) bool {
	s, ok := strings.CutPrefix(strings.TrimPrefix(s, "W/"), `"`)
	if !ok || !strings.HasSuffix(s, `"`) {
		return false
	}
	for _, c := range []byte(s[:len(s)-1]) {
		if c <= ' ' || c == '"' || c >= 0x7f {
			return false
		}
	}
	return true
}

// immutableFor returns how long an answer will not change, by the directives
// immutable (RFC 8246) and max-age.
func immutableFor(field string) (time.Duration, bool) {
	var age time.Duration
	var immutable bool
	for d := range strings.SplitSeq(strings.ToLower(field), ",") {
		switch key, value, _ := strings.Cut(strings.TrimSpace(d), "="); key {
		case "immutable":
			immutable = true
		case "no-store", "no-cache":
			return 0, false
		case "max-age":
			if n, err := strconv.ParseUint(value, 10, 31); err == nil {
				age = time.Duration(n) * time.Second
			}
		}
	}
	return age, immutable && age > 0
}

// meta returns the validator as JSON, nil when it can validate nothing.
func (v validator) meta() []byte {
	if v.ETag == "" && v.Modified == "" && v.Until == 0 {
		return nil
	}
	b, err := json.Marshal(v)
	if err != nil {
		return nil
	}
	return b
}

// parseMeta reads what meta wrote; anything else is the zero validator.
func parseMeta(b []byte) validator {
	var v validator
	if len(b) == 0 || json.Unmarshal(b, &v) != nil {
		return validator{}
	}
	if v.ETag != "" && !isETag(v.ETag) {
		v.ETag = ""
	}
	if _, err := http.ParseTime(v.Modified); err != nil {
		v.Modified, v.Dated = "", false
	}
	return v
}

// condition sets the field that makes a request conditional, if there is one.
func (v validator) condition(h http.Header) bool {
	switch {
	case v.ETag != "":
		h.Set("If-None-Match", v.ETag)
	case v.Modified != "":
		h.Set("If-Modified-Since", v.Modified)
	default:
		return false
	}
	return true
}

// digestOf returns the sha256 of the whole content as the origin tells it, nil
// if it does not: Repr-Digest (RFC 9530), Digest (RFC 3230), S3's checksum
// when it is one of the whole object (a part is answered with the part's), Artifactory's.
func digestOf(h http.Header) *[sha256.Size]byte {
	for member := range strings.SplitSeq(h.Get("Repr-Digest"), ",") {
		key, value, _ := strings.Cut(strings.TrimSpace(member), "=")
		value, _, _ = strings.Cut(value, ";")
		if inner, ok := strings.CutPrefix(value, ":"); ok && key == "sha-256" && strings.HasSuffix(inner, ":") {
			return decodeDigest(base64.StdEncoding.DecodeString, strings.TrimSuffix(inner, ":"))
		}
	}
	for member := range strings.SplitSeq(h.Get("Digest"), ",") {
		if key, value, _ := strings.Cut(strings.TrimSpace(member), "="); strings.EqualFold(key, "sha-256") {
			return decodeDigest(base64.StdEncoding.DecodeString, value)
		}
	}
	composite := strings.EqualFold(h.Get("X-Amz-Checksum-Type"), "COMPOSITE")
	if sum := h.Get("X-Amz-Checksum-Sha256"); sum != "" && h.Get("Content-Range") == "" && !composite {
		return decodeDigest(base64.StdEncoding.DecodeString, sum)
	}
	return decodeDigest(hex.DecodeString, h.Get("X-Checksum-Sha256"))
}

// decodeDigest returns a digest of exactly 32 bytes, else nil: S3 appends -N to
// a checksum of checksums, which decodes to nothing.
func decodeDigest(decode func(string) ([]byte, error), text string) *[sha256.Size]byte {
	b, err := decode(text)
	if err != nil || len(b) != sha256.Size {
		return nil
	}
	return (*[sha256.Size]byte)(b)
}
