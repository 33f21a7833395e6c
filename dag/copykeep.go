package dag

import (
	"context"
	"errors"
	"hash"
	"sync"

	"github.com/hypha-node/hypha-node/blockstore"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
)

// minKept is how many leaves are worth keeping of a file that did not come whole.
const minKept = 2

// beginning is what has been written of a file that is being copied: leaves
// without a gap, from its first byte on. The store keeps whole files only, but
// the beginning of a file is a file too.
type beginning struct {
	mu     sync.Mutex
	leaves []leaf
	size   int64
	sum    hash.Cloner // of the content; nil: it can't be kept
}

// snapshot returns the state of a digest, nil if it can't be had.
func snapshot(sum hash.Hash) hash.Cloner {
	c, ok := sum.(hash.Cloner)
	if !ok {
		return nil
	}
	s, err := c.Clone()
	if err != nil {
		return nil
	}
	return s
}

// wrote notes the next leaf; sum is the digest of the content up to its end.
func (b *beginning) wrote(l leaf, sum hash.Cloner) {
	b.mu.Lock()
	defer b.mu.Unlock()
	l.data = nil
	b.leaves = append(b.leaves, l)
	b.size += l.size
	b.sum = sum
}

// keep records the beginning as a file. The writer is spent when it succeeds.
func (b *beginning) keep(ctx context.Context, w blockstore.FileWriter) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.leaves) < minKept || b.sum == nil {
		return errors.New("nothing to keep")
	}
	tree := &layout{put: func(blk blocks.Block) error { return w.PutNode(blk) }}
	for _, l := range b.leaves {
		if err := tree.leaf(l.cid, int(l.size), l.size); err != nil {
			return err
		}
	}
	root, _, err := tree.root()
	if err != nil {
		return err
	}
	return w.Commit(ctx, File{Root: root, Size: b.size, SHA256: [32]byte(b.sum.Sum(nil))}, nil)
}

// keepable tells whether a failure leaves something that is worth keeping: not
// when the file is not what it claims, and not when the disk is full.
func keepable(err error) bool {
	for _, no := range []error{ErrMalformed, ErrTooLarge, ErrNotFile, blockstore.ErrNoSpace, blockstore.ErrClosed} {
		if errors.Is(err, no) {
			return false
		}
	}
	return true
}

// keepBeginning keeps what has come when a copy failed with err. That it can't be
// kept is no error: it is got again then.
func (f *fileCopy) keepBeginning(ctx context.Context, err error) {
	if !f.Keep || f.file == nil || !keepable(err) {
		return
	}
	if f.begun.keep(context.WithoutCancel(ctx), f.file) == nil {
		f.file = nil
	}
}

// noted returns what to call when the next leaf has been written.
func (f *fileCopy) noted(l leaf) func() {
	if !f.Keep || f.file == nil || l.cid.Type() != cid.Raw {
		return func() {}
	}
	sum := snapshot(f.sum)
	return func() { f.begun.wrote(l, sum) }
}
