package hubtest

import (
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
)

// call is one request to a repository, with its path taken apart.
type call struct {
	w        http.ResponseWriter
	r        *http.Request
	repo     *repo
	kind     string // "model", "dataset", "space"
	id       string // as asked for
	revision string // unescaped
	path     string // unescaped
}

// ServeHTTP serves the hub's own origin.
func (h *Hub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	note := h.record(r, originHub)
	rec := &recorder{ResponseWriter: w, note: note}
	segments := strings.Split(strings.TrimPrefix(r.URL.EscapedPath(), "/"), "/")
	rec.Header().Set("X-Powered-By", "huggingface-moon")
	rec.Header().Set("X-Request-Id", "Root=1-00000000-000000000000000000000000;00000000-0000-0000-0000-000000000000")
	rec.Header().Set("Access-Control-Expose-Headers", "X-Repo-Commit,X-Request-Id,X-Error-Code,X-Error-Message,X-Total-Count,ETag,Link,Accept-Ranges,Content-Range,X-Linked-Size,X-Linked-ETag,X-Xet-Hash")
	kind := "resolvers"
	if segments[0] == "api" && (len(segments) < 2 || segments[1] != "resolve-cache") {
		kind = "api"
	}
	if !h.admit(rec, kind) || h.refuseByFault(rec, r) {
		return
	}
	if segments[0] == "api" && len(segments) > 1 {
		h.api(rec, r, segments[1:])
		return
	}
	h.files(rec, r, segments)
}

// api serves what lies below /api/.
func (h *Hub) api(w http.ResponseWriter, r *http.Request, segments []string) {
	switch segments[0] {
	case "whoami-v2":
		h.whoami(w, r)
		return
	case "resolve-cache":
		if len(segments) > 1 {
			h.withRepo(w, r, segments[1:], []string{""}, h.resolveCache)
			return
		}
	case "models", "datasets", "spaces":
		h.withRepo(w, r, segments, []string{"revision", "tree", "paths-info", "refs", "xet-read-token"}, h.repoAPI)
		return
	}
	deny(w, http.StatusNotFound, "", "Sorry, we can't find the page you are looking for.")
}

// files serves what lies outside /api/.
func (h *Hub) files(w http.ResponseWriter, r *http.Request, segments []string) {
	if segments[0] != "datasets" && segments[0] != "spaces" {
		segments = append([]string{"models"}, segments...)
	}
	routes := []string{"resolve", "raw"}
	if _, route := routeAt(segments, routes); route == "" {
		deny(w, http.StatusNotFound, "", "Sorry, we can't find the page you are looking for.")
		return
	}
	h.withRepo(w, r, segments, routes, func(c *call, route string) { h.resolve(c, route == "raw") })
}

// withRepo finds the repository that a path names, checks that the caller may
// see it and hands on. The path is types/[owner/]name/route/revision/path…;
// with the route "" the revision follows the name at once.
func (h *Hub) withRepo(w http.ResponseWriter, r *http.Request, segments, routes []string, serve func(*call, string)) {
	c := &call{w: w, r: r, kind: strings.TrimSuffix(segments[0], "s")}
	at, route := routeAt(segments, routes)
	c.id = strings.Join(segments[1:at], "/")
	rest := segments[at:]
	if route != "" {
		rest = rest[1:]
	}
	var err1, err2 error
	if len(rest) > 0 {
		c.revision, err1 = url.PathUnescape(rest[0])
		c.path, err2 = url.PathUnescape(strings.Join(rest[1:], "/"))
	}
	if err1 != nil || err2 != nil {
		deny(w, http.StatusBadRequest, "", "Bad request")
		return
	}
	if to, ok := h.cfg.Renames[c.id]; ok && c.kind == "model" {
		location := strings.Replace(r.URL.EscapedPath(), "/"+c.id, "/"+to, 1)
		if r.URL.RawQuery != "" {
			location += "?" + r.URL.RawQuery
		}
		redirect(w, http.StatusTemporaryRedirect, location)
		return
	}
	h.mu.Lock()
	c.repo = h.repos[c.kind+"/"+c.id]
	h.mu.Unlock()
	if h.mayEnter(c) {
		serve(c, route)
	}
}

