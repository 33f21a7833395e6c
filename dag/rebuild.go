package dag

import (
	"bytes"
	"errors"
	"fmt"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"

	"github.com/hypha-node/hypha-node/blockstore"
)

// errRebuilt ends a layout that has made what is looked for.
var errRebuilt = errors.New("rebuilt")

// RebuildNode makes an inner node of a file anew from the leaves of the whole file, raw
// ones in the order of the content. It knows the layouts that such files have: 1024
// links a node, and Kubo's older 174, with nodes of either version of CID. Another one
// is an ipld.ErrNotFound.
func RebuildNode(leaves []blockstore.Leaf, node cid.Cid) ([]byte, error) {
	for _, p := range []Profile{{}, {links: V0_2015().width()}, {v0: true}} {
		var data []byte
		b := layout{profile: p, put: func(blk blocks.Block) error {
			if !bytes.Equal(blk.Cid().Hash(), node.Hash()) {
				return nil
			}
			data = blk.RawData()
			return errRebuilt
		}}
		err := b.all(leaves)
		if errors.Is(err, errRebuilt) {
			return data, nil
		}
		if err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("%w: no layout of %d leaves has it", ipld.ErrNotFound{Cid: node}, len(leaves))
}

// all adds the leaves and finishes the tree.
func (b *layout) all(leaves []blockstore.Leaf) error {
	for _, l := range leaves {
		if err := b.leaf(l.CID, int(l.Length), l.Length); err != nil {
			return err
		}
	}
	if len(leaves) == 0 {
		return nil
	}
	_, _, err := b.root()
	return err
}
