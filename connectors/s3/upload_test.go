package s3

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/hypha-node/hypha-node/connectors"
)

// change stores objects, at once or in parts.
func (b *bucket) change(w http.ResponseWriter, r *http.Request, body []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	key, err := url.PathUnescape(strings.TrimPrefix(r.URL.EscapedPath(), "/bkt/"))
	if err != nil {
		refuse(w, http.StatusBadRequest, "InvalidURI", "")
		return
	}
	sum := sha256.Sum256(body)
	w.Header().Set("X-Amz-Checksum-Sha256", base64.StdEncoding.EncodeToString(sum[:]))
	w.Header().Set("ETag", tag(body))
	query := r.URL.Query()
	switch number, _ := strconv.Atoi(query.Get("partNumber")); {
	case r.Method == http.MethodPut && number > 0:
		b.parts[number] = body
	case r.Method == http.MethodPut:
		b.objects[key] = body
	case r.Method == http.MethodDelete:
		b.parts = nil
		w.WriteHeader(http.StatusNoContent)
	case query.Has("uploads"):
		b.parts = map[int][]byte{}
		_, _ = io.WriteString(w, "<InitiateMultipartUploadResult><UploadId>a/b+c</UploadId></InitiateMultipartUploadResult>")
	default:
		b.complete(w, key, body)
	}
}

// complete puts the parts of an upload together.
func (b *bucket) complete(w http.ResponseWriter, key string, body []byte) {
	var list completion
	if err := xml.Unmarshal(body, &list); err != nil || len(list.Parts) != len(b.parts) {
		refuse(w, http.StatusBadRequest, "InvalidPart", "")
		return
	}
	whole, sums := []byte{}, sha256.New()
	for i, p := range list.Parts {
		content := b.parts[i+1]
		sum := sha256.Sum256(content)
		if p.Number != i+1 || p.ETag != tag(content) || p.SHA256 != base64.StdEncoding.EncodeToString(sum[:]) {
			refuse(w, http.StatusBadRequest, "InvalidPart", "")
			return
		}
		whole = append(whole, content...)
		sums.Write(sum[:])
	}
	b.objects[key], b.parts = whole, nil
	_, _ = fmt.Fprintf(w, "<CompleteMultipartUploadResult><ETag>%s</ETag><ChecksumSHA256>%s-%d</ChecksumSHA256></CompleteMultipartUploadResult>",
		"&quot;all-"+strconv.Itoa(len(list.Parts))+"&quot;", base64.StdEncoding.EncodeToString(sums.Sum(nil)), len(list.Parts))
}

// TestPut stores contents at once and in parts.
func TestPut(t *testing.T) {
	for _, tc := range []struct {
		size, requests int
	}{
		{0, 1},
		{1, 1},
		{1000, 1},
		{1001, 4},
		{4096, 7},
	} {
		b := open(t, &bucket{objects: map[string][]byte{}})
		c := connect(t, b, func(e *Endpoint) { e.Region = "elsewhere-1" })
		c.part = 1000
		content := random(7, tc.size)
		ref := parse(t, `"s3://lab@bkt/a b/ü+%.bin"`)
		var sent atomic.Int64 // the first request is sent again
		got, err := c.Put(t.Context(), ref, bytes.NewReader(content), int64(tc.size), func(n int64) { sent.Add(n) })
		if err != nil {
			t.Fatalf("%d bytes: %v", tc.size, err)
		}
		if got.Size != int64(tc.size) || got.SHA256 != sha256.Sum256(content) || got.ETag == "" || strings.Contains(got.ETag, `"`) {
			t.Errorf("%d bytes: %+v", tc.size, got)
		}
		if sent.Load() != int64(tc.size) {
			t.Errorf("%d bytes: %d are told to be sent", tc.size, sent.Load())
		}
		if stored, ok := b.objects["a b/ü+%.bin"]; !ok || !bytes.Equal(stored, content) {
			t.Errorf("%d bytes: %d bytes are stored", tc.size, len(stored))
		}
		// The first request names the region.
		if asked := b.asked(); len(asked) != tc.requests+1 {
			t.Errorf("%d bytes: asked %q", tc.size, asked)
		}
	}
}

// changing is a content that is another one the second time that it is read.
type changing struct{ reads atomic.Int64 }

func (c *changing) ReadAt(p []byte, _ int64) (int, error) {
	n := c.reads.Add(1)
	for i := range p {
		p[i] = byte(n)
	}
	return len(p), nil
}

