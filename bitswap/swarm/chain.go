package swarm

import (
	"crypto/sha256"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	mh "github.com/multiformats/go-multihash"

	"github.com/hypha-node/hypha-node/internal/sha256pair"
)

// chainLeast is the least bytes of a block that is hashed as part of a content, too.
const chainLeast = 64 << 10

// chain is the hash of the content that comes from one source as long as that comes in
// order: with each leaf's own hash it is had for little more, while whoever puts the
// content together would need another pass (package sha256pair). A wrong guess of what
// follows what costs no more than that: a step only fits where it begins.
type chain struct {
	sum *sha256pair.Digest // nil: what came last is not known to follow
	t   *table             // that links to what came last
	i   int                // at this position
}

// verify tells whether data hashes to c, which lies at a place, and what it does to
// the content's hash if it comes in order.
func (ch *chain) verify(c cid.Cid, data []byte, at place) (sha256pair.Step, bool) {
	if p := c.Prefix(); at.t == nil || len(data) < chainLeast || p.Codec != cid.Raw || p.MhType != mh.SHA2_256 || p.MhLength != sha256.Size {
		return sha256pair.Step{}, matches(c, data)
	}
	ch.follow(at.t, at.i)
	if ch.sum == nil {
		return sha256pair.Step{}, matches(c, data)
	}
	sum, step := ch.sum.LeafStep(data)
	return step, string(c.Hash()[len(c.Hash())-sha256.Size:]) == string(sum[:])
}

// follow goes to the next leaf. The first one of a node begins a content, unless the
// node before is full: then it goes on with that.
func (ch *chain) follow(t *table, i int) {
	next := ch.t == t && i == ch.i+1
	if i == 0 && ch.t != t {
		before := ch.t
		if before == nil || !fullNode(len(before.links)) {
			ch.sum, next = sha256pair.New(), true
		} else {
			next = ch.i == len(before.links)-1
		}
	}
	if ch.t, ch.i = t, i; !next {
		ch.sum = nil
	}
}

// fullNode tells whether a node has as many links as nodes of a file have where more
// follow: 1024 in the profiles of 2025, 174 before them.
func fullNode(links int) bool { return links == 1024 || links == 174 }

// steppedBlock is a block that was hashed as part of a content, too.
type steppedBlock struct {
	blocks.Block
	step sha256pair.Step
}

// newStepped makes a block whose bytes have been verified, with what they do to the
// content's hash.
func newStepped(c cid.Cid, data []byte, step sha256pair.Step) blocks.Block {
	if step == (sha256pair.Step{}) {
		return newBlock(c, data)
	}
	return steppedBlock{newBlock(c, data), step}
}

// HashStep returns what the block does to the sha256 of the content, if it begins
// where the content is.
func (b steppedBlock) HashStep() sha256pair.Step { return b.step }
