package ipfs

import (
	"bytes"
	"cmp"
	"context"
	"fmt"

	"github.com/hypha-node/hypha-node/bitswap"
	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/connectors"
	"github.com/hypha-node/hypha-node/dag"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
)

// Getter returns a source of single blocks for an operation of the operator's,
// which ends with ctx: the store first, then peers, whose blocks are put into the store. Once it
// has given up on a block it gives up on all that the store does not have.
func (c *Connector) Getter(ctx context.Context) dag.Getter {
	return c.getter(ctx, c.store)
}

// getter makes what Getter returns, which sees what is here through a store.
func (c *Connector) getter(ctx context.Context, here blockstore.Store) *getter {
	return &getter{c: c, here: here, session: c.session(ctx, bitswap.Watch{Stall: c.stall(), Timeout: c.timeout()})}
}

// getter is what Getter returns.
type getter struct {
	c       *Connector
	here    blockstore.Store
	session func() *bitswap.Session
	from    *fetcher // asked before session; may be nil
}

// Get returns one block. Of several concurrent calls none fails for time while
// any of them gets something.
func (g *getter) Get(ctx context.Context, c cid.Cid) (blocks.Block, error) {
	blk, err := g.here.Get(ctx, c)
	if err == nil || !ipld.IsNotFound(err) {
		return blk, err
	}
	s := g.session()
	if s == nil {
		return nil, g.c.explain("get", c.String(), absent{c})
	}
	get := s.Get
	if g.from != nil {
		get = g.from.get
	}
	if blk, err = get(ctx, c); err != nil {
		return nil, g.c.explain("get", c.String(), stalled(err))
	}
	if err := g.c.store.Put(ctx, blk); err != nil {
		return nil, err
	}
	return blk, nil
}

// FromPeers returns a block that the store may have but can't read, under a root
// that peers may be known for, undefined for none. Nothing is stored.
func (c *Connector) FromPeers(ctx context.Context, want, root cid.Cid) (blocks.Block, error) {
	ctx, stop := context.WithCancel(ctx) // ends the session
	defer stop()
	s := c.session(ctx, bitswap.Watch{Stall: c.stall(), Timeout: c.timeout()})()
	if s == nil {
		return nil, c.explain("get", want.String(), absent{want})
	}
	all := []cid.Cid{want}
	if root.Defined() && !root.Equals(want) {
		all = []cid.Cid{root, want} // the first one is whose providers are looked for
	}
	got, err := s.GetBlocks(ctx, all)
	if err != nil {
		return nil, c.explain("get", want.String(), err)
	}
	for blk := range got {
		if bytes.Equal(blk.Cid().Hash(), want.Hash()) {
			return blk, nil
		}
	}
	err = cmp.Or(ctx.Err(), s.Err(), error(connectors.ErrNotFound))
	return nil, c.explain("get", want.String(), stalled(fmt.Errorf("block %s: %w", want, err)))
}
