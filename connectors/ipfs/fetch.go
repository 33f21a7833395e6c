package ipfs

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hypha-node/hypha-node/bitswap"
	"github.com/hypha-node/hypha-node/bitswap/swarm"
	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/connectors"
	"github.com/hypha-node/hypha-node/dag"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
	"github.com/libp2p/go-libp2p/core/peer"
)

// backstop is how many timeouts dag.Copy waits by itself: more than a session
// ever does, which sees the bytes of blocks that are not complete yet.
const backstop = 12

// Fetch is FetchInto for the operator, who sees a private root and all that is
// under it. What is under another one must be public, or come from peers: they may
// have made it of what they want to be published.
func (c *Connector) Fetch(ctx context.Context, root cid.Cid, o dag.CopyOptions) (dag.Entry, error) {
	dst := c.store.Scope("")
	private, err := blockstore.IsPrivate(ctx, c.store, root)
	if err != nil {
		return dag.Entry{}, err
	}
	if private {
		dst = c.store.Scope(blockstore.Operator)
	}
	return c.FetchInto(ctx, dst, root, o)
}

// FetchInto copies the whole DAG under root into a store, as dag.Copy does: what
// the store has already is not asked for, and with all of it there no peer is
// needed. Stall and Timeout of o default to the connector's. Peers that wait for
// the content are served once it is complete.
func (c *Connector) FetchInto(ctx context.Context, dst blockstore.Store, root cid.Cid, o dag.CopyOptions) (dag.Entry, error) {
	ctx, cancel := context.WithCancel(ctx) // ends the session
	defer cancel()
	if o.Stall <= 0 {
		o.Stall = c.stall()
	}
	if o.Timeout <= 0 {
		o.Timeout = c.timeout()
	}
	src := &fetcher{c: c, root: root, patience: o.Stall, session: c.session(ctx, bitswap.Watch{Stall: o.Stall, Timeout: o.Timeout})}
	o.Timeout *= backstop
	e, err := dag.Copy(ctx, record(dst, src), src, root, o)
	src.close()
	if err != nil {
		return dag.Entry{}, c.explain("fetch", root.String(), src.why(err))
	}
	if fetch := src.running(); fetch != nil {
		e.Saved = fetch.Saved()
	}
	if c.ex != nil {
		c.ex.Notify()
	}
	return e, nil
}

// session returns a function that makes one session at its first call, nil when
// the connector is offline.
func (c *Connector) session(ctx context.Context, w bitswap.Watch) func() *bitswap.Session {
	return sync.OnceValue(func() *bitswap.Session {
		if c.ex == nil {
			return nil
		}
		return c.ex.WatchedSession(ctx, w)
	})
}

// fetcher is the network as dag.Copy sees it: peers that speak the protocol of package
// swarm, and bitswap's for what they don't have.
type fetcher struct {
	c        *Connector
	root     cid.Cid
	patience time.Duration
	session  func() *bitswap.Session
	peek     bool // what comes is looked at only

	mu    sync.Mutex
	fetch *swarm.Fetch // nil until something is asked for
	early []node       // that were seen before
	kept  []blockstore.PartialFile
}

// node is what a node links to.
type node struct {
	cid   cid.Cid
	links []cid.Cid
}

// GetBlocks asks peers for blocks; offline it fails.
func (f *fetcher) GetBlocks(ctx context.Context, cs []cid.Cid) (<-chan blocks.Block, error) {
	if f.c.ex == nil {
		return nil, absent{cs[0]}
	}
	return f.begun(ctx).GetBlocks(ctx, cs)
}

// get gets one block, as Session.Get does.
func (f *fetcher) get(ctx context.Context, c cid.Cid) (blocks.Block, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	got, err := f.GetBlocks(ctx, []cid.Cid{c})
	if err != nil {
		return nil, err
	}
	if blk, ok := <-got; ok {
		return blk, nil
	}
	for _, err := range []error{ctx.Err(), f.session().Err(), f.running().Err()} {
		if errors.Is(err, bitswap.ErrStalled) {
			return nil, err // names a block itself
		}
		if err != nil {
			return nil, fmt.Errorf("block %s: %w", c, err)
		}
	}
	return nil, fmt.Errorf("block %s: %w", c, bitswap.ErrClosed)
}

// fallback asks peers by bitswap.
func (f *fetcher) fallback(ctx context.Context, cs []cid.Cid) (<-chan blocks.Block, error) {
	return f.session().GetBlocks(ctx, cs)
}

// providers looks for those who have the root.
func (f *fetcher) providers(ctx context.Context) <-chan peer.AddrInfo {
	return f.c.ex.FindProviders(ctx, f.root)
}

// Links notes what a node links to.
func (f *fetcher) Links(id cid.Cid, links []cid.Cid) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fetch == nil {
		f.early = append(f.early, node{id, links})
		return
	}
	f.fetch.Links(id, links)
}

// begun returns the fetch, which begins with the first call.
func (f *fetcher) begun(ctx context.Context) *swarm.Fetch {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fetch != nil {
		return f.fetch
	}
	f.fetch = f.c.ex.Swarm().Fetch(context.WithoutCancel(ctx), f.root, swarm.Options{
		Fallback: f.fallback, Providers: f.providers, Locate: f.c.ex.FindPeer, Patience: f.patience, Peek: f.peek,
	})
	for _, n := range f.early {
		f.fetch.Links(n.cid, n.links)
	}
	for _, w := range f.kept {
		tell(f.fetch, w)
	}
	f.early, f.kept = nil, nil
	return f.fetch
}

// resumed notes that a file is gone on with.
func (f *fetcher) resumed(w blockstore.PartialFile) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fetch == nil {
		f.kept = append(f.kept, w)
		return
	}
	tell(f.fetch, w)
}

// running returns the fetch, nil when nothing was asked for.
func (f *fetcher) running() *swarm.Fetch {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fetch
}

// close ends the fetch. Nothing is asked for any more.
func (f *fetcher) close() {
	if fetch := f.running(); fetch != nil {
		fetch.Close()
	}
}

// why returns the reason for which the session gave up, if it did: dag.Copy only
// sees that a block did not come.
func (f *fetcher) why(err error) error {
	if !ipld.IsNotFound(err) {
		return err
	}
	if s := f.session(); s != nil && errors.Is(s.Err(), bitswap.ErrStalled) {
		return stalled(s.Err())
	}
	if fetch := f.running(); fetch != nil && errors.Is(fetch.Err(), bitswap.ErrNoPeers) {
		return fetch.Err()
	}
	return err
}

// stalled makes an error of bitswap one of dag, where nothing came in time.
func stalled(err error) error {
	if errors.Is(err, bitswap.ErrStalled) {
		return fmt.Errorf("%w: %w", dag.ErrNoProgress, err)
	}
	return err
}

// missing tells whether an error is about content that nobody has.
func missing(err error) bool {
	return errors.Is(err, bitswap.ErrNoPeers) || errors.Is(err, dag.ErrNoProgress) ||
		errors.Is(err, connectors.ErrNotFound) || ipld.IsNotFound(err)
}
