package hub

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/hypha-node/hypha-node/connectors"
	"github.com/hypha-node/hypha-node/connectors/hf"
)

// Bounds of the body of a request.
const (
	maxBody  = 4 << 20 // bytes
	bodyTime = 30 * time.Second
)

// meta answers a route of the API.
func (s *Server) meta(w http.ResponseWriter, r *http.Request, t target, token connectors.Secret) {
	q := question{method: http.MethodGet, path: t.apiPath(), query: r.URL.RawQuery, token: token, pinned: hf.IsCommit(t.revision)}
	wanted := []string{http.MethodGet, http.MethodHead}
	if t.route == routePaths {
		wanted = []string{http.MethodPost}
	}
	if !allow(w, r, wanted...) {
		return
	}
	if t.route == routePaths {
		q.method, q.kind = http.MethodPost, r.Header.Get("Content-Type")
		var err error
		if q.body, err = readBody(w, r); err != nil {
			return
		}
	}
	a, err := s.ask(r.Context(), q, func(ctx context.Context, a *answer) (string, bool) { return s.learn(ctx, t, token, a) })
	if err != nil {
		s.unreachable(w, r, err)
		return
	}
	a.write(w, r, baseOf(r))
}

// readBody reads the body of a request, which it answers if that fails.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	control := http.NewResponseController(w)
	limited := control.SetReadDeadline(time.Now().Add(bodyTime)) == nil
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if limited {
		err = errors.Join(err, control.SetReadDeadline(time.Time{}))
	}
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		refuse(w, r, http.StatusRequestEntityTooLarge, "", "the body is too large")
	} else if err != nil {
		refuse(w, r, http.StatusBadRequest, "", "the body can't be read")
	}
	return body, err
}

// learn takes from an answer what it says of files, commits and access, and
// tells whether it is kept, and for whom.
func (s *Server) learn(ctx context.Context, t target, token connectors.Secret, a *answer) (scope string, keep bool) {
	if a.Status != http.StatusOK {
		return "", false
	}
	scope = hf.Scope(token)
	commit := t.revision
	switch t.route {
	case routeInfo, routeRevision:
		var public bool
		if commit, public = hf.Commit(a.Body, t.kind); commit == "" {
			break
		}
		if public {
			s.noteAccess(ctx, t, commit, "")
		}
		if t.route == routeRevision {
			s.noteBranch(ctx, t, scope, commit)
		}
	case routeTree, routePaths:
		if !hf.IsCommit(commit) {
			commit = a.Header["X-Repo-Commit"]
		}
		if hf.IsCommit(commit) {
			s.noteListing(ctx, t, commit, a.Body)
		}
	}
	if hf.IsCommit(t.revision) {
		if _, public := s.access(ctx, t, t.revision, scope, false); public {
			scope = ""
		}
	}
	return scope, true
}

// whoami asks the upstream who has a token; nothing of it is kept.
func (s *Server) whoami(w http.ResponseWriter, r *http.Request, token connectors.Secret) {
	if !allow(w, r, http.MethodGet, http.MethodHead) {
		return
	}
	ctx, cancel := s.join(r.Context())
	defer cancel()
	a, err := s.put(ctx, question{method: http.MethodGet, path: "/api/whoami-v2", token: token})
	if err != nil {
		s.unreachable(w, r, err)
		return
	}
	a.write(w, r, baseOf(r))
}
