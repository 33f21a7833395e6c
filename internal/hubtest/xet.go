package hubtest

import (
	"bytes"
	"crypto/hmac"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// offerXet tells where a large file is to be had by Xet. To a client that asks for
// that alone it answers, and returns true.
func (h *Hub) offerXet(c *call, at *commit, f *file) bool {
	w := c.w.Header()
	w.Set("X-Xet-Hash", f.xetHash())
	w.Set("Link", fmt.Sprintf(`<%s/api/%ss/%s/xet-read-token/%s>; rel="xet-auth", <%s/v1/reconstructions/%s>; rel="xet-reconstruction-info"`,
		h.URL, c.kind, c.repo.ID, at.sha, h.CASURL, f.xetHash()))
	if !strings.Contains(c.r.Header.Get("Accept"), "application/vnd.xet-fileinfo+json") {
		return false
	}
	w.Set("Content-Type", "application/vnd.xet-fileinfo+json; charset=utf-8")
	writeBody(c.w, http.StatusOK, fmt.Appendf(nil, `{"hash":%q}`, f.xetHash()))
	return true
}

// xetToken serves a token that is good for TokenLife, as JSON and in headers.
func (h *Hub) xetToken(c *call) {
	if !h.cfg.Xet {
		deny(c.w, http.StatusNotFound, "", "Xet is not enabled for this repository")
		return
	}
	until := h.cfg.Now().Add(h.cfg.TokenLife).Unix()
	token := fmt.Sprintf("xet_%d_%s", until, h.mac("xet token", strconv.FormatInt(until, 10)))
	c.w.Header().Set("X-Xet-Access-Token", token)
	c.w.Header().Set("X-Xet-Token-Expiration", strconv.FormatInt(until, 10))
	c.w.Header().Set("X-Xet-Cas-Url", h.CASURL)
	writeJSON(c.w, http.StatusOK, map[string]any{"accessToken": token, "exp": until, "casUrl": h.CASURL})
}

// knowsXetToken tells whether the storage takes the token of a request.
func (h *Hub) knowsXetToken(r *http.Request) bool {
	token, _ := bearer(r)
	parts := strings.Split(token, "_")
	if len(parts) != 3 || parts[0] != "xet" || !hmac.Equal([]byte(parts[2]), []byte(h.mac("xet token", parts[1]))) {
		return false
	}
	until, err := strconv.ParseInt(parts[1], 10, 64)
	return err == nil && h.cfg.Now().Unix() < until
}

// CAS returns the handler of the third origin, which tells of what xorbs a file
// is made.
func (h *Hub) CAS() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rec := &recorder{ResponseWriter: w, note: h.record(r, originCAS)}
		if h.refuseByFault(rec, r) {
			return
		}
		version, hash, ok := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/reconstructions/")
		switch {
		case r.Method == http.MethodPost && r.URL.Path == "/v1/telemetry":
			writeJSON(rec, http.StatusOK, map[string]any{})
		case !ok || version != "v1" && (version != "v2" || h.cfg.XetV1):
			deny(rec, http.StatusNotFound, "", "Not found")
		case !h.knowsXetToken(r):
			deny(rec, http.StatusUnauthorized, "", "Unauthorized")
		default:
			h.reconstruct(rec, r, version, hash)
		}
	})
}

// reconstruct answers of what a file, or the range of it that is asked for, is made.
func (h *Hub) reconstruct(w http.ResponseWriter, r *http.Request, version, hash string) {
	f := h.find(func(f *file) bool { return f.lfs && f.xetHash() == hash })
	if f == nil {
		deny(w, http.StatusNotFound, "", "File not found")
		return
	}
	made, err := f.xet()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	start, end := int64(0), f.content.Size()
	if text := r.Header.Get("Range"); text != "" {
		var last int64
		if n, err := fmt.Sscanf(text, "bytes=%d-%d", &start, &last); n != 2 || err != nil || last < start {
			deny(w, http.StatusBadRequest, "", "Bad range")
			return
		}
		end = min(end, last+1)
	}
	if start >= f.content.Size() {
		deny(w, http.StatusRequestedRangeNotSatisfiable, "", "Range not satisfiable")
		return
	}
	terms, skip := made.within(start, end)
	answer := map[string]any{"offset_into_first_range": skip, "terms": wireTerms(terms)}
	if version == "v1" {
		answer["fetch_info"] = h.fetchesV1(terms)
	} else {
		answer["xorbs"] = h.fetchesV2(terms)
	}
	writeJSON(h.spoil(w, r), http.StatusOK, answer)
}

// within returns the terms of a range, without the chunks that it does not need,
// and how many bytes of the first chunk come before it.
func (x *xetFile) within(start, end int64) (terms []xetTerm, skip int64) {
	at := int64(0)
	skip = -1
	for _, t := range x.terms {
		for ; t.start < t.end && at+t.xorb.sizes[t.start] <= start; t.start++ {
			at += t.xorb.sizes[t.start]
		}
		begin := t.start
		if begin == t.end || at >= end {
			continue
		}
		if skip < 0 {
			skip = start - at
		}
		for ; t.start < t.end && at < end; t.start++ {
			at += t.xorb.sizes[t.start]
		}
		terms = append(terms, xetTerm{t.xorb, begin, t.start})
	}
	return terms, skip
}

