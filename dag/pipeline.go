package dag

import (
	"context"
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"iter"
	"runtime"
	"slices"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/internal/sha256pair"
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
		size := o.Size
		if size <= 0 {
			size = -1
		}
		if im.file, err = dst.NewFile(ctx, size); err != nil {
			return File{}, 0, err
		}
		defer func() { err = errors.Join(err, im.file.Abort()) }()
		im.outs.addFile(im.limit, im.file)
	}
	im.outs.addTee(im.limit, o.Tee)
	im.tree.put = func(blk blocks.Block) error { return im.putNode(ctx, blk) }
	sum, err := im.run(ctx, r)
	if err != nil {
		return File{}, 0, err
	}
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
	g, ctx := errgroup.WithContext(ctx)
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
	rerr := im.read(ctx, r)
	close(im.order)
	close(im.work)
	if rerr != nil {
		// Stops the others; the first error is the one that is told.
		g.Go(func() error { return rerr })
	}
	return sum, g.Wait()
}

// read is step 1.
func (im *importer) read(ctx context.Context, r io.Reader) error {
	for {
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
	pair, whole := sha256pair.New(), sha256.New()
	for u := range im.order {
		if ctx.Err() != nil {
			return sum, context.Cause(ctx)
		}
		if im.apart {
			write(whole, u.content)
			select {
			case <-u.hashed:
			case <-ctx.Done():
				return sum, context.Cause(ctx)
			}
		} else {
			for leaf := range im.leaves(u) {
				u.blocks = append(u.blocks, newBlock(rawCID(pair.Leaf(leaf)), leaf))
			}
		}
		if err := im.also(u.content); err != nil {
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
		return [sha256.Size]byte(whole.Sum(nil)), nil
	}
	return pair.Sum(), nil
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