// routeAt returns where the repository's name ends, and the route there.
func routeAt(segments, routes []string) (at int, route string) {
	if routes[0] == "" {
		if len(segments) > 2 && len(segments[2]) == 40 {
			return 2, "" // a name without an owner: the commit comes next
		}
		return min(3, len(segments)), ""
	}
	for at = 2; at <= 3 && at < len(segments); at++ {
		if slices.Contains(routes, segments[at]) {
			return at, segments[at]
		}
	}
	return min(3, len(segments)), ""
}

// mayEnter checks that the caller may see the repository; else it answers as
// the Hub does, which does not tell a stranger what exists.
func (h *Hub) mayEnter(c *call) bool {
	token, given := bearer(c.r)
	user, known := h.cfg.Tokens[token]
	files := !strings.HasPrefix(c.r.URL.Path, "/api/") || strings.HasPrefix(c.r.URL.Path, "/api/resolve-cache/") ||
		strings.Contains(c.r.URL.Path, "/xet-read-token/")
	gated := c.repo != nil && c.repo.Gated != "" && files
	switch {
	case given && !known && !gated:
		deny(c.w, http.StatusUnauthorized, "", "Invalid credentials in Authorization header")
	case c.repo == nil || c.repo.Private && !slices.Contains(c.repo.Readers, user.Name):
		if known {
			deny(c.w, http.StatusNotFound, "RepoNotFound", "Repository not found")
			return false
		}
		deny(c.w, http.StatusUnauthorized, "", "Invalid username or password.")
	case c.repo.Disabled:
		deny(c.w, http.StatusForbidden, "", "Access to this resource is disabled.")
	case gated && !known:
		deny(c.w, http.StatusUnauthorized, "GatedRepo", "Access to "+c.kind+" "+c.id+" is restricted. You must have access to it and be authenticated to access it. Please log in.")
	case gated && !slices.Contains(c.repo.Readers, user.Name):
		deny(c.w, http.StatusForbidden, "GatedRepo", "Access to "+c.kind+" "+c.id+" is restricted and you are not in the authorized list.")
	default:
		return true
	}
	return false
}

// deny answers with an error in the Hub's form.
func deny(w http.ResponseWriter, status int, code, message string) {
	if code != "" {
		w.Header().Set("X-Error-Code", code)
	}
	w.Header().Set("X-Error-Message", message)
	writeJSON(w, status, map[string]string{"error": message})
}

// redirect answers with a redirect in the Hub's form: a short text as its body,
// whose length is not the file's.
func redirect(w http.ResponseWriter, status int, location string) {
	body := http.StatusText(status) + ". Redirecting to " + location
	w.Header().Set("Location", location)
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	writeBody(w, status, []byte(body))
}

// recorder notes the status of an answer.
type recorder struct {
	http.ResponseWriter
	note func(int)
	done bool
}

// WriteHeader notes the status.
func (r *recorder) WriteHeader(status int) {
	if !r.done {
		r.done = true
		r.note(status)
	}
	r.ResponseWriter.WriteHeader(status)
}

// Unwrap lets http.ResponseController find the rest.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// ReadFrom sends a body: a file by the kernel, anything else in large pieces.
func (r *recorder) ReadFrom(src io.Reader) (int64, error) {
	if limited, ok := src.(*io.LimitedReader); ok {
		if _, isFile := limited.R.(*os.File); isFile {
			return io.Copy(r.ResponseWriter, src)
		}
	}
	return io.CopyBuffer(struct{ io.Writer }{r.ResponseWriter}, src, make([]byte, 256<<10))
}
