package ipfs

import (
	"io"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"

	"github.com/hypha-node/hypha-node/bitswap/swarm"
	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/dag"
)

// record returns the store of a fetch into dst. It tells the source where blocks lie as
// soon as they do, so that others can have them before the whole is there.
func record(dst blockstore.Store, src *fetcher) blockstore.Store {
	return dag.Tap{
		Resumed: src.resumed, // what is there of it can be had by others, too
		Leaf: func(from io.ReaderAt, off int64, c cid.Cid, n int) {
			if f := src.running(); f != nil {
				f.Placed(c, off, n, from)
			}
		},
		Blocks: func(blks []blocks.Block) {
			if f := src.running(); f != nil {
				for _, blk := range blks {
					f.Stored(blk.Cid(), len(blk.RawData()))
				}
			}
		},
	}.On(dst)
}

// tell tells a fetch of what is kept of a file.
func tell(f *swarm.Fetch, w blockstore.PartialFile) {
	var off int64
	for c, n := range w.Leaves() {
		f.Placed(c, off, int(n), w)
		off += n
	}
}