// wireTerms returns terms as the storage writes them.
func wireTerms(terms []xetTerm) []any {
	out := []any{}
	for _, t := range terms {
		out = append(out, map[string]any{
			"hash": t.xorb.hash, "unpacked_length": t.xorb.size(t.start, t.end), "range": wireRange(int64(t.start), int64(t.end)),
		})
	}
	return out
}

// wireRange returns a range as the storage writes it.
func wireRange(start, end int64) map[string]int64 {
	return map[string]int64{"start": start, "end": end}
}

// runs returns the runs of chunks that terms need, by xorb, in order and merged
// where they touch.
func runs(terms []xetTerm) (order []*xorb, by map[*xorb][]xetTerm) {
	by = map[*xorb][]xetTerm{}
	for _, t := range terms {
		if by[t.xorb] == nil {
			order = append(order, t.xorb)
		}
		by[t.xorb] = append(by[t.xorb], t)
	}
	for x, list := range by {
		slices.SortFunc(list, func(a, b xetTerm) int { return a.start - b.start })
		merged := list[:1]
		for _, t := range list[1:] {
			if last := &merged[len(merged)-1]; t.start <= last.end {
				last.end = max(last.end, t.end)
			} else {
				merged = append(merged, t)
			}
		}
		by[x] = merged
	}
	return order, by
}

// bytes returns where a run of chunks is stored, its end inclusive.
func (t xetTerm) bytes() (first, last int64) { return t.xorb.starts[t.start], t.xorb.starts[t.end] - 1 }

// fetchesV1 returns a signed URL for each run of chunks.
func (h *Hub) fetchesV1(terms []xetTerm) map[string]any {
	out := map[string]any{}
	order, by := runs(terms)
	for _, x := range order {
		var list []any
		for _, t := range by[x] {
			first, last := t.bytes()
			list = append(list, map[string]any{
				"range": wireRange(int64(t.start), int64(t.end)), "url_range": wireRange(first, last), "url": h.signXorb(x, []xetTerm{t}),
			})
		}
		out[x.hash] = list
	}
	return out
}

// fetchesV2 returns one signed URL for all runs of chunks of a xorb.
func (h *Hub) fetchesV2(terms []xetTerm) map[string]any {
	out := map[string]any{}
	order, by := runs(terms)
	for _, x := range order {
		ranges := []any{}
		for _, t := range by[x] {
			first, last := t.bytes()
			ranges = append(ranges, map[string]any{"chunks": wireRange(int64(t.start), int64(t.end)), "bytes": wireRange(first, last)})
		}
		out[x.hash] = []any{map[string]any{"url": h.signXorb(x, by[x]), "ranges": ranges}}
	}
	return out
}

// signXorb returns a URL for exactly those runs of a xorb, good for LinkLife.
func (h *Hub) signXorb(x *xorb, runs []xetTerm) string {
	var ranges []string
	for _, t := range runs {
		first, last := t.bytes()
		ranges = append(ranges, fmt.Sprintf("%d-%d", first, last))
	}
	h.mu.Lock()
	h.xorbs[x.hash] = x
	h.mu.Unlock()
	p := "/xorbs/default/" + x.hash
	until := strconv.FormatInt(h.cfg.Now().Add(h.cfg.LinkLife).UnixNano(), 10)
	signed := "bytes=" + strings.Join(ranges, ",")
	q := url.Values{"X-Xet-Signed-Range": {signed}, "Expires": {until}, "Signature": {h.mac(p, until, signed)}}
	return h.CDNURL + p + "?" + q.Encode()
}

// serveXorb serves what a URL was signed for: all of its ranges or one of them.
func (h *Hub) serveXorb(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	signed := q.Get("X-Xet-Signed-Range")
	until, err := strconv.ParseInt(q.Get("Expires"), 10, 64)
	asked := r.Header.Get("Range")
	one, _ := strings.CutPrefix(asked, "bytes=")
	all, _ := strings.CutPrefix(signed, "bytes=")
	h.mu.Lock()
	x := h.xorbs[path.Base(r.URL.Path)]
	h.mu.Unlock()
	switch {
	case r.Header.Get("Authorization") != "":
		xmlError(w, http.StatusBadRequest, "InvalidArgument", "Only one auth mechanism allowed")
	case !hmac.Equal([]byte(q.Get("Signature")), []byte(h.mac(r.URL.Path, q.Get("Expires"), signed))):
		xmlError(w, http.StatusForbidden, "AccessDenied", "The signature does not match")
	case err != nil || h.cfg.Now().UnixNano() > until:
		xmlError(w, http.StatusForbidden, "AccessDenied", "Request has expired")
	case asked != signed && !slices.Contains(strings.Split(all, ","), one):
		xmlError(w, http.StatusForbidden, "AccessDenied", "The range is not signed")
	case x == nil:
		xmlError(w, http.StatusNotFound, "NoSuchKey", "The specified key does not exist.")
	case h.refuseByFault(w, r):
	default:
		w.Header().Set("Content-Type", "application/octet-stream")
		http.ServeContent(h.spoil(w, r), r, "", time.Time{}, bytes.NewReader(x.data))
	}
}
