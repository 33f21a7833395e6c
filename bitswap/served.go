package bitswap

import (
	"context"

	boxoblockstore "github.com/ipfs/boxo/blockstore"
	"github.com/ipfs/go-cid"
)

// served is the store as boxo's server sees it. The server takes a block of size 0 for
// one that it does not have, so that nobody could get an empty file: the block of no
// bytes is said to have one. The size is used for accounting only.
type served struct {
	boxoblockstore.Blockstore
}

// GetSize returns the size of a block in bytes, at least 1.
func (s served) GetSize(ctx context.Context, c cid.Cid) (int, error) {
	n, err := s.Blockstore.GetSize(ctx, c)
	if err == nil && n == 0 {
		n = 1
	}
	return n, err
}
