package hf

import (
	"context"
	"iter"
	"net/http"
	"net/url"
	"strings"

	"github.com/hypha-node/hypha-node/blockstore/memo"
	"github.com/hypha-node/hypha-node/connectors"
	httpconn "github.com/hypha-node/hypha-node/connectors/http"
	"github.com/hypha-node/hypha-node/connectors/xet"
	"github.com/hypha-node/hypha-node/internal/safename"
)

// mainRevision is what a reference without a revision means.
const mainRevision = "main"

// Connector turns Hub references into items.
type Connector struct {
	cfg   Config
	xet   *xet.Client
	known Known // nil: nothing is
}

// Known tells what is stored of a file under an item's key, for those who have the
// scope: nothing is asked for of a file that is known at a commit.
type Known func(ctx context.Context, key, scope string) (File, bool)

var _ connectors.Connector = (*Connector)(nil)

// New returns a connector; it has nothing to close.
func New(cfg Config) *Connector {
	if cfg.Endpoint = strings.TrimRight(cfg.Endpoint, "/"); cfg.Endpoint == "" {
		cfg.Endpoint = DefaultEndpoint
	}
	return &Connector{cfg: cfg, xet: xet.New(cfg.Client)}
}

// Knowing returns a connector that is told what is stored.
func (c *Connector) Knowing(known Known) *Connector {
	return &Connector{cfg: c.cfg, xet: c.xet, known: known}
}

// Supports takes references of type huggingface.
func (c *Connector) Supports(ref connectors.Ref) bool { return ref.Type == connectors.TypeHuggingFace }

// Items yields the files that the reference names, in its order (a directory
// stands for the files below it), or those of the listing that its patterns
// choose. A named file that does not exist is an ErrNotFound.
func (c *Connector) Items(ctx context.Context, ref connectors.Ref, acc connectors.Access) iter.Seq2[connectors.Item, error] {
	return func(yield func(connectors.Item, error) bool) {
		q, err := c.begin(ctx, ref, acc)
		if err != nil {
			yield(connectors.Item{}, err)
			return
		}
		files := q.listed(ctx)
		if ref.HasFilenames {
			files = q.named(ctx)
		}
		for e, err := range files {
			var it connectors.Item
			if err == nil {
				it, err = q.item(e)
			}
			if !yield(it, err) || err != nil {
				return
			}
		}
	}
}

// query is one reference being resolved.
type query struct {
	client *httpconn.Client
	xet    *xet.Client // nil: HTTP alone
	first  bool        // xet is tried first
	base   string      // endpoint
	ref    connectors.Ref
	acc    connectors.Access
	secret http.Header // the token
	commit string      // what every URL names
	scope  string      // of the content; "" when it is public
	public bool        // anybody may have the content, for certain
	access access
	stored Known       // nil: nothing is
	memo   *memo.Table // nil: nothing is remembered

	offline bool // the hub can't be asked
}

// newQuery returns a query that acts with the token; "" is nobody's.
func (c *Connector) newQuery(ref connectors.Ref, token connectors.Secret, acc connectors.Access) *query {
	q := &query{client: c.cfg.Client, base: c.cfg.Endpoint, ref: ref, acc: acc, secret: http.Header{}, stored: c.known, memo: c.cfg.Memo, offline: c.cfg.Offline}
	q.access.asking = make(chan struct{}, 1)
	if c.cfg.Transport != TransportHTTP {
		q.xet, q.first = c.xet, c.cfg.Transport == TransportXet
	}
	if token != "" {
		q.secret.Set("Authorization", "Bearer "+token.Reveal())
		q.scope = Scope(token)
	}
	return q
}

// begin finds out the commit.
func (c *Connector) begin(ctx context.Context, ref connectors.Ref, acc connectors.Access) (*query, error) {
	token := ref.Token
	if token == "" {
		token = c.cfg.Token
	}
	q := c.newQuery(ref, token, acc)
	if isCommit(ref.Revision) {
		q.commit = ref.Revision
		return q, nil
	}
	info, err := q.revision(ctx)
	if err != nil {
		if !c.cfg.Offline || !q.remembered(ctx) {
			return nil, err
		}
		return q, nil
	}
	q.commit = info.SHA
	if q.public = info.public(ref.RepoType); q.public {
		q.scope = ""
	}
	q.rememberCommit(ctx)
	return q, nil
}

// item turns an entry of the repository into an item.
func (q *query) item(e entry) (connectors.Item, error) {
	if e.stored != nil {
		return q.itemOf(*e.stored)
	}
	if e.Size < 0 {
		return connectors.Item{}, q.upstream("the size of %s is negative", e.Path)
	}
	return q.itemOf(e.file(q.ref, q.commit))
}

