package ipfs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/hypha-node/hypha-node/bitswap"
	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/connectors"
	"github.com/hypha-node/hypha-node/dag"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
)

// Defaults of a Connector.
const (
	DefaultStall   = 15 * time.Second // without a block, before other providers are looked for
	DefaultTimeout = 30 * time.Second // without a block, before an operation fails
)

// Connector resolves and fetches content by CID. The exported fields may be set
// before the first use; zero means the default. It is safe for concurrent use.
type Connector struct {
	Stall   time.Duration // DefaultStall
	Timeout time.Duration // DefaultTimeout
	Limits  dag.Limits    // of directories that Items walks

	store blockstore.Store
	ex    *bitswap.Exchange
}

var _ connectors.Connector = (*Connector)(nil)

// New makes a connector. With a nil exchange it is offline and knows what the
// store has.
func New(store blockstore.Store, ex *bitswap.Exchange) *Connector {
	return &Connector{store: store, ex: ex}
}

// WithTimeout returns a connector that differs in Timeout alone; 0 means
// DefaultTimeout.
func (c *Connector) WithTimeout(d time.Duration) *Connector {
	other := *c
	other.Timeout = d
	return &other
}

// stall returns the effective Stall.
func (c *Connector) stall() time.Duration {
	if c.Stall > 0 {
		return c.Stall
	}
	return DefaultStall
}

// timeout returns the effective Timeout.
func (c *Connector) timeout() time.Duration {
	if c.Timeout > 0 {
		return c.Timeout
	}
	return DefaultTimeout
}

// Supports tells whether the reference is a list of CIDs.
func (c *Connector) Supports(ref connectors.Ref) bool { return ref.Type == connectors.TypeCIDs }

// Items yields the files that the CIDs of the reference stand for: a file by
// itself, a directory as all files under it, with paths relative to it. Links in
// directories are not files and are left out. Sizes are what the DAG claims; that
// of a single raw block that is not here is unknown. A single file is named by the
// reference's Filename, else by the end of its path, else by its CID.
func (c *Connector) Items(ctx context.Context, ref connectors.Ref, acc connectors.Access) iter.Seq2[connectors.Item, error] {
	return func(yield func(connectors.Item, error) bool) {
		ctx, cancel := context.WithCancel(ctx) // ends the session
		var ahead sync.WaitGroup
		src := newListing(c.getter(ctx, c.store))
		defer src.close()
		defer ahead.Wait()
		defer cancel()
		ahead.Go(func() { src.ahead(ctx) })
		for _, value := range ref.Values {
			for it, err := range c.items(ctx, src, ref, value, acc) {
				if err != nil {
					yield(connectors.Item{}, c.explain("resolve", value, err))
					return
				}
				if !yield(it, nil) {
					return
				}
			}
		}
	}
}

// items yields the files of one "cid" or "cid/path".
func (c *Connector) items(ctx context.Context, all *listing, ref connectors.Ref, value string, acc connectors.Access) iter.Seq2[connectors.Item, error] {
	return func(yield func(connectors.Item, error) bool) {
		text, inside, _ := strings.Cut(value, "/")
		root, err := cid.Decode(text)
		if err != nil {
			yield(connectors.Item{}, fmt.Errorf("%w: %w", connectors.ErrInvalid, err))
			return
		}
		here, err := c.visible(ctx, root, acc)
		if err != nil {
			yield(connectors.Item{}, err)
			return
		}
		src := all.in(root, here, acc)
		target, err := dag.Resolve(ctx, src, root, inside)
		if err != nil {
			yield(connectors.Item{}, err)
			return
		}
		info, err := c.stat(ctx, src, target)
		if err != nil {
			yield(connectors.Item{}, err)
			return
		}
		switch info.Type {
		case dag.TypeDir:
			c.walk(ctx, src, value, target, yield)
		case dag.TypeFile:
			it, err := c.item(ctx, src, dag.Entry{Path: name(ref, text, inside), Cid: target, Size: info.Size})
			if err != nil {
				yield(connectors.Item{}, err)
				return
			}
			it.URL = "ipfs://" + value
			if sum := ref.SHA256(); sum != nil {
				it.SHA256 = sum
			}
			yield(it, nil)
		default:
			yield(connectors.Item{}, fmt.Errorf("%w: it is a %s", dag.ErrNotFile, info.Type))
		}
	}
}

