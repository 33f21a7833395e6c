package hf

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/hypha-node/hypha-node/connectors"
	httpconn "github.com/hypha-node/hypha-node/connectors/http"
)

// access is what a query knows of its right to read the repository's files.
type access struct {
	asking chan struct{} // holds one element while somebody asks
	known  bool          // guarded by asking
	err    error         // of the hub's refusal; guarded by asking
}

// may asks the hub, without content, whether the reference's own credential (or
// nobody's) may read the repository's files; nil if so. It asks once for all files:
// the hub gives or refuses repositories as a whole. The listing says nothing: that
// of a gated repository is open to everybody.
func (q *query) may(ctx context.Context, path string) error {
	select {
	case q.access.asking <- struct{}{}:
		defer func() { <-q.access.asking }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if q.access.known {
		return q.access.err
	}
	err := q.ask(ctx, path)
	if err == nil || errors.Is(err, connectors.ErrUnauthorized) || errors.Is(err, connectors.ErrNotFound) {
		q.access.known, q.access.err = true, err
	}
	return err
}

// ask asks for the header of one of the repository's files, unless it is known that
// everybody may read it.
func (q *query) ask(ctx context.Context, path string) error {
	if q.public {
		return nil
	}
	if q.offline {
		return q.away()
	}
	resp, err := q.client.Do(ctx, httpconn.Request{
		Method: http.MethodHead, URL: q.fileURL(path), Secret: q.secret, Operator: q.acc.Operator,
		Stop: func(resp *http.Response) bool { // where the content is needs no visit, a new name does
			to, err := resp.Request.URL.Parse(resp.Header.Get("Location"))
			return err != nil || !strings.HasPrefix(to.String(), q.base+"/") || !strings.Contains(to.Path, "/resolve/")
		},
	})
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode < http.StatusBadRequest {
		return nil
	}
	if err := q.explain(resp); err != nil {
		return err
	}
	return q.upstream("the hub answered %s", resp.Status)
}