// itemOf turns a file of the repository into an item.
func (q *query) itemOf(f File) (connectors.Item, error) {
	if err := safename.Path(f.Path); err != nil {
		return connectors.Item{}, q.upstream("a file of the repository is refused: %w", err)
	}
	it := connectors.Item{
		Path:     f.Path,
		Size:     f.Size,
		Source:   "huggingface",
		URL:      q.fileURL(f.Path),
		SHA256:   f.SHA256,
		GitSHA1:  f.GitSHA1,
		Key:      q.key(f.Path),
		Pinned:   true,
		Revision: q.commit,
		ETag:     f.ETag,
		Scope:    q.scope,
	}
	target := httpconn.Target{
		URL: it.URL, Secret: q.secret, Operator: q.acc.Operator, Size: it.Size,
		Digest:  it.SHA256 != nil || it.GitSHA1 != nil,
		Explain: q.explain,
	}
	if it.Size <= connectors.MaxPointer {
		target.Check = q.notPointer(f.Path)
	}
	if q.xet != nil && it.SHA256 != nil && xet.IsHash(f.XetHash) {
		target.Other, target.OtherFirst = q.xet.Transport(xet.File{
			Hash: f.XetHash, URL: it.URL, TokenURL: q.apiURL("xet-read-token", q.commit),
			Secret: q.secret, Operator: q.acc.Operator, Explain: q.explain,
		}), q.first
	}
	it.May = func(ctx context.Context) error { return q.may(ctx, f.Path) }
	it.Open = q.opener(target)
	if target.Other != nil {
		target.Other = nil
		it.Direct = q.opener(target)
	}
	return it, nil
}

// opener returns what opens a file at the commit.
func (q *query) opener(target httpconn.Target) func(ctx context.Context, off, n int64, cond []byte) (*connectors.Body, error) {
	return func(ctx context.Context, off, n int64, cond []byte) (*connectors.Body, error) {
		if q.offline {
			return nil, q.away()
		}
		if off == 0 {
			cond = nil // a commit does not change: there is nothing to ask
		}
		return q.client.Open(ctx, target, off, n, cond)
	}
}

// key returns the key of a file at the commit.
func (q *query) key(path string) string {
	return "hf:" + q.ref.RepoType + "/" + q.ref.Repository + "@" + q.commit + "/" + path
}

// known returns what is known of some files without a request, and the names of which
// nothing is: all is known where the commit's listing is remembered. Of what is stored
// and private the hub is asked whether the credential still passes, unless it can't be.
func (q *query) known(ctx context.Context, names []string) (known map[string]entry, ask []string) {
	known = map[string]entry{}
	if list, ok := q.recall(ctx, ""); ok {
		for _, e := range list {
			known[e.Path] = e
		}
		return known, nil
	}
	if q.stored == nil {
		return known, names
	}
	scope := ""
	if q.offline {
		scope = q.scope
	}
	for _, name := range names {
		if f, ok := q.stored(ctx, q.key(name), scope); ok {
			f.RepoType, f.Repository, f.Commit, f.Path = q.ref.RepoType, q.ref.Repository, q.commit, name
			known[name] = entry{Type: "file", Path: name, Size: f.Size, stored: &f}
		} else {
			ask = append(ask, name)
		}
	}
	return known, ask
}

// fileURL returns the URL of a file at the commit.
func (q *query) fileURL(path string) string {
	return q.base + repoPrefix(q.ref.RepoType) + q.ref.Repository + "/resolve/" + q.commit + "/" + escapePath(path)
}

// apiURL returns the URL of an API route of the repository; the revision is
// one segment, its slashes are escaped.
func (q *query) apiURL(route, revision string) string {
	return q.base + "/api/" + q.ref.RepoType + "s/" + q.ref.Repository + "/" + route + "/" + url.PathEscape(revision)
}

// repoPrefix returns what stands before a repository in the URL of a file.
func repoPrefix(kind string) string {
	if kind == connectors.RepoModel {
		return "/"
	}
	return "/" + kind + "s/"
}

// escapePath escapes each segment of a path.
func escapePath(path string) string {
	parts := strings.Split(path, "/")
	for i, part := range parts {
		parts[i] = url.PathEscape(part)
	}
	return strings.Join(parts, "/")
}

// isCommit tells whether a revision is a commit by its form: 40 hex digits.
func isCommit(s string) bool { return parseSHA1(s) != nil }

// revisionOrMain returns the revision that was asked for.
func (q *query) revisionOrMain() string {
	if q.ref.Revision == "" {
		return mainRevision
	}
	return q.ref.Revision
}
