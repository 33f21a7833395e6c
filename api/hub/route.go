package hub

import (
	"errors"
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/hypha-node/hypha-node/connectors"
	"github.com/hypha-node/hypha-node/internal/safename"
)

// Routes of a repository.
const (
	routeInfo     = "" // the repository itself
	routeRevision = "revision"
	routeTree     = "tree"
	routePaths    = "paths-info"
	routeRefs     = "refs"
	routeResolve  = "resolve"
	routeRaw      = "raw"
)

// Errors of a path.
var (
	errNoRoute  = errors.New("this hub has no such route")
	errBadPath  = errors.New("the path can't be meant")
	errBadQuery = errors.New("the query is too long")
)

// Bounds of what a request names, in bytes.
const (
	maxName     = 96  // of an owner or a repository: the Hub's own limit
	maxRevision = 255 // of a branch, as git has it
	maxQuery    = 8 << 10
)

// target is what a request names.
type target struct {
	route    string
	kind     string // one of connectors' Repo constants
	repo     string // "owner/name" or "name"
	revision string // not quoted; "" if none is named
	path     string // in the repository, not quoted; "" if none is named
}

// parseTarget takes the escaped path of a request apart.
func parseTarget(escaped string) (target, error) {
	segments := strings.Split(strings.TrimPrefix(escaped, "/"), "/")
	api := segments[0] == "api"
	if api {
		segments = segments[1:]
	}
	t := target{kind: connectors.RepoModel}
	switch {
	case len(segments) == 0:
		return t, errNoRoute
	case slices.Contains([]string{"models", "datasets", "spaces"}, segments[0]) && (api || segments[0] != "models"):
		t.kind = strings.TrimSuffix(segments[0], "s")
		segments = segments[1:]
	case api:
		return t, errNoRoute
	}
	routes := []string{routeResolve, routeRaw}
	if api {
		routes = []string{routeRevision, routeTree, routePaths, routeRefs}
	}
	name, rest, err := t.cut(segments, routes, api)
	if err != nil {
		return t, err
	}
	for i, s := range name {
		if name[i], err = url.PathUnescape(s); err != nil || !isName(name[i]) {
			return t, errBadPath
		}
	}
	t.repo = strings.Join(name, "/")
	return t, t.parseRest(rest)
}

// cut finds the route behind the name of a repository, which has one segment or
// two.
func (t *target) cut(segments, routes []string, api bool) (name, rest []string, err error) {
	for _, n := range []int{2, 1} {
		if len(segments) > n && slices.Contains(routes, segments[n]) {
			t.route = segments[n]
			return segments[:n], segments[n+1:], nil
		}
	}
	if api && (len(segments) == 1 || len(segments) == 2) {
		return segments, nil, nil
	}
	return nil, nil, errNoRoute
}

// parseRest reads the revision and the path.
func (t *target) parseRest(rest []string) (err error) {
	if t.route == routeRefs || t.route == routeInfo {
		if len(rest) > 0 {
			return errNoRoute
		}
		return nil
	}
	if len(rest) == 0 {
		return errNoRoute
	}
	n := 1
	if rest[0] == "refs" && len(rest) > 2 { // refs/pr/1 and refs/convert/parquet may stand as they are
		n = 3
	}
	if t.revision, err = url.PathUnescape(strings.Join(rest[:n], "/")); err != nil || !isRevision(t.revision) {
		return errBadPath
	}
	if t.path, err = url.PathUnescape(strings.Join(rest[n:], "/")); err != nil {
		return errBadPath
	}
	switch t.route {
	case routeRevision, routePaths:
		if t.path != "" {
			return errNoRoute
		}
	case routeTree:
		t.path = strings.Trim(t.path, "/")
		if t.path != "" && safename.Path(t.path) != nil {
			return errBadPath
		}
	default:
		if safename.Path(t.path) != nil {
			return errBadPath
		}
	}
	return nil
}

// isName tells whether a segment may be an owner or a repository.
func isName(s string) bool {
	if s == "" || len(s) > maxName || s[0] == '.' || strings.Contains(s, "..") {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_' && r != '.'
	})
}

// isRevision tells whether a text may name a branch, a tag or a commit.
func isRevision(s string) bool {
	if s == "" || len(s) > maxRevision || !utf8.ValidString(s) || strings.Contains(s, "..") {
		return false
	}
	for part := range strings.SplitSeq(s, "/") {
		if part == "" || part[0] == '.' {
			return false
		}
	}
	return !strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) || unicode.IsSpace(r) || r == '\\' })
}

// apiPath returns the escaped path of a target of the API.
func (t target) apiPath() string {
	p := "/api/" + t.kind + "s/" + t.repo
	if t.route != routeInfo {
		p += "/" + t.route
	}
	if t.revision != "" {
		p += "/" + url.PathEscape(t.revision)
	}
	if t.path != "" {
		p += "/" + escapePath(t.path)
	}
	return p
}

// filePath returns the escaped path of a file at a revision.
func (t target) filePath(revision string) string {
	p := "/"
	if t.kind != connectors.RepoModel {
		p += t.kind + "s/"
	}
	return p + t.repo + "/resolve/" + url.PathEscape(revision) + "/" + escapePath(t.path)
}

// at names the repository at a commit.
func (t target) at(commit string) string { return t.kind + "/" + t.repo + "@" + commit }

// escapePath escapes each segment of a path.
func escapePath(path string) string {
	parts := strings.Split(path, "/")
	for i, part := range parts {
		parts[i] = url.PathEscape(part)
	}
	return strings.Join(parts, "/")
}
