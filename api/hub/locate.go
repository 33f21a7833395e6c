package hub

import (
	"context"
	"net/http"
	"strconv"

	"github.com/hypha-node/hypha-node/connectors"
	"github.com/hypha-node/hypha-node/connectors/hf"
)

// located is a file that a client may have.
type located struct {
	hf.File
	public bool // everybody may
}

// locate finds out what a file is, and whether the client may have it: from what
// is known, else by a HEAD of the upstream. An answer, if there is one, is that of
// the upstream to be passed on.
func (s *Server) locate(ctx context.Context, t target, token connectors.Secret) (l located, no *answer, err error) {
	scope := hf.Scope(token)
	commit, young := s.branchOf(ctx, t, scope)
	if young {
		if l, ok := s.known(ctx, t, commit, scope, false); ok {
			s.noteFile(ctx, t, l.File, true)
			return l, nil, nil
		}
	}
	asked := t.revision
	if young {
		asked = commit
	}
	a, err := s.head(ctx, t, asked, token)
	if err != nil || a.failed() {
		if l, ok := s.known(ctx, t, commit, scope, true); ok {
			return l, nil, nil
		}
		return located{}, a, err
	}
	if !a.ok() {
		return located{}, a, nil
	}
	if l.File, err = describe(t, a); err != nil {
		return located{}, nil, err
	}
	_, l.public = s.access(ctx, t, l.Commit, scope, true)
	if !l.public {
		l.public = s.isPublic(ctx, t, l.Commit, token)
	}
	return l, nil, nil
}

// known returns a file that is known at a commit, if the scope may have it. With
// old, what was known once is good enough.
func (s *Server) known(ctx context.Context, t target, commit, scope string, old bool) (located, bool) {
	if commit == "" {
		return located{}, false
	}
	may, public := s.access(ctx, t, commit, scope, old)
	f, ok := s.file(ctx, t, commit)
	return located{f, public}, may && ok
}

// head asks the upstream for what it says of a file. What a commit does not have
// is not asked for again.
func (s *Server) head(ctx context.Context, t target, revision string, token connectors.Secret) (*answer, error) {
	q := question{method: http.MethodHead, path: t.filePath(revision), token: token, pinned: hf.IsCommit(revision)}
	return s.ask(ctx, q, func(ctx context.Context, a *answer) (string, bool) {
		scope := hf.Scope(token)
		if !a.ok() {
			absent := a.Status == http.StatusNotFound && a.Header["X-Error-Code"] == "EntryNotFound"
			if _, public := s.access(ctx, t, revision, scope, true); public {
				scope = ""
			}
			return scope, absent
		}
		f, err := describe(t, a)
		if err != nil {
			return "", false
		}
		s.noteFile(ctx, t, f, true)
		s.noteAccess(ctx, t, f.Commit, scope)
		s.noteBranch(ctx, t, scope, f.Commit)
		return "", false // the notes say all of it
	})
}

// describe reads the answer to a HEAD of a file.
func describe(t target, a *answer) (hf.File, error) {
	f := hf.File{RepoType: t.kind, Repository: t.repo, Commit: a.Header["X-Repo-Commit"], Path: t.path, Size: -1}
	if f.Commit == "" && hf.IsCommit(t.revision) {
		f.Commit = t.revision
	}
	size, err := strconv.ParseInt(a.Header["X-Linked-Size"], 10, 64)
	if err == nil && size >= 0 {
		f.Size = size
	}
	switch {
	case !hf.IsCommit(f.Commit), hf.IsCommit(t.revision) && f.Commit != t.revision:
		return f, &connectors.Error{Op: "resolve", Source: t.path, Err: wrongAnswer("it does not tell which commit the file is of")}
	case f.Size < 0:
		return f, &connectors.Error{Op: "resolve", Source: t.path, Err: wrongAnswer("it does not tell the size of the file")}
	}
	tag := a.Header["X-Linked-Etag"]
	if tag == "" {
		tag = a.Header["Etag"]
	}
	f = f.WithETag(entityTag(tag))
	if f.SHA256 != nil {
		f.XetHash = a.Header[xetField]
	}
	return f, nil
}

// isPublic asks whether everybody may have the content of a repository at a
// commit. Without a certain answer it is not.
func (s *Server) isPublic(ctx context.Context, t target, commit string, token connectors.Secret) bool {
	if token == "" {
		return true // nobody has shown anything
	}
	about := target{route: routeRevision, kind: t.kind, repo: t.repo, revision: commit}
	query := "expand=sha&expand=private"
	if t.kind != connectors.RepoSpace {
		query += "&expand=gated" // spaces have no such field
	}
	a, err := s.ask(ctx, question{method: http.MethodGet, path: about.apiPath(), query: query, token: token, pinned: true},
		func(ctx context.Context, a *answer) (string, bool) { return s.learn(ctx, about, token, a) })
	if err != nil || !a.ok() {
		return false
	}
	_, public := s.access(ctx, t, commit, hf.Scope(token), true)
	return public
}
