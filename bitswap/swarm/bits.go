package swarm

import (
	"crypto/sha256"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	mh "github.com/multiformats/go-multihash"
)

// bitmap has a bit for each link of a node, the first in the lowest bit of the first
// byte. What lies behind its end is not set.
type bitmap []byte

func (b bitmap) has(i int) bool { return i>>3 < len(b) && b[i>>3]&(1<<(i&7)) != 0 }

// set sets a bit that lies within the bitmap.
func (b bitmap) set(i int) { b[i>>3] |= 1 << (i & 7) }

// news returns the bytes from the first to the last that differ from old, of the same
// length, and where they begin, in bits; nothing when none does.
func (b bitmap) news(old bitmap) (from int, diff bitmap) {
	first, end := -1, 0
	for i := range b {
		if b[i] != old[i] {
			if first < 0 {
				first = i
			}
			end = i + 1
		}
	}
	if first < 0 {
		return 0, nil
	}
	return 8 * first, b[first:end]
}

// matches tells whether data hashes to c.
func matches(c cid.Cid, data []byte) bool {
	if p := c.Prefix(); p.MhType == mh.SHA2_256 && p.MhLength == sha256.Size {
		sum := sha256.Sum256(data)
		return string(c.Hash()[len(c.Hash())-sha256.Size:]) == string(sum[:])
	}
	got, err := c.Prefix().Sum(data)
	return err == nil && got.Equals(c)
}

// keyOf names a block whatever its codec.
func keyOf(c cid.Cid) string { return string(c.Hash()) }

// newBlock makes a block whose bytes have been verified.
func newBlock(c cid.Cid, data []byte) blocks.Block {
	blk, err := blocks.NewBlockWithCid(data, c)
	if err != nil { // in a debug mode of the library that hashes again
		return blocks.NewBlock(data)
	}
	return blk
}
