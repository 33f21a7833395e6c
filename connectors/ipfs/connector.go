package ipfs

import (
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
func (c *Connector) Items(ctx context.Context, ref connectors.Ref, _ connectors.Access) iter.Seq2[connectors.Item, error] {
	return func(yield func(connectors.Item, error) bool) {
		ctx, cancel := context.WithCancel(ctx) // ends the session
		var ahead sync.WaitGroup
		defer ahead.Wait()
		defer cancel()
		src := newListing(c.getter(ctx))
		ahead.Go(func() { src.ahead(ctx) })
		for _, value := range ref.Values {
			for it, err := range c.items(ctx, src, ref, value) {
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
func (c *Connector) items(ctx context.Context, src dag.Getter, ref connectors.Ref, value string) iter.Seq2[connectors.Item, error] {
	return func(yield func(connectors.Item, error) bool) {
		text, inside, _ := strings.Cut(value, "/")
		root, err := cid.Decode(text)
		if err != nil {
			yield(connectors.Item{}, fmt.Errorf("%w: %w", connectors.ErrInvalid, err))
			return
		}
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
			it := c.item(ctx, dag.Entry{Path: name(ref, text, inside), Cid: target, Size: info.Size}, value)
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
func (c *Connector) stat(ctx context.Context, src dag.Getter, target cid.Cid) (dag.Info, error) {
	if target.Type() != cid.Raw {
		return dag.Stat(ctx, src, target)
	}
	size, err := c.store.GetSize(ctx, target)
	if ipld.IsNotFound(err) {
		size, err = -1, nil
	}
	return dag.Info{Cid: target, Type: dag.TypeFile, Size: int64(size)}, err
}

// walk yields the files under a directory.
func (c *Connector) walk(ctx context.Context, src dag.Getter, value string, dir cid.Cid, yield func(connectors.Item, error) bool) {
	for e, err := range dag.Walk(ctx, src, dir, c.Limits) {
		if err != nil {
			yield(connectors.Item{}, err)
			return
		}
		if e.Type == dag.TypeFile && !yield(c.item(ctx, e, value+"/"+e.Path), nil) {
			return
		}
	}
}

// item describes one file.
func (c *Connector) item(ctx context.Context, e dag.Entry, value string) connectors.Item {
	it := connectors.Item{Path: e.Path, Size: e.Size, Source: "cid", URL: "ipfs://" + value, Root: e.Cid, SHA256: e.SHA256}
	// The digest is known when the file is here; an error only means that it is not.
	if f, err := c.store.File(ctx, e.Cid); err == nil {
		it.SHA256 = &f.SHA256
	}
	return it
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
		e.Hint = "the node is offline: start it with `hypha-node daemon`"
	case errors.Is(err, bitswap.ErrNoPeers):
		e.Hint = "connect to a node that has it: `hypha-node connect ADDRESS`"
	}
	return e
}
