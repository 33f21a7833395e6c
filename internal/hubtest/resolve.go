package hubtest

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// resolve serves /{id}/resolve/{rev}/{path} and /raw/: one of the three shapes
// of the true Hub, or the content of a pointer.
func (h *Hub) resolve(c *call, raw bool) {
	at := c.repo.at(c.revision)
	if at == nil {
		deny(c.w, http.StatusNotFound, "RevisionNotFound", "Invalid rev id: "+c.revision)
		return
	}
	c.w.Header().Set("X-Repo-Commit", at.sha)
	f := at.files[c.path]
	if f == nil {
		deny(c.w, http.StatusNotFound, "EntryNotFound", "Entry not found")
		return
	}
	if raw && f.lfs {
		c.w.Header().Set("ETag", `"`+f.oid+`"`)
		http.ServeContent(c.w, c.r, "", time.Time{}, bytes.NewReader([]byte(f.pointer)))
		return
	}
	c.w.Header().Set("X-Linked-Size", strconv.FormatInt(f.content.Size(), 10))
	c.w.Header().Set("X-Linked-ETag", f.etag())
	c.w.Header().Set("Accept-Ranges", "bytes")
	c.w.Header().Set("Vary", "Origin, Accept")
	if h.cfg.Xet && f.lfs && h.offerXet(c, at, f) {
		return
	}
	switch {
	case slices.Contains(c.repo.Direct, f.path) || raw:
		h.serve(c.w, c.r, f, f.etag())
	case f.lfs:
		redirect(c.w, http.StatusFound, h.sign(f))
	default:
		redirect(c.w, http.StatusTemporaryRedirect, cacheURL(c, at, f))
	}
}

// cacheURL returns the relative place of a small file, as the Hub spells it.
func cacheURL(c *call, at *commit, f *file) string {
	parts := strings.Split(f.path, "/")
	for i := range parts {
		parts[i] = url.PathEscape(parts[i])
	}
	return "/api/resolve-cache/" + c.kind + "s/" + c.repo.ID + "/" + at.sha + "/" + strings.Join(parts, "/") +
		"?" + url.QueryEscape(c.r.URL.Path) + "=&etag=" + url.QueryEscape(f.etag())
}

// resolveCache serves small files, by commit only.
func (h *Hub) resolveCache(c *call, _ string) {
	if len(c.revision) != 40 {
		deny(c.w, http.StatusBadRequest, "", "Invalid commit")
		return
	}
	at := c.repo.at(c.revision)
	if at == nil {
		deny(c.w, http.StatusNotFound, "RevisionNotFound", "Invalid rev id: "+c.revision)
		return
	}
	c.w.Header().Set("X-Repo-Commit", at.sha)
	f := at.files[c.path]
	if f == nil {
		deny(c.w, http.StatusNotFound, "EntryNotFound", "Entry not found")
		return
	}
	h.serve(c.w, c.r, f, `"`+f.oid+`"`)
}

// serve sends the content of a file, whole or a range of it, with the faults
// that were planted for the request.
func (h *Hub) serve(w http.ResponseWriter, r *http.Request, f *file, etag string) {
	content, err := f.content.Open()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer func() {
		// Nothing was written: there is nothing to lose.
		_ = content.Close()
	}()
	w.Header().Set("ETag", etag)
	w.Header().Set("Content-Disposition", disposition(f.path))
	if w.Header().Get("Content-Type") == "" {
		w.Header().Set("Content-Type", contentType(f.path))
	}
	http.ServeContent(h.spoil(w, r), r, "", time.Time{}, content)
}

// disposition returns the header that names a download.
func disposition(name string) string {
	base := path.Base(name)
	return fmt.Sprintf(`inline; filename*=UTF-8''%s; filename=%q;`, url.PathEscape(base), base)
}

// contentType returns the type of a file by its name.
func contentType(name string) string {
	if t := mime.TypeByExtension(path.Ext(name)); t != "" {
		return t
	}
	return "application/octet-stream"
}

// sign returns a CDN URL of a large file that is good for LinkLife.
func (h *Hub) sign(f *file) string {
	u := "/xet-bridge-us/621ffdc036468d709f17434d/" + f.sha256
	q := url.Values{}
	q.Set("X-Amz-Algorithm", "AWS4-HMAC-SHA256")
	q.Set("X-Amz-Date", h.cfg.Now().UTC().Format("20060102T150405.000000000Z"))
	q.Set("X-Amz-Expires", strconv.Itoa(int(h.cfg.LinkLife/time.Second)))
	q.Set("X-Amz-SignedHeaders", "host")
	q.Set("response-content-disposition", disposition(f.path))
	q.Set("x-id", "GetObject")
	q.Set("X-Amz-Signature", h.signature(u, q))
	return h.CDNURL + u + "?" + q.Encode()
}

// signature signs a path and its parameters.
func (h *Hub) signature(p string, q url.Values) string {
	return h.mac(p, q.Get("X-Amz-Date"), q.Get("X-Amz-Expires"), q.Get("response-content-disposition"))
}

// mac returns what nobody else can make of some texts.
func (h *Hub) mac(texts ...string) string {
	mac := hmac.New(sha256.New, h.secret)
	for _, text := range texts {
		fmt.Fprintf(mac, "%s\n", text)
	}
	return hex.EncodeToString(mac.Sum(nil))
}

// CDN returns the handler of the second origin, where large files come from.
func (h *Hub) CDN() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rec := &recorder{ResponseWriter: w, note: h.record(r, originCDN)}
		if strings.HasPrefix(r.URL.Path, "/xorbs/") {
			h.serveXorb(rec, r)
			return
		}
		switch problem := h.signed(r); {
		case r.Header.Get("Authorization") != "":
			xmlError(rec, http.StatusBadRequest, "InvalidArgument", "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string parameter or the Authorization header should be specified")
			return
		case problem != "":
			xmlError(rec, http.StatusForbidden, "AccessDenied", problem)
			return
		}
		if h.refuseByFault(rec, r) {
			return
		}
		f := h.find(func(f *file) bool { return f.lfs && f.sha256 == path.Base(r.URL.Path) })
		if f == nil {
			xmlError(rec, http.StatusNotFound, "NoSuchKey", "The specified key does not exist.")
			return
		}
		// The bridge's own tag is no sha256 of the content.
		h.serve(rec, r, f, `"`+f.xetHash()+`"`)
	})
}

// signed returns what is wrong with the signature of a URL, or "".
func (h *Hub) signed(r *http.Request) string {
	q := r.URL.Query()
	if !hmac.Equal([]byte(q.Get("X-Amz-Signature")), []byte(h.signature(r.URL.Path, q))) {
		return "The request signature we calculated does not match the signature you provided."
	}
	made, err1 := time.Parse("20060102T150405.000000000Z", q.Get("X-Amz-Date"))
	life, err2 := strconv.Atoi(q.Get("X-Amz-Expires"))
	if err1 != nil || err2 != nil || h.cfg.Now().After(made.Add(time.Duration(life)*time.Second)) {
		return "Request has expired"
	}
	return ""
}

// find returns a file that is, nil if there is none.
func (h *Hub) find(is func(*file) bool) *file {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, r := range h.repos {
		for _, c := range r.commits {
			for _, f := range c.files {
				if is(f) {
					return f
				}
			}
		}
	}
	return nil
}

// xmlError answers with an error in the form of object storage.
func xmlError(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/xml")
	writeBody(w, status, fmt.Appendf(nil, `<?xml version="1.0" encoding="UTF-8"?><Error><Code>%s</Code><Message>%s</Message></Error>`, code, message))
}
