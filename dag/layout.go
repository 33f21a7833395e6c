package dag

import (
	"crypto/sha256"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
)

// layout builds the balanced tree over leaves that come in order. It holds at
// most one unfinished node per level; put gets each finished node, children
// before parents.
type layout struct {
	profile Profile
	put     func(blocks.Block) error
	levels  []level
}

// level is the unfinished node of one level of the tree.
type level struct {
	links []link
	parts []int64 // bytes of content below each link
	size  int64   // sum of parts
}

// leaf adds the next leaf: a block of n bytes with size bytes of content.
func (b *layout) leaf(c cid.Cid, n int, size int64) error {
	return b.add(0, newLink(c, n, 0), size)
}

// add appends a link to the unfinished node of a level, and when that was full
// already, finishes it first. A full node is not finished before there is more:
// it may be the root.
func (b *layout) add(at int, l link, size int64) error {
	if at == len(b.levels) {
		b.levels = append(b.levels, level{})
	}
	if len(b.levels[at].links) == b.profile.width() {
		if err := b.finish(at); err != nil {
			return err
		}
	}
	lv := &b.levels[at]
	lv.links = append(lv.links, l)
	lv.parts = append(lv.parts, size)
	lv.size += size
	return nil
}

// finish encodes the unfinished node of a level and adds it to the next one.
func (b *layout) finish(at int) error {
	lv := &b.levels[at]
	blk := pbBlock(b.profile, lv.links, fileData(lv.size, lv.parts))
	if err := b.put(blk); err != nil {
		return err
	}
	var below uint64
	for _, l := range lv.links {
		below += l.size
	}
	l, size := newLink(blk.Cid(), len(blk.RawData()), below), lv.size
	lv.links, lv.parts, lv.size = lv.links[:0], lv.parts[:0], 0
	return b.add(at+1, l, size)
}

// root finishes what is unfinished and returns the root and the bytes of all
// blocks together. At least one leaf was added.
func (b *layout) root() (cid.Cid, uint64, error) {
	for at := 0; ; at++ {
		if at == len(b.levels)-1 && len(b.levels[at].links) == 1 {
			l := b.levels[at].links[0]
			return l.cid, l.size, nil
		}
		if err := b.finish(at); err != nil {
			return cid.Undef, 0, err
		}
	}
}

// pbBlock encodes a dag-pb block.
func pbBlock(p Profile, links []link, data []byte) blocks.Block {
	size := 16 + len(data)
	for _, l := range links {
		size += linkSize(l)
	}
	b := appendPB(make([]byte, 0, size), links, data)
	return newBlock(p.nodeCID(sha256.Sum256(b)), b)
}

// newBlock returns a block whose CID is known to be right.
func newBlock(c cid.Cid, b []byte) blocks.Block {
	blk, err := blocks.NewBlockWithCid(b, c)
	if err != nil {
		// Only reachable in a debug mode of the block library that hashes again.
		return blocks.NewBlock(b)
	}
	return blk
}
