package hub

import (
	"encoding/hex"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"

	"github.com/hypha-node/hypha-node/connectors"
)

// resolve answers the routes that give files.
func (s *Server) resolve(w *client, r *http.Request, t target, token connectors.Secret) {
	if !allow(w, r, http.MethodGet, http.MethodHead) {
		return
	}
	l, no, err := s.locate(r.Context(), t, token)
	switch {
	case err != nil:
		s.unreachable(w, r, err)
		return
	case no != nil:
		no.write(w, r, baseOf(r))
		return
	}
	describeFile(w.Header(), l)
	if t.route == routeRaw && l.SHA256 != nil {
		sendPointer(w, r, l)
		return
	}
	if matches(r.Header.Get("If-None-Match"), l.ETag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	p, ok := partOf(r, l.Size, l.ETag)
	if !ok {
		undescribe(w.Header())
		w.Header().Set("Content-Range", fmt.Sprintf("bytes */%d", l.Size))
		refuse(w, r, http.StatusRequestedRangeNotSatisfiable, "", "the range is not within the file")
		return
	}
	if r.Method == http.MethodHead {
		p.begin(w)
		return
	}
	s.send(w, r, l, p, token)
}

// describeFile sets the header fields that describe a file. There are none of
// Xet: its clients would go past the façade.
func describeFile(h http.Header, l located) {
	h.Set("X-Repo-Commit", l.Commit)
	h.Set("Accept-Ranges", "bytes")
	h.Set("X-Linked-Size", strconv.FormatInt(l.Size, 10))
	if l.ETag != "" {
		h.Set("Etag", `"`+l.ETag+`"`)
		h.Set("X-Linked-Etag", `"`+l.ETag+`"`)
	}
	name := path.Base(l.Path)
	h.Set("Content-Disposition", fmt.Sprintf("inline; filename*=UTF-8''%s", url.PathEscape(name)))
	kind := mime.TypeByExtension(path.Ext(name))
	if kind == "" || strings.HasPrefix(kind, "text/") {
		kind = "text/plain; charset=utf-8" // nothing that a browser runs
		if l.SHA256 != nil {
			kind = "application/octet-stream"
		}
	}
	h.Set("Content-Type", kind)
	h.Set("X-Content-Type-Options", "nosniff")
}

// undescribe removes what describes the content of a file.
func undescribe(h http.Header) {
	for _, name := range []string{"Etag", "X-Linked-Etag", "X-Linked-Size", "Accept-Ranges", "Content-Disposition"} {
		h.Del(name)
	}
}

// sendPointer answers with what git has in the place of a large file
// (git-lfs, docs/spec.md).
func sendPointer(w http.ResponseWriter, r *http.Request, l located) {
	text := fmt.Sprintf("version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize %d\n", hex.EncodeToString(l.SHA256[:]), l.Size)
	undescribe(w.Header())
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(len(text)))
	w.WriteHeader(http.StatusOK)
	if r.Method != http.MethodHead {
		_, _ = w.Write([]byte(text)) //nolint:errcheck // see answer.write
	}
}

// piece is the part of a file that a request wants.
type piece struct {
	off, end int64 // bytes
	size     int64 // of the file
	ranged   bool
}

// begin sends the header.
func (p piece) begin(w http.ResponseWriter) {
	w.Header().Set("Content-Length", strconv.FormatInt(p.end-p.off, 10))
	if !p.ranged {
		w.WriteHeader(http.StatusOK)
		return
	}
	w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", p.off, p.end-1, p.size))
	w.WriteHeader(http.StatusPartialContent)
}

// partOf reads the Range of a request for a file (RFC 9110, 14): one range, or
// the whole file when there are several or what there is can't be read. It is
// false when the range is not within the file.
func partOf(r *http.Request, size int64, tag string) (piece, bool) {
	whole := piece{0, size, size, false}
	spec, ok := strings.CutPrefix(r.Header.Get("Range"), "bytes=")
	if !ok || r.Header.Get("If-Range") != "" && !isTag(r.Header.Get("If-Range"), tag) {
		return whole, true
	}
	first, last, ok := strings.Cut(strings.TrimSpace(spec), "-")
	if !ok || strings.Contains(last, ",") {
		return whole, true
	}
	from, ok1 := number(first)
	to, ok2 := number(last)
	switch {
	case !ok1 || !ok2 || from < 0 && to < 0 || from >= 0 && to >= 0 && to < from:
		return whole, true
	case from < 0: // the last bytes
		if to == 0 || size == 0 {
			return whole, false
		}
		return piece{max(0, size-to), size, size, true}, true
	case from >= size:
		return whole, false
	case to < 0 || to >= size:
		to = size - 1
	}
	return piece{from, to + 1, size, true}, true
}

// number parses a number of a range: -1 if there is none.
func number(s string) (int64, bool) {
	if s == "" {
		return -1, true
	}
	if strings.ContainsFunc(s, func(r rune) bool { return r < '0' || r > '9' }) {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return 1<<63 - 1, true // more digits than any file has bytes
	}
	return n, true
}

// matches tells whether an If-None-Match names the tag.
func matches(field, tag string) bool {
	if field == "" || tag == "" {
		return false
	}
	for one := range strings.SplitSeq(field, ",") {
		if one = strings.TrimSpace(one); one == "*" || entityTag(one) == tag {
			return true
		}
	}
	return false
}

// isTag tells whether an If-Range is the strong tag.
func isTag(field, tag string) bool { return tag != "" && field == `"`+tag+`"` }
