package hf

import (
	"bytes"
	"context"
	"crypto/sha1" //nolint:gosec // git's object hash
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"iter"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/hypha-node/hypha-node/connectors"
	httpconn "github.com/hypha-node/hypha-node/connectors/http"
	"github.com/hypha-node/hypha-node/internal/fnmatch"
)

// Bounds of what is believed to be an answer of a hub.
const (
	maxInfo  = 64 << 20 // bytes; an answer that lists all files of a large repository
	maxPage  = 32 << 20 // bytes; a page holds 1,000 entries, some hundred bytes each
	maxPages = 10_000   // pages of one listing: ten million files
	maxBatch = 500      // paths in one paths-info request
)

// repoInfo is what the API tells of a repository at a revision.
type repoInfo struct {
	SHA     string          `json:"sha"`
	Private *bool           `json:"private"`
	Gated   json.RawMessage `json:"gated"` // false, "auto" or "manual"; absent for spaces
}

// public tells whether anybody may have the content, for certain: what the hub
// does not tell is not public. Spaces can't be gated.
func (i repoInfo) public(kind string) bool {
	open := string(i.Gated) == "false" || kind == connectors.RepoSpace
	return i.Private != nil && !*i.Private && open
}

// entry is a file or directory of a repository.
type entry struct {
	Type string   `json:"type"` // "file" or "directory"
	Path string   `json:"path"`
	Size int64    `json:"size"` // bytes of the content, of large files too
	OID  string   `json:"oid"`  // git's sha1; of the pointer if LFS is set
	LFS  *lfsInfo `json:"lfs,omitempty"`
	Xet  string   `json:"xetHash,omitempty"` // 64 hex digits, maybe redacted to asterisks; "" if there is none

	stored *File // what is stored of it, which nobody was asked about; nil if it was listed
}

// lfsInfo is what a pointer of git LFS says.
type lfsInfo struct {
	OID  string `json:"oid"` // sha256, maybe redacted to asterisks
	Size int64  `json:"size"`
}

// revision asks which commit the revision is.
func (q *query) revision(ctx context.Context) (repoInfo, error) {
	fields := url.Values{"expand": {"sha", "private"}}
	if q.ref.RepoType != connectors.RepoSpace {
		fields.Add("expand", "gated") // spaces have no such field and the API refuses it
	}
	body, _, err := q.fetch(ctx, httpconn.Request{URL: q.apiURL("revision", q.revisionOrMain()) + "?" + fields.Encode()}, maxInfo)
	if err != nil {
		return repoInfo{}, err
	}
	var info repoInfo
	if err := json.Unmarshal(body, &info); err != nil {
		return repoInfo{}, q.upstream("the repository's information is no JSON of that shape")
	}
	if !isCommit(info.SHA) {
		return repoInfo{}, q.upstream("the revision has no commit of 40 hex digits")
	}
	return info, nil
}

// listed yields the files of the listing that the patterns choose.
func (q *query) listed(ctx context.Context) iter.Seq2[entry, error] {
	return func(yield func(entry, error) bool) {
		for e, err := range q.tree(ctx, "") {
			if err == nil && (e.Type != "file" || !fnmatch.Select(e.Path, q.ref.Allow, q.ref.Ignore)) {
				continue
			}
			if !yield(e, err) || err != nil {
				return
			}
		}
	}
}

// named yields the files that the reference names, in its order.
func (q *query) named(ctx context.Context) iter.Seq2[entry, error] {
	return func(yield func(entry, error) bool) {
		for names := range slices.Chunk(q.ref.Filenames, maxBatch) {
			found, ask := q.known(ctx, names)
			if len(ask) > 0 {
				listed, err := q.pathsInfo(ctx, ask)
				if err != nil {
					yield(entry{}, err)
					return
				}
				maps.Copy(found, listed)
			}
			for _, name := range names {
				if !q.yieldNamed(ctx, found[name], name, yield) {
					return
				}
			}
		}
	}
}

// yieldNamed yields one named file, or all files of a named directory. It
// returns false when the iteration is over.
func (q *query) yieldNamed(ctx context.Context, e entry, name string, yield func(entry, error) bool) bool {
	switch e.Type {
	case "file":
		return yield(e, nil)
	case "directory":
		for e, err := range q.tree(ctx, name) {
			if err == nil && e.Type != "file" {
				continue
			}
			if !yield(e, err) || err != nil {
				return false
			}
		}
		return true
	}
	yield(entry{}, q.noEntry(name))
	return false
}

