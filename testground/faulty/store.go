// Package faulty has the stores of nodes that don't do what they say.
package faulty

import (
	"context"

	boxoblockstore "github.com/ipfs/boxo/blockstore"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/testground/cases"
)

// Store returns what a node with a fault serves peers from.
func Store(store *blockstore.Disk, fault cases.Fault) boxoblockstore.Blockstore {
	switch fault {
	case cases.Corrupt:
		return corrupt{store}
	case cases.Mute:
		return mute{store}
	default:
		return store
	}
}

// corrupt serves other bytes than those that are asked for, but for nodes.
type corrupt struct{ *blockstore.Disk }

// View implements blockstore.Store.
func (s corrupt) View(ctx context.Context, c cid.Cid, f func([]byte) error) error {
	return s.Disk.View(ctx, c, func(data []byte) error {
		if c.Type() == cid.Raw {
			data = append([]byte{data[0] + 1}, data[1:]...)
		}
		return f(data)
	})
}

// Pass implements blockstore.Passer.
func (s corrupt) Pass(ctx context.Context, c cid.Cid, f func([]byte) error) error {
	return s.View(ctx, c, f)
}

// Get implements blockstore.Store.
func (s corrupt) Get(ctx context.Context, c cid.Cid) (blocks.Block, error) {
	var blk blocks.Block
	err := s.View(ctx, c, func(data []byte) (err error) {
		blk, err = blocks.NewBlockWithCid(append([]byte{}, data...), c)
		return err
	})
	return blk, err
}

// mute has everything and sends nothing but nodes.
type mute struct{ *blockstore.Disk }

// View implements blockstore.Store.
func (s mute) View(ctx context.Context, c cid.Cid, f func([]byte) error) error {
	if c.Type() == cid.Raw {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	return s.Disk.View(ctx, c, f)
}

// Pass implements blockstore.Passer.
func (s mute) Pass(ctx context.Context, c cid.Cid, f func([]byte) error) error {
	return s.View(ctx, c, f)
}

// Get implements blockstore.Store.
func (s mute) Get(ctx context.Context, c cid.Cid) (blocks.Block, error) {
	if c.Type() == cid.Raw {
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}
	return s.Disk.Get(ctx, c)
}