// stat looks at the root block of what a value names. A raw block is a file, and
// fetching it would be fetching the file: without it only its size is unknown.
func (c *Connector) stat(ctx context.Context, src *scopedListing, target cid.Cid) (dag.Info, error) {
	if target.Type() != cid.Raw {
		return dag.Stat(ctx, src, target)
	}
	size, err := src.own.here.GetSize(ctx, target)
	if ipld.IsNotFound(err) {
		size, err = -1, nil
	}
	return dag.Info{Cid: target, Type: dag.TypeFile, Size: int64(size)}, err
}

// walk yields the files under a directory.
func (c *Connector) walk(ctx context.Context, src *scopedListing, value string, dir cid.Cid, yield func(connectors.Item, error) bool) {
	for e, err := range dag.Walk(ctx, src, dir, c.Limits) {
		if err != nil {
			yield(connectors.Item{}, err)
			return
		}
		if e.Type != dag.TypeFile {
			continue
		}
		it, err := c.item(ctx, src, e)
		it.URL = "ipfs://" + value + "/" + e.Path
		if !yield(it, err) || err != nil {
			return
		}
	}
}

// visible returns the store as who acts sees it below a root. All that is under a
// private root came with it, so that whoever may have the one may have the other;
// what others can make a root of is judged block by block.
func (c *Connector) visible(ctx context.Context, root cid.Cid, acc connectors.Access) (blockstore.Store, error) {
	if acc.Operator {
		return c.store, nil
	}
	who, err := c.store.Audience(ctx, root)
	if err != nil && !ipld.IsNotFound(err) {
		return nil, err
	}
	if err == nil && !who.Public && who.Admits(acc.Scope) {
		return c.store, nil
	}
	return c.store.Scope(acc.Scope), nil
}

// item describes one file.
func (c *Connector) item(ctx context.Context, src *scopedListing, e dag.Entry) (connectors.Item, error) {
	it := connectors.Item{Path: e.Path, Size: e.Size, Source: "cid", Root: e.Cid, SHA256: e.SHA256}
	// The digest is known when the file is here; an error only means that it is not.
	f, err := src.own.here.File(ctx, e.Cid)
	if err != nil {
		return it, nil //nolint:nilerr // as the comment says
	}
	it.SHA256 = &f.SHA256
	private, err := blockstore.IsPrivate(ctx, c.store, e.Cid)
	if private {
		it.Scope = cmp.Or(src.acc.Scope, blockstore.Operator)
	}
	return it, err
}

// name is the name of a single file.
func name(ref connectors.Ref, root, inside string) string {
	if ref.Filename != "" {
		return ref.Filename
	}
	if inside != "" {
		return path.Base(inside)
	}
	return root
}

// explain turns an error into one that says what to do. Errors that are not
// about missing content are passed on.
func (c *Connector) explain(op, value string, err error) error {
	var known *connectors.Error
	if errors.As(err, &known) || !missing(err) {
		return err
	}
	e := &connectors.Error{Op: op, Source: "ipfs://" + value, Err: err}
	if !errors.Is(err, connectors.ErrNotFound) {
		e.Err = fmt.Errorf("%w: %w", connectors.ErrNotFound, err)
	}
	switch {
	case c.ex == nil:
		e.Err = offline(value, err)
		e.Hint = "the node is offline: start it with `hypha-node daemon`, and do this again"
	case errors.Is(err, bitswap.ErrNoPeers):
		e.Hint = "connect to a node that has it: `hypha-node connect ADDRESS`"
	}
	return e
}

// absent is the error for a block that is not here, where no peers are asked.
type absent struct{ cid cid.Cid }

// Error implements error.
func (a absent) Error() string { return fmt.Sprintf("block %s: %v", a.cid, connectors.ErrNotFound) }

// Unwrap has it be what stores and connectors say.
func (a absent) Unwrap() []error {
	return []error{connectors.ErrNotFound, ipld.ErrNotFound{Cid: a.cid}}
}

// offline says once what is not here: of what is named by value all, or a block of it.
func offline(value string, err error) error {
	var lacks ipld.ErrNotFound
	if !errors.As(err, &lacks) || value == lacks.Cid.String() {
		return fmt.Errorf("%w in this node's store, and no peers are asked", connectors.ErrNotFound)
	}
	return fmt.Errorf("block %s: %w in this node's store, and no peers are asked", lacks.Cid, connectors.ErrNotFound)
}
