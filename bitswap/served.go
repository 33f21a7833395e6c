package bitswap

import (
	"context"

	boxoblockstore "github.com/ipfs/boxo/blockstore"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
)

// served is the store as boxo's server sees it: without what peers may not have.
// The server takes a block of size 0 for one that it does not have, so that
// nobody could get an empty file: the block of no bytes is said to have one. The
// size is used for accounting only.
type served struct {
	boxoblockstore.Blockstore
	allowed func(ctx context.Context, c cid.Cid) bool // nil: all
}

// hides tells whether peers may not have a block. It is asked when the block is
// about to be sent, too: it may have been wanted before it was here.
func (s served) hides(ctx context.Context, c cid.Cid) bool {
	return s.allowed != nil && !s.allowed(ctx, c)
}

// Has tells whether peers can have a block.
func (s served) Has(ctx context.Context, c cid.Cid) (bool, error) {
	if s.hides(ctx, c) {
		return false, nil
	}
	return s.Blockstore.Has(ctx, c)
}

// Get returns a block.
func (s served) Get(ctx context.Context, c cid.Cid) (blocks.Block, error) {
	if s.hides(ctx, c) {
		return nil, ipld.ErrNotFound{Cid: c}
	}
	return s.Blockstore.Get(ctx, c)
}

// GetSize returns the size of a block in bytes, at least 1.
func (s served) GetSize(ctx context.Context, c cid.Cid) (int, error) {
	if s.hides(ctx, c) {
		return -1, ipld.ErrNotFound{Cid: c}
	}
	n, err := s.Blockstore.GetSize(ctx, c)
	if err == nil && n == 0 {
		n = 1
	}
	return n, err
}
