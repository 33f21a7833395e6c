package dag

import (
	"context"
	"fmt"
	"iter"
	"slices"

	"github.com/ipfs/boxo/verifcid"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
)

// Block is one block of a DAG, as Blocks yields it.
type Block struct {
	Cid  cid.Cid
	Size int64  // bytes
	Data []byte // nil for a block without links when only sizes are asked for
}

// BlocksOptions say what Blocks yields. The zero value is ready to use.
type BlocksOptions struct {
	// Sizes leaves out the bytes of raw blocks. A source that tells the size of a
	// block without reading it (a blockstore.Store does) makes that cheap.
	Sizes bool
}

// maxQueued bounds the links that a walk over blocks has still to follow: those
// of 64 full nodes on the way down, and more. A DAG that needs more is ErrTooLarge.
const maxQueued = 1 << 20

// Blocks yields every block under the roots, depth first, in the order of the
// links, parents before children, each once. What an identity CID holds is in the
// CID: such a block is not yielded, but what it links to is. Any codec that Links
// knows will do. An error, which ends the sequence, names the block. It takes
// about 50 bytes of memory for each block.
func Blocks(ctx context.Context, src Getter, roots []cid.Cid, o BlocksOptions) iter.Seq2[Block, error] {
	return func(yield func(Block, error) bool) {
		w := &blockWalk{src: src, sizes: o.Sizes, seen: make(map[blockKey]struct{})}
		for _, c := range slices.Backward(roots) {
			w.todo = append(w.todo, c)
		}
		for len(w.todo) > 0 {
			c := w.todo[len(w.todo)-1]
			w.todo = w.todo[:len(w.todo)-1]
			_, inline := identity(c)
			if !inline { // those get smaller on the way down
				key := keyOf(c)
				if _, ok := w.seen[key]; ok {
					continue
				}
				w.seen[key] = struct{}{}
			}
			b, err := w.visit(ctx, c)
			if err != nil {
				yield(Block{Cid: c}, err)
				return
			}
			if !inline && !yield(b, nil) {
				return
			}
		}
	}
}

// blockKey is the codec of a CID and the end of its digest, which nobody can
// forge: 152 bits.
type blockKey [20]byte

func keyOf(c cid.Cid) (k blockKey) {
	hash := c.Hash()
	k[0] = byte(c.Type())
	copy(k[1:], hash[max(len(hash)-len(k)+1, 0):])
	return k
}

// blockWalk is one walk over blocks.
type blockWalk struct {
	src   Getter
	sizes bool
	seen  map[blockKey]struct{}
	todo  []cid.Cid // a stack
}

// visit reads a block and queues what it links to.
func (w *blockWalk) visit(ctx context.Context, c cid.Cid) (Block, error) {
	if err := verifcid.ValidateCid(verifcid.DefaultAllowlist, c); err != nil {
		return Block{}, malformed(c, "%v", err)
	}
	if s, ok := w.src.(sizer); ok && w.sizes && c.Type() == cid.Raw {
		size, err := s.GetSize(ctx, c)
		if err != nil {
			return Block{}, blockErr(c, err)
		}
		return Block{Cid: c, Size: int64(size)}, nil
	}
	data, err := w.read(ctx, c)
	if err != nil {
		return Block{}, err
	}
	links, err := Links(c, data)
	if err != nil {
		return Block{}, err
	}
	if len(w.todo)+len(links) > maxQueued {
		return Block{}, fmt.Errorf("block %s: more than %d links at once: %w", c, maxQueued, ErrTooLarge)
	}
	for _, l := range slices.Backward(links) {
		w.todo = append(w.todo, l)
	}
	b := Block{Cid: c, Size: int64(len(data)), Data: data}
	if w.sizes && len(links) == 0 {
		b.Data = nil
	}
	return b, nil
}

// read returns the bytes of a block of any codec.
func (w *blockWalk) read(ctx context.Context, c cid.Cid) ([]byte, error) {
	if data, ok := identity(c); ok {
		return data, nil
	}
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	blk, err := w.src.Get(ctx, c)
	if err != nil {
		return nil, blockErr(c, err)
	}
	return checkBlock(c, blk)
}

// Complete returns nil when every block under the roots is stored: of raw blocks
// that is looked up, others are read. A missing one is ipld.ErrNotFound.
func Complete(ctx context.Context, src Getter, roots []cid.Cid) error {
	for b, err := range Blocks(ctx, src, roots, BlocksOptions{Sizes: true}) {
		if ipld.IsNotFound(err) {
			return fmt.Errorf("block %s is missing: %w", b.Cid, err)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
