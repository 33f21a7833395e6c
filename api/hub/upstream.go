package hub

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/hypha-node/hypha-node/blockstore/memo"
	"github.com/hypha-node/hypha-node/connectors"
	"github.com/hypha-node/hypha-node/connectors/hf"
	httpconn "github.com/hypha-node/hypha-node/connectors/http"
)

// Bounds of what is asked of the upstream.
const (
	maxAnswer = 32 << 20        // bytes of an answer
	maxAsked  = 8               // answers that are read at once
	askLimit  = 2 * time.Minute // for a whole answer
)

// errNoAnswer says that an answer is none: never, unless this package is wrong.
var errNoAnswer = errors.New("no answer")

// errOffline says that the node asks nobody.
var errOffline = errors.New("this node is set to work offline, and it has not been asked for this before")

// question is one request to the upstream for metadata.
type question struct {
	method string
	path   string // escaped
	query  string // raw
	body   []byte
	kind   string // content type of the body
	token  connectors.Secret
	pinned bool // the answer is the same for ever
}

// key returns the key of the answer that a scope may see.
func (q question) key(scope string) string {
	return memo.Key("answer", scope, q.method, q.path, q.query, q.kind, string(q.body))
}

// recall returns what is remembered of a question, nil if nothing is: an answer
// to this credential, or one that anybody may see.
func (s *Server) recall(ctx context.Context, q question) *answer {
	scope := hf.Scope(q.token)
	for _, key := range []string{q.key(scope), q.key("")} {
		if a := unpack(s.cfg.Memo.Get(ctx, key)); a != nil {
			return a
		}
		if scope == "" {
			break
		}
	}
	return nil
}

// keep remembers an answer for a scope.
func (s *Server) keep(ctx context.Context, q question, scope string, a *answer) {
	if record := a.pack(); record != nil {
		s.cfg.Memo.Put(ctx, q.key(scope), record)
	}
}

// ask returns the answer to a question: a remembered one if it is pinned or
// young, else the upstream's, else an old one. learn gets an answer of the
// upstream, and says for which scope it is kept, if it is. An error means that
// the upstream can't be reached and nothing is known.
func (s *Server) ask(ctx context.Context, q question, learn func(context.Context, *answer) (scope string, keep bool)) (*answer, error) {
	old := s.recall(ctx, q)
	if old != nil && (q.pinned || s.young(old.Time, s.cfg.Fresh)) {
		return old, nil
	}
	got, err, _ := s.asking.Do(q.key(hf.Scope(q.token)), func() (any, error) {
		ctx, cancel := s.join(ctx)
		defer cancel()
		a, err := s.put(ctx, q)
		if err != nil || a.failed() {
			return a, err
		}
		scope, keep := learn(ctx, a)
		if a.ok() {
			a.Body = withoutXet(a.Body)
		}
		if keep {
			s.keep(ctx, q, scope, a)
		}
		return a, nil
	})
	a, ok := got.(*answer)
	if !ok && err == nil {
		err = errNoAnswer
	}
	if old != nil && (err != nil || a.failed()) {
		return old, nil
	}
	return a, err
}

// young tells whether a time is less than a while ago.
func (s *Server) young(at int64, while time.Duration) bool {
	age := s.cfg.Now().Sub(time.Unix(at, 0))
	return age < while && age > -while
}

// put puts a question to the upstream, once.
func (s *Server) put(ctx context.Context, q question) (*answer, error) {
	if s.cfg.Offline {
		return nil, errOffline
	}
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	url := s.cfg.Hub.Endpoint() + q.path
	if q.query != "" {
		url += "?" + q.query
	}
	header := http.Header{"Accept": {"application/json"}, "Via": {viaOf(ctx, s.name)}}
	if q.kind != "" {
		header.Set("Content-Type", q.kind)
	}
	secret := http.Header{}
	if q.token != "" {
		secret.Set("Authorization", "Bearer "+q.token.Reveal())
	}
	request := httpconn.Request{Method: q.method, URL: url, Header: header, Secret: secret, Body: q.body}
	if q.method == http.MethodHead {
		request.Stop = describesFile
	}
	resp, err := s.cfg.Client.Do(ctx, request)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return s.read(resp, q)
}

// describesFile tells whether the answer to a HEAD says all of a file, though it
// redirects to where the content is.
func describesFile(resp *http.Response) bool {
	return resp.Header.Get("X-Linked-Etag") != "" || resp.Header.Get("X-Repo-Commit") != ""
}

// read reads an answer.
func (s *Server) read(resp *http.Response, q question) (*answer, error) {
	if e := resp.Header.Get("Content-Encoding"); e != "" && e != "identity" {
		return nil, fmt.Errorf("%w: its answer came encoded although identity was asked for", connectors.ErrUpstream)
	}
	a := newAnswer(resp, s.cfg.Now())
	if q.method == http.MethodHead {
		if resp.StatusCode < http.StatusMultipleChoices && a.Header["X-Linked-Size"] == "" && resp.ContentLength >= 0 {
			a.Header["X-Linked-Size"] = fmt.Sprint(resp.ContentLength)
		}
		return a, nil
	}
	if resp.StatusCode >= http.StatusMultipleChoices && resp.StatusCode < http.StatusBadRequest {
		return nil, fmt.Errorf("%w: it answers %s", connectors.ErrUpstream, strings.ToLower(http.StatusText(resp.StatusCode)))
	}
	var err error
	a.Body, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: %w", connectors.ErrUpstream, err)
	case len(a.Body) > maxAnswer:
		return nil, fmt.Errorf("%w: its answer is larger than %d bytes", connectors.ErrUpstream, maxAnswer)
	}
	return a, nil
}
