package dag

import (
	"context"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/internal/sha256pair"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"
)

// aheadCopy is how many leaves that are not raw are asked for at once.
const aheadCopy = 64

// part is a leaf or a node of a file, in the order in which they are done with.
type part struct {
	leaf leaf
	data []byte          // content of the leaf, or block of the node
	step sha256pair.Step // what data does to the hash of the content, if that is known
	kept bool            // the leaf is here; data is nil when nobody wants it
	err  error
	done chan struct{} // of a leaf: closed when data or err is there
	node cid.Cid       // of a node
	held int64         // bytes of the window
}

// fileCopy copies one file of several blocks:
//
//  1. walk: one goroutine follows the tree, nodes a few ahead, and puts leaves
//     and nodes in line, children before parents;
//  2. fetch: each leaf has a goroutine that gets it, as many as the window holds;
//  3. order: one goroutine takes the line in order, for the sha256 of the whole
//     and whatever else wants the content in order;
//  4. write: leaves into the store and the tee, each in order in one goroutine.
type fileCopy struct {
	*copyJob
	root   cid.Cid
	window *semaphore.Weighted
	size   int64 // of window
	line   chan *part
	file   blockstore.FileWriter // nil: the first leaf is not raw, blocks are stored one by one
	sum    *sha256pair.Digest
	total  int64
	outs   outlets
	opened bool           // outs are there
	batch  []blocks.Block // what is not in file
	bytes  int            // in batch
	sync   bool           // something was stored that is not in file
	keep   *keeper        // nil: nothing of file is kept
	kept   kept           // what an earlier copy left of file
}

// file copies the file with that root block; window bounds the bytes of content
// that are under way.
func (c *copyJob) file(ctx context.Context, root cid.Cid, data []byte, n *node, window int64) (f File, err error) {
	fc := &fileCopy{
		copyJob: c, root: root, window: semaphore.NewWeighted(window), size: window,
		line: make(chan *part, maxWants), sum: sha256pair.New(),
	}
	refused := false // for what the file is
	defer func() { err = fc.settle(ctx, err, refused) }()
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer close(fc.line)
		return fc.walk(gctx, g, root, data, n)
	})
	g.Go(func() error { return fc.order(gctx, g) })
	if err := g.Wait(); err != nil {
		return File{}, err
	}
	f = File{Root: root, Size: fc.total, SHA256: fc.sum.Sum()}
	aliases, err := c.accept(f)
	if refused = err != nil; refused {
		return File{}, err
	}
	if err := fc.flush(ctx); err != nil {
		return File{}, err
	}
	if fc.file == nil {
		return f, record(ctx, c.dst, f, aliases, false)
	}
	if fc.sync {
		if err := c.dst.Sync(ctx); err != nil {
			return File{}, err
		}
	}
	return f, fc.file.Commit(ctx, f, aliases)
}

// walk is step 1; it starts step 2 in g.
func (f *fileCopy) walk(ctx context.Context, g *errgroup.Group, root cid.Cid, data []byte, n *node) error {
	w := &leafWalk{
		src: f.copyJob, end: n.size, ahead: aheadCopy, before: f.guide,
		emit: func(l leaf) error { return f.emit(ctx, g, l, n.size) },
		after: func(c cid.Cid, data []byte, _ *node) error {
			return f.send(ctx, &part{node: c, data: data})
		},
	}
	if err := w.run(ctx, root, n); err != nil {
		return err
	}
	return f.send(ctx, &part{node: root, data: data})
}

