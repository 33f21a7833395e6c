package dag

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"iter"
	"runtime"
	"slices"

	"github.com/hypha-node/hypha-node/blockstore"
	blocks "github.com/ipfs/go-block-format"
	"golang.org/x/sync/errgroup"
)

// unit is a run of whole leaves, about 1 MiB, on its way through an import.
type unit struct {
	chunk
	buf    []byte        // chunk.content is its front
	hashed chan struct{} // chunk.blocks are there; buffered, one token
}

// importer is one run of importTree:
//
//  1. read: the caller's goroutine fills units in order.
//  2. hash, in order, in one goroutine: the sha256 of the whole beside that of
//     each leaf, in one pass, and the tree over the leaves.
//  3. write: leaves into the store and the tee, each in order in one goroutine.
//
// Where one pass for both is no gain (leaves that are not raw have other bytes
// than the content, and some processors lack the instructions), leaves are
// hashed on all cores beside step 2, which waits for them.
type importer struct {
	*ImportOptions
	dst   blockstore.Store
	apart bool                  // leaves are not hashed in step 2
	file  blockstore.FileWriter // nil: HashOnly, or leaves that are not raw
	keep  *keeper               // nil: nothing of the file is kept
	tree  layout
	units *pool[*unit]
	work  chan *unit // leaves to be hashed
	order chan *unit // to step 2
	outs  outlets
	limit int // of units
	size  int64
}

// importTree takes in content of more than one leaf. It also returns the bytes
// of its blocks together, for links to it.
func (o *ImportOptions) importTree(ctx context.Context, dst blockstore.Store, r io.Reader) (f File, total uint64, err error) {
	im := o.newImporter(dst)
	switch {
	case o.HashOnly:
	case o.Profile.v0:
		im.outs.add(im.limit, func(c *chunk) error { return dst.PutMany(ctx, c.blocks) })
	default:
		if err = im.begin(ctx); err != nil {
			return File{}, 0, err
		}
		defer func() { err = errors.Join(err, im.file.Abort()) }()
		im.outs.addFile(im.limit, im.file, im.keep)
	}
	if o.Tee != nil {
		im.outs.addTee(im.limit, o.Tee)
		im.outs[len(im.outs)-1].begin = func(context.Context) error { return im.teePrefix(ctx) }
	}
	im.tree.put = func(blk blocks.Block) error { return im.putNode(ctx, blk) }
	cut := true // by what brings the content, and not for what it is
	defer func() { err = im.keep.leave(ctx, err, cut) }()
	if err := im.restore(); err != nil {
		return File{}, 0, err
	}
	sum, err := im.run(ctx, r)
	if err != nil {
		return File{}, 0, err
	}
	cut = false
	root, total, err := im.tree.root()
	if err != nil {
		return File{}, 0, err
	}
	f = File{Root: root, Size: im.size, SHA256: sum}
	aliases, err := o.accept(f)
	switch {
	case err != nil:
		return File{}, 0, err
	case o.HashOnly:
		return f, total, nil
	case im.file == nil:
		return f, total, record(ctx, dst, f, aliases, false)
	}
	return f, total, im.file.Commit(ctx, f, aliases)
}

func (o *ImportOptions) newImporter(dst blockstore.Store) *importer {
	size := o.unitSize()
	limit := max(2, window/size)
	if o.Size > 0 {
		limit = int(min(int64(limit), o.Size/int64(size)+1))
	}
	im := &importer{
		ImportOptions: o, dst: dst, limit: limit, apart: o.apart || o.Profile.v0 || runtime.GOARCH != "amd64",
		tree: layout{profile: o.Profile}, order: make(chan *unit, limit), work: make(chan *unit, limit),
	}
	im.units = newPool(limit, im.unit)
	return im
}

// unitSize returns the bytes of a unit: about 1 MiB of whole leaves.
func (o *ImportOptions) unitSize() int {
	leaf := o.Profile.leafSize()
	return max(1, (1<<20)/leaf) * leaf
}