// pathsInfo asks what some paths are; those that do not exist are not in the answer.
func (q *query) pathsInfo(ctx context.Context, names []string) (map[string]entry, error) {
	body, err := json.Marshal(map[string]any{"paths": names, "expand": false})
	if err != nil {
		return nil, err
	}
	answer, _, err := q.fetch(ctx, httpconn.Request{
		Method: http.MethodPost,
		URL:    q.apiURL("paths-info", q.commit),
		Header: http.Header{"Content-Type": {"application/json"}},
		Body:   body,
	}, maxPage)
	if err != nil {
		return nil, err
	}
	entries, err := q.entries(answer)
	if err != nil {
		return nil, err
	}
	found := make(map[string]entry, len(entries))
	for _, e := range entries {
		found[e.Path] = e
	}
	return found, nil
}

// tree yields the entries below a directory ("": all): those that are remembered, or
// else page by page.
func (q *query) tree(ctx context.Context, dir string) iter.Seq2[entry, error] {
	return func(yield func(entry, error) bool) {
		if list, ok := q.recall(ctx, dir); ok {
			for _, e := range list {
				if !yield(e, nil) {
					return
				}
			}
			return
		}
		seen := []entry{}
		next := q.apiURL("tree", q.commit)
		if dir != "" {
			next += "/" + escapePath(dir)
		}
		next += "?recursive=true&expand=false"
		for range maxPages {
			body, header, err := q.fetch(ctx, httpconn.Request{URL: next}, maxPage)
			var page []entry
			if err == nil {
				page, err = q.entries(body)
			}
			if err != nil {
				yield(entry{}, err)
				return
			}
			for _, e := range page {
				if !yield(e, nil) {
					return
				}
			}
			if len(seen) <= maxKept {
				seen = append(seen, page...)
			}
			if next, err = q.following(next, header); err != nil {
				yield(entry{}, err)
				return
			}
			if next == "" {
				if len(seen) <= maxKept {
					q.remember(ctx, dir, seen)
				}
				return
			}
		}
		yield(entry{}, q.upstream("the listing has more than %d pages", maxPages))
	}
}

// entries decodes a list of entries.
func (q *query) entries(body []byte) ([]entry, error) {
	var list []entry
	dec := json.NewDecoder(bytes.NewReader(body))
	if err := dec.Decode(&list); err != nil {
		return nil, q.upstream("a listing is no JSON of that shape")
	}
	return list, nil
}

// following returns the URL of the next page, "" if there is none. The hub
// names itself in it as the world sees it: only path and query are taken, the
// rest is the endpoint's.
func (q *query) following(current string, h http.Header) (string, error) {
	link := nextLink(h.Values("Link"))
	if link == "" {
		return "", nil
	}
	base, err := url.Parse(current)
	if err != nil {
		return "", err
	}
	u, err := base.Parse(link)
	if err != nil || u.Opaque != "" { // "mailto:x" has neither host nor path
		return "", q.upstream("the link to the next page is no URL")
	}
	next := url.URL{Scheme: base.Scheme, Host: base.Host, Path: u.Path, RawPath: u.RawPath, RawQuery: u.RawQuery}
	if next.String() == current {
		return "", q.upstream("the next page of the listing is the page itself")
	}
	return next.String(), nil
}

// nextLink returns the target of rel="next" of Link fields.
func nextLink(fields []string) string {
	for target, rels := range Links(fields) {
		if slices.Contains(rels, "next") {
			return target
		}
	}
	return ""
}

// fetch sends an API request with the token and returns its answer.
func (q *query) fetch(ctx context.Context, r httpconn.Request, limit int64) ([]byte, http.Header, error) {
	if q.offline {
		return nil, nil, q.away()
	}
	r.Secret, r.Operator = q.secret, q.acc.Operator
	if r.Header == nil {
		r.Header = http.Header{}
	}
	r.Header.Set("Accept", "application/json")
	return q.client.Fetch(ctx, r, limit, q.explain)
}

// parseSHA256 parses 64 lower-case hex digits; anything else is nil.
func parseSHA256(s string) *[sha256.Size]byte {
	b := parseHex(s, sha256.Size)
	if b == nil {
		return nil
	}
	return (*[sha256.Size]byte)(b)
}

// parseSHA1 parses 40 lower-case hex digits; anything else is nil.
func parseSHA1(s string) *[sha1.Size]byte {
	b := parseHex(s, sha1.Size)
	if b == nil {
		return nil
	}
	return (*[sha1.Size]byte)(b)
}

// parseHex parses lower-case hex digits of size bytes; anything else is nil.
func parseHex(s string, size int) []byte {
	if len(s) != hex.EncodedLen(size) || strings.ToLower(s) != s {
		return nil
	}
	b, err := hex.DecodeString(s)
	if err != nil {
		return nil
	}
	return b
}