// emit puts a leaf in line and fetches it. Which kind the first leaf is decides
// how the file is stored.
func (f *fileCopy) emit(ctx context.Context, g *errgroup.Group, l leaf, size int64) (err error) {
	if l.off == 0 && l.data == nil {
		if err = f.begin(ctx, size); err != nil {
			return err
		}
	}
	p := &part{leaf: l, data: l.data, held: min(l.size, f.size), done: make(chan struct{})}
	if p.kept, err = f.isKept(l); err != nil {
		return err
	}
	f.keep.wait(ctx, ctx, l.off, int(l.size))
	if err := f.window.Acquire(ctx, p.held); err != nil {
		return context.Cause(ctx)
	}
	if l.data != nil {
		close(p.done)
		return f.send(ctx, p)
	}
	if err := f.send(ctx, p); err != nil {
		return err
	}
	var asked *want
	if !p.kept {
		asked = f.expect(ctx, l.cid)
	}
	g.Go(func() error {
		defer close(p.done)
		if p.kept {
			p.data, p.err = f.readKept(l)
			return p.err
		}
		if asked != nil {
			p.data, p.step, p.err = asked.wait(ctx)
		} else {
			p.data, p.step, p.err = f.stepped(ctx, l.cid)
		}
		if p.err == nil {
			p.err = l.check(p.data)
		}
		return p.err
	})
	return nil
}

func (f *fileCopy) send(ctx context.Context, p *part) error {
	select {
	case f.line <- p:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// order is step 3; it starts step 4 in g.
func (f *fileCopy) order(ctx context.Context, g *errgroup.Group) error {
	defer func() { f.outs.close() }()
	for p := range f.line {
		if p.done == nil {
			if err := f.node(ctx, p); err != nil {
				return err
			}
			continue
		}
		select {
		case <-p.done:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if p.err != nil {
			return p.err
		}
		f.open(ctx, g)
		if err := f.content(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

// open starts step 4, when it is known how the file is stored.
func (f *fileCopy) open(ctx context.Context, g *errgroup.Group) {
	if f.opened {
		return
	}
	f.opened = true
	if f.file != nil {
		f.outs.addFile(maxWants, f.file, f.keep)
	}
	f.outs.addTee(maxWants, f.Tee)
	f.outs.start(ctx, g)
}

// content takes in the next leaf.
func (f *fileCopy) content(ctx context.Context, p *part) error {
	if _, err := writers(f.Also).Write(p.data); err != nil {
		return err
	}
	f.total += p.leaf.size
	c := &chunk{off: p.leaf.off, content: p.data, done: func() {
		f.progress(p.leaf.size)
		p.data = nil
		f.window.Release(p.held)
	}}
	if p.kept {
		return f.outs.send(ctx, c)
	}
	if !f.sum.Take(p.step, len(p.data)) {
		f.sum.Add(p.data)
	}
	var err error
	if c.mark, err = f.mark(p.leaf); err != nil {
		return err
	}
	switch {
	case p.leaf.data != nil: // its block comes as a node
	case f.file != nil:
		c.blocks = []blocks.Block{newBlock(p.leaf.cid, p.data)}
	default:
		if err := f.put(ctx, p.leaf.cid, p.data); err != nil {
			return err
		}
	}
	return f.outs.send(ctx, c)
}

// node stores a dag-pb block. One that holds content itself is as large as a
// leaf, and the writer of a file keeps nodes in memory.
func (f *fileCopy) node(ctx context.Context, p *part) error {
	if f.file != nil && len(p.data) <= 256<<10 {
		return f.file.PutNode(newBlock(p.node, p.data))
	}
	return f.put(ctx, p.node, p.data)
}

// put stores a block that is not part of the writer, in batches.
func (f *fileCopy) put(ctx context.Context, c cid.Cid, data []byte) error {
	f.batch = append(f.batch, newBlock(c, data))
	f.bytes += len(data)
	if f.bytes >= batchBytes || len(f.batch) >= batchBlocks {
		return f.flush(ctx)
	}
	return nil
}

func (f *fileCopy) flush(ctx context.Context) error {
	if len(f.batch) == 0 {
		return nil
	}
	err := f.dst.PutMany(ctx, f.batch)
	clear(f.batch)
	f.batch, f.bytes, f.sync = f.batch[:0], 0, true
	return err
}