// run moves the content through the steps and returns its sha256.
func (im *importer) run(ctx context.Context, r io.Reader) (sum [sha256.Size]byte, err error) {
	whole := ctx // of the import
	if im.keep != nil {
		ctx = context.WithoutCancel(ctx) // what was read is written and kept, whatever ends the reading
	}
	g, ctx := errgroup.WithContext(ctx)
	defer im.keep.start(ctx)()
	im.outs.start(ctx, g)
	if im.apart {
		for range min(im.limit, runtime.GOMAXPROCS(0)) {
			g.Go(func() error { return im.hashLeaves(ctx) })
		}
	}
	g.Go(func() (err error) {
		defer im.outs.close()
		sum, err = im.hash(ctx)
		return err
	})
	rerr := im.read(ctx, whole, r)
	close(im.order)
	close(im.work)
	if im.keep != nil {
		if err := g.Wait(); err != nil || rerr != nil {
			return sum, cmp.Or(err, rerr)
		}
		return sum, context.Cause(whole)
	}
	if rerr != nil {
		// Stops the others; the first error is the one that is told.
		g.Go(func() error { return rerr })
	}
	return sum, g.Wait()
}

// read is step 1, which ends with whole, the others' with ctx.
func (im *importer) read(ctx, whole context.Context, r io.Reader) error {
	for {
		im.keep.wait(ctx, whole, im.size, im.unitSize())
		if whole.Err() != nil {
			return context.Cause(whole)
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		u, err := im.units.get(ctx)
		if err != nil {
			return err
		}
		n, end, err := readFull(r, u.buf)
		if err != nil {
			return err
		}
		u.off, u.content = im.size, u.buf[:n]
		im.size += int64(n)
		if err := im.checkSize(im.size, end); err != nil {
			return err
		}
		if n > 0 {
			if im.apart {
				im.work <- u // has room for all units
			}
			im.order <- u // this one, too
		}
		if end {
			return nil
		}
	}
}

// unit makes a unit.
func (im *importer) unit() *unit {
	u := &unit{buf: make([]byte, im.unitSize()), hashed: make(chan struct{}, 1)}
	u.done = func() { im.release(u) }
	return u
}

// release gives a unit back that was written.
func (im *importer) release(u *unit) {
	if im.Progress != nil {
		im.Progress(int64(len(u.content)))
	}
	clear(u.blocks)
	u.blocks = u.blocks[:0]
	im.units.put(u)
}

// hashLeaves hashes leaves beside step 2.
func (im *importer) hashLeaves(ctx context.Context) error {
	for u := range im.work {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		for leaf := range im.leaves(u) {
			u.blocks = append(u.blocks, im.Profile.leaf(leaf))
		}
		u.hashed <- struct{}{}
	}
	return nil
}

// hash is step 2.
func (im *importer) hash(ctx context.Context) (sum [sha256.Size]byte, err error) {
	h, err := im.newHash()
	if err != nil {
		return sum, err
	}
	for u := range im.order {
		if ctx.Err() != nil {
			return sum, context.Cause(ctx)
		}
		if im.apart {
			write(h.whole, u.content)
			select {
			case <-u.hashed:
			case <-ctx.Done():
				return sum, context.Cause(ctx)
			}
		} else {
			for leaf := range im.leaves(u) {
				u.blocks = append(u.blocks, newBlock(rawCID(h.pair.Leaf(leaf)), leaf))
			}
		}
		if err := im.also(u.content); err != nil {
			return sum, err
		}
		if u.mark, err = im.mark(h, u.off+int64(len(u.content))); err != nil {
			return sum, err
		}
		if err := im.link(u); err != nil {
			return sum, err
		}
		if err := im.outs.send(ctx, &u.chunk); err != nil {
			return sum, err
		}
	}
	if im.apart {
		return [sha256.Size]byte(h.whole.Sum(nil)), nil
	}
	return h.pair.Sum(), nil
}

// link puts the leaves of a unit into the tree.
func (im *importer) link(u *unit) error {
	i := 0
	for leaf := range im.leaves(u) {
		blk := u.blocks[i]
		if err := im.tree.leaf(blk.Cid(), len(blk.RawData()), int64(len(leaf))); err != nil {
			return err
		}
		i++
	}
	return nil
}

// leaves yields the content of a unit's leaves.
func (im *importer) leaves(u *unit) iter.Seq[[]byte] {
	return slices.Chunk(u.content, im.Profile.leafSize())
}

// putNode stores an inner node.
func (im *importer) putNode(ctx context.Context, blk blocks.Block) error {
	switch {
	case im.HashOnly:
		return nil
	case im.file != nil:
		return im.file.PutNode(blk)
	}
	return im.dst.Put(ctx, blk)
}

// write feeds a hash, which promises to take everything.
func write(h hash.Hash, p []byte) {
	h.Write(p)
}