// TestPutChanging: a file that changes while it is uploaded is refused, and
// leaves neither an object nor parts.
func TestPutChanging(t *testing.T) {
	for _, size := range []int64{1000, 2500} {
		b := open(t, &bucket{objects: map[string][]byte{}})
		c := connect(t, b, nil)
		c.part = 1000
		_, err := c.Put(t.Context(), parse(t, `"s3://lab@bkt/k"`), &changing{}, size, nil)
		if !errors.Is(err, connectors.ErrMismatch) || len(b.objects) > 0 || b.parts != nil {
			t.Errorf("%d bytes: %v; %d objects, %d parts", size, err, len(b.objects), len(b.parts))
		}
		if asked := b.asked(); size > 1000 && asked[len(asked)-1] != "DELETE /bkt/k?uploadId=a%2Fb%2Bc" {
			t.Errorf("asked %q", asked)
		}
	}
	b := open(t, &bucket{objects: map[string][]byte{}})
	if _, err := connect(t, b, nil).Put(t.Context(), parse(t, `"s3://lab@bkt/k"`), strings.NewReader("short"), 10, nil); !errors.Is(err, connectors.ErrMismatch) || len(b.asked()) > 0 {
		t.Errorf("a file that became shorter: %v after %q", err, b.asked())
	}
}

// TestPutLies: answers that say that something else was stored.
func TestPutLies(t *testing.T) {
	begin := "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>"
	for _, tc := range []struct {
		name, begin, complete string
		header                [2]string // of parts
		want                  error
	}{
		{"another checksum", begin, "", [2]string{"X-Amz-Checksum-Sha256", "AAAA"}, connectors.ErrMismatch},
		{"no tag", begin, "", [2]string{"X", "y"}, connectors.ErrUpstream},
		{"no id", "<InitiateMultipartUploadResult/>", "", [2]string{"X", "y"}, connectors.ErrUpstream},
		{"a page", "<html>", "", [2]string{"X", "y"}, connectors.ErrUpstream},
		{"an error with 200", begin, "<Error><Code>InternalError</Code></Error>", [2]string{"ETag", `"t"`}, connectors.ErrUpstream},
		{"another checksum of all", begin, "<CompleteMultipartUploadResult><ChecksumSHA256>AAAA-2</ChecksumSHA256></CompleteMultipartUploadResult>", [2]string{"ETag", `"t"`}, connectors.ErrMismatch},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := open(t, &bucket{answer: func(w http.ResponseWriter, r *http.Request) {
				switch {
				case r.Method == http.MethodPost && r.URL.Query().Has("uploads"):
					_, _ = io.WriteString(w, tc.begin)
				case r.Method == http.MethodPost:
					_, _ = io.WriteString(w, tc.complete)
				default:
					w.Header().Set(tc.header[0], tc.header[1])
				}
			}})
			c := connect(t, b, nil)
			c.part = 1000
			_, err := c.Put(t.Context(), parse(t, `"s3://lab@bkt/k"`), bytes.NewReader(make([]byte, 1500)), 1500, nil)
			if !errors.Is(err, tc.want) {
				t.Errorf("%v, want %v", err, tc.want)
			}
			if asked := b.asked(); tc.begin == begin && !slices.Contains(asked, "DELETE /bkt/k?uploadId=u") {
				t.Errorf("parts are left: %q", asked)
			}
		})
	}
}

// TestPutRetries: what passes is tried again with the body from its beginning.
func TestPutRetries(t *testing.T) {
	content := random(9, 100_000)
	var got []byte
	tries := 0
	b := open(t, &bucket{answer: func(w http.ResponseWriter, r *http.Request) {
		tries++
		if tries < 3 {
			_, _ = io.CopyN(io.Discard, r.Body, int64(tries*1000))
			refuse(w, http.StatusServiceUnavailable, "SlowDown", "")
			return
		}
		got, _ = io.ReadAll(r.Body)
		w.Header().Set("ETag", `"t"`)
	}})
	if _, err := connect(t, b, nil).Put(t.Context(), parse(t, `"s3://lab@bkt/k"`), bytes.NewReader(content), int64(len(content)), nil); err != nil || !bytes.Equal(got, content) {
		t.Errorf("%d bytes after %d tries, %v", len(got), tries, err)
	}
	if _, err := connect(t, b, nil).Put(t.Context(), parse(t, `"s3://lab@bkt/"`), bytes.NewReader(nil), 0, nil); !errors.Is(err, connectors.ErrInvalid) {
		t.Errorf("a prefix: %v", err)
	}
	if _, err := connect(t, b, nil).Put(t.Context(), parse(t, `"s3://lab@bkt/k"`), bytes.NewReader(nil), maxObject+1, nil); !errors.Is(err, connectors.ErrInvalid) {
		t.Errorf("too large: %v", err)
	}
}
