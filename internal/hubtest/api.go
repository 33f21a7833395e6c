package hubtest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// maxBody bounds the body of a request: bytes.
const maxBody = 8 << 20

// repoAPI serves /api/{type}s/{id}[/route…].
func (h *Hub) repoAPI(c *call, route string) {
	if route == "refs" {
		h.refs(c)
		return
	}
	if c.revision == "" {
		c.revision = "main"
	}
	at := c.repo.at(c.revision)
	if at == nil {
		deny(c.w, http.StatusNotFound, "RevisionNotFound", "Invalid rev id: "+c.revision)
		return
	}
	c.w.Header().Set("X-Repo-Commit", at.sha)
	switch route {
	case "tree":
		h.tree(c, at)
	case "paths-info":
		h.pathsInfo(c, at)
	case "xet-read-token":
		h.xetToken(c)
	default:
		h.info(c, at)
	}
}

// info serves what is known of a repository at a commit; expand picks fields.
func (h *Hub) info(c *call, at *commit) {
	gated := any(false)
	if c.repo.Gated != "" {
		gated = c.repo.Gated
	}
	siblings := []map[string]any{}
	for _, p := range at.paths {
		siblings = append(siblings, map[string]any{"rfilename": p})
	}
	all := map[string]any{
		"_id": "621ffdc036468d709f17434d", "id": c.repo.ID, "private": c.repo.Private, "disabled": c.repo.Disabled,
		"sha": at.sha, "lastModified": "2026-01-02T03:04:05.000Z", "createdAt": "2025-01-02T03:04:05.000Z",
		"downloads": 1, "likes": 0, "tags": []string{}, "siblings": siblings, "author": strings.Split(c.repo.ID, "/")[0],
	}
	if c.kind == "model" {
		all["modelId"], all["library_name"], all["pipeline_tag"] = c.repo.ID, "transformers", "text-generation"
	}
	if c.kind != "space" {
		all["gated"] = gated
	}
	expand := c.r.URL.Query()["expand"]
	expand = append(expand, c.r.URL.Query()["expand[]"]...)
	if len(expand) == 0 {
		writeJSON(c.w, http.StatusOK, all)
		return
	}
	some := map[string]any{"_id": all["_id"], "id": all["id"]}
	for _, field := range expand {
		if c.kind == "space" && field == "gated" {
			deny(c.w, http.StatusBadRequest, "", `"expand" must be one of [author, private, sha, siblings, …]`)
			return
		}
		if value, ok := all[field]; ok {
			some[field] = value
		}
	}
	writeJSON(c.w, http.StatusOK, some)
}

// tree serves a page of the listing.
func (h *Hub) tree(c *call, at *commit) {
	query := c.r.URL.Query()
	dir := strings.Trim(c.path, "/")
	if dir != "" && !at.hasDir(dir) {
		deny(c.w, http.StatusNotFound, "EntryNotFound", fmt.Sprintf("%s does not exist on %q", dir, c.revision))
		return
	}
	list := at.list(dir, isTrue(query.Get("recursive")))
	start, err := strconv.Atoi(strings.TrimPrefix(query.Get("cursor"), "c"))
	if err != nil || start < 0 || start > len(list) {
		start = 0
	}
	size := h.cfg.PageSize
	if limit, err := strconv.Atoi(query.Get("limit")); err == nil && limit > 0 {
		size = min(size, limit)
	}
	expand := isTrue(query.Get("expand"))
	if expand {
		size = min(size, 100)
	}
	end := min(start+size, len(list))
	if end < len(list) {
		query.Set("cursor", fmt.Sprintf("c%d", end))
		next := url.URL{Scheme: "http", Host: c.r.Host, Path: c.r.URL.Path, RawPath: c.r.URL.RawPath, RawQuery: query.Encode()}
		c.w.Header().Set("Link", "<"+next.String()+`>; rel="next"`)
	}
	writeJSON(c.w, http.StatusOK, h.expanded(list[start:end], expand, at))
}

// expanded adds to entries what is told only when it is asked for.
func (h *Hub) expanded(list []treeEntry, expand bool, at *commit) []treeEntry {
	out := append([]treeEntry{}, list...)
	for i, e := range out {
		if h.cfg.Xet && e.LFS != nil {
			out[i].Xet = at.files[e.Path].xetHash()
		}
	}
	if expand {
		for i := range out {
			out[i].LastCommit = &treeCommit{ID: at.sha, Title: "Add files", Date: "2026-01-02T03:04:05.000Z"}
		}
	}
	return out
}

// pathsInfo serves what some paths are; absent ones are left out. The Python
// client sends a form, the JavaScript one JSON.
func (h *Hub) pathsInfo(c *call, at *commit) {
	var ask struct {
		Paths  []string `json:"paths"`
		Expand bool     `json:"expand"`
	}
	body := http.MaxBytesReader(c.w, c.r.Body, maxBody)
	if c.r.Method != http.MethodPost {
		deny(c.w, http.StatusMethodNotAllowed, "", "Method not allowed")
		return
	}
	if strings.HasPrefix(c.r.Header.Get("Content-Type"), "application/json") {
		if err := json.NewDecoder(body).Decode(&ask); err != nil {
			deny(c.w, http.StatusBadRequest, "", "Invalid JSON")
			return
		}
	} else {
		c.r.Body = body
		if err := c.r.ParseForm(); err != nil {
			deny(c.w, http.StatusBadRequest, "", "Invalid form")
			return
		}
		ask.Paths, ask.Expand = c.r.PostForm["paths"], isTrue(c.r.PostForm.Get("expand"))
	}
	found := []treeEntry{}
	for _, p := range ask.Paths {
		p = strings.Trim(p, "/")
		if f := at.files[p]; f != nil {
			found = append(found, f.entry())
		} else if at.hasDir(p) {
			found = append(found, dirEntry(p))
		}
	}
	writeJSON(c.w, http.StatusOK, h.expanded(found, ask.Expand, at))
}

// refs serves the branches.
func (h *Hub) refs(c *call) {
	writeJSON(c.w, http.StatusOK, map[string]any{
		"branches": []map[string]string{{"name": "main", "ref": "refs/heads/main", "targetCommit": c.repo.head().sha}},
		"tags":     []any{}, "converts": []any{},
	})
}

// whoami tells who has the token.
func (h *Hub) whoami(w http.ResponseWriter, r *http.Request) {
	token, given := bearer(r)
	user, known := h.cfg.Tokens[token]
	switch {
	case !given:
		deny(w, http.StatusUnauthorized, "", "Invalid username or password.")
	case !known:
		deny(w, http.StatusUnauthorized, "", "Invalid credentials in Authorization header")
	default:
		writeJSON(w, http.StatusOK, map[string]any{
			"type": "user", "id": "000000000000000000000001", "name": user.Name, "fullname": user.Name,
			"isPro": false, "orgs": []any{},
			"auth": map[string]any{"type": "access_token", "accessToken": map[string]string{"displayName": "test", "role": "read"}},
		})
	}
}

// isTrue reads a boolean parameter in its spellings.
func isTrue(s string) bool { return strings.EqualFold(s, "true") || s == "1" }

// writeJSON answers with JSON.
func writeJSON(w http.ResponseWriter, status int, value any) {
	body, err := json.Marshal(value)
	if err != nil {
		status, body = http.StatusInternalServerError, nil
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	writeBody(w, status, body)
}

// writeBody answers with a body of known length. A client that has gone has
// its reasons.
func writeBody(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body)
}
