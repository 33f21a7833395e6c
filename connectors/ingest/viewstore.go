package ingest

import (
	"io"

	"github.com/ipfs/go-cid"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/dag"
)

// partOf returns a store that tells a part what is written of the file that is
// imported into s next, and that keeps beginnings of files if s does. What is there of a
// file that is gone on with is not shown before it is known that the rest can be had.
func partOf(s blockstore.Store, p *part) blockstore.Store {
	return dag.Tap{
		Begun: p.open,
		Leaf:  func(_ io.ReaderAt, off int64, _ cid.Cid, n int) { p.add(off, int64(n)) },
	}.On(s)
}
