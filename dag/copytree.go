package dag

import (
	"context"
	"sync"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"
)

// Bounds of a tree's copy.
const (
	treeFiles  = 4                  // files of several leaves at once
	treeWindow = window / treeFiles // bytes of each
	treeOpen   = 32 << 20           // bytes of directory blocks that wait for what is below them
	minWeight  = 4 << 10            // bytes of the window that an entry counts for at least
	pbWeight   = 256 << 10          // and at most, if it is not raw
)

// treeCopy copies a directory tree. Directories whose entries are not all
// started lie on a stack; the next entry is one of the topmost, and a goroutine
// handles it, so many at a time that what is wanted of many files goes out
// together. One goroutine stores blocks, a directory's when all of its entries
// are stored.
type treeCopy struct {
	*copyJob
	slots  *semaphore.Weighted // entries that are being handled
	window *semaphore.Weighted // bytes that they hold
	files  *semaphore.Weighted // files of several leaves among them
	store  chan storeItem
	guard  *guard

	mu     sync.Mutex
	stack  []*frame
	known  map[string]*frame // whatever is not raw, by multihash
	open   int64             // bytes of directory blocks that are not stored
	flying int               // entries being handled that are not raw
	wake   chan struct{}     // the scheduler should look again
	root   *frame
}

// storeItem is a block to store (or none, when that was done), and what is
// complete with it: the frame f, or an entry of up.
type storeItem struct {
	blk  blocks.Block
	f    *frame
	up   *frame
	size int64 // bytes of content, of an entry of up
	held int64 // bytes of the window
	slot int64 // slots
}

// tree copies the tree with that root block.
func (c *copyJob) tree(ctx context.Context, root cid.Cid, data []byte, n *node) (Entry, error) {
	o := *c.CopyOptions
	o.Tee, o.Also, o.Accept = nil, nil, nil
	t := &treeCopy{
		copyJob: &copyJob{&o, c.dst, c.wants}, guard: newGuard(c.Limits), known: make(map[string]*frame), wake: make(chan struct{}, 1),
		slots: semaphore.NewWeighted(maxWants), window: semaphore.NewWeighted(window), files: semaphore.NewWeighted(treeFiles),
		store: make(chan storeItem, maxWants), root: &frame{cid: root},
	}
	t.known[string(root.Hash())] = t.root
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return t.storeAll(gctx) })
	g.Go(func() error {
		if err := t.push(gctx, t.root, data, n); err != nil {
			return err
		}
		return t.schedule(gctx, g)
	})
	if err := g.Wait(); err != nil {
		return Entry{}, err
	}
	return Entry{Cid: root, Type: TypeDir, Size: t.root.size}, c.dst.Sync(ctx)
}

// push makes the entries of a directory known.
func (t *treeCopy) push(ctx context.Context, f *frame, data []byte, n *node) error {
	if err := f.judge(n, t.guard.limits.names(len(n.links))); err != nil {
		return err
	}
	t.mu.Lock()
	for range n.links { // a block is looked at once, so nothing repeats
		if err := t.guard.entry(f.cid, true); err != nil {
			t.mu.Unlock()
			return err
		}
	}
	t.guide(f.cid, n)
	f.data, f.links, f.pending = data, n.links, len(n.links)
	f.node = &node{kind: n.kind, fanout: n.fanout}
	t.open += int64(len(data))
	if f.pending > 0 {
		t.stack = append(t.stack, f)
	}
	t.mu.Unlock()
	t.changed()
	if len(n.links) == 0 {
		return t.send(ctx, storeItem{blk: newBlock(f.cid, data), f: f})
	}
	return nil
}

// changed wakes the scheduler.
func (t *treeCopy) changed() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

func (t *treeCopy) send(ctx context.Context, it storeItem) error {
	select {
	case t.store <- it:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// schedule starts a goroutine for each entry until the root is stored.
func (t *treeCopy) schedule(ctx context.Context, g *errgroup.Group) error {
	for {
		if err := t.slots.Acquire(ctx, 1); err != nil {
			return context.Cause(ctx)
		}
		up, l, err := t.next(ctx)
		if err != nil || up == nil {
			return err
		}
		limit := int64(pbWeight)
		if l.cid.Type() == cid.Raw {
			limit = maxBlock
		}
		held := int64(min(max(l.size, minWeight), uint64(limit)))
		if err := t.window.Acquire(ctx, held); err != nil {
			return context.Cause(ctx)
		}
		g.Go(func() error {
			if l.cid.Type() == cid.Raw {
				return t.raw(ctx, up, l, held)
			}
			return t.entry(ctx, up, l, held)
		})
	}
}

// next waits for an entry that can be started; up is nil when the root is stored.
func (t *treeCopy) next(ctx context.Context) (up *frame, l link, err error) {
	for {
		t.mu.Lock()
		if t.root.done {
			t.mu.Unlock()
			return nil, link{}, nil
		}
		if n := len(t.stack); n > 0 {
			up = t.stack[n-1]
			l = up.links[0]
			raw := l.cid.Type() == cid.Raw
			// Directories that wait hold memory; one at a time always goes on,
			// to the deepest.
			if raw || t.open <= treeOpen || t.flying == 0 {
				if up.links = up.links[1:]; len(up.links) == 0 {
					up.links = nil
					t.stack = t.stack[:n-1]
				}
				if !raw {
					t.flying++
				}
				t.mu.Unlock()
				return up, l, nil
			}
		}
		t.mu.Unlock()
		select {
		case <-t.wake:
		case <-ctx.Done():
			return nil, link{}, context.Cause(ctx)
		}
	}
}

// raw handles an entry that is a raw block: a file of one leaf.
func (t *treeCopy) raw(ctx context.Context, up *frame, l link, held int64) error {
	if err := checkCID(l.cid); err != nil {
		return err
	}
	it := storeItem{up: up, held: held, slot: 1}
	if size, err := t.dst.GetSize(ctx, l.cid); err == nil {
		it.size = int64(size)
	} else {
		data, err := t.wants.get(ctx, l.cid)
		if err != nil {
			return err
		}
		if more := int64(len(data)) - held; more > 0 && !t.window.TryAcquire(more) {
			// The link said less, and there is no room: once more, in its turn.
			t.window.Release(held)
			if err := t.window.Acquire(ctx, maxBlock); err != nil {
				return context.Cause(ctx)
			}
			it.held = maxBlock
			if data, err = t.wants.get(ctx, l.cid); err != nil {
				return err
			}
		} else if more > 0 {
			it.held += more
		}
		it.size, it.blk = int64(len(data)), newBlock(l.cid, data)
	}
	if err := t.count(it.size); err != nil {
		return err
	}
	t.progress(it.size)
	return t.send(ctx, it)
}

// count accounts for content.
func (t *treeCopy) count(size int64) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.guard.file(size)
}

// entry handles an entry that is not raw: a directory, a part of one, a file of
// several blocks, a symlink.
func (t *treeCopy) entry(ctx context.Context, up *frame, l link, held int64) (err error) {
	defer func() {
		t.slots.Release(1)
		t.window.Release(held)
		t.mu.Lock()
		t.flying--
		t.mu.Unlock()
		t.changed()
	}()
	f, known, err := t.frame(ctx, up, l)
	if err != nil || known {
		return err
	}
	if file, ok, err := t.stored(ctx, l.cid); err != nil || ok {
		if err == nil {
			err = t.count(file.Size)
		}
		if err != nil {
			return err
		}
		f.size = file.Size
		t.progress(file.Size)
		return t.send(ctx, storeItem{f: f})
	}
	data, err := t.block(ctx, l.cid)
	if err != nil {
		return err
	}
	n, err := decodeNode(l.cid, data)
	if err != nil {
		return err
	}
	if f.shards > 0 && (n.kind != fsShard || n.fanout != up.node.fanout || len(n.links) == 0) {
		return malformed(l.cid, "is no shard of %s", up.cid)
	}
	switch n.typ() {
	case TypeDir:
		return t.push(ctx, f, data, n)
	case TypeFile:
		f.size = n.size
		if err := t.count(n.size); err != nil {
			return err
		}
		if len(n.links) > 0 {
			return t.large(ctx, f, data, n)
		}
		t.progress(n.size)
	}
	return t.send(ctx, storeItem{blk: newBlock(l.cid, data), f: f})
}

// large copies a file of several leaves, when it is its turn.
func (t *treeCopy) large(ctx context.Context, f *frame, data []byte, n *node) (err error) {
	if !t.files.TryAcquire(1) {
		// Hundreds may wait: decoded, or larger than they count for, they would
		// be too much.
		n = nil
		if len(data) > pbWeight {
			data = nil
		}
		if err := t.files.Acquire(ctx, 1); err != nil {
			return context.Cause(ctx)
		}
	}
	defer t.files.Release(1)
	if data == nil {
		if data, err = t.block(ctx, f.cid); err != nil {
			return err
		}
	}
	if n == nil {
		if n, err = decodeNode(f.cid, data); err != nil {
			return err
		}
	}
	if _, err := t.file(ctx, f.cid, data, n, treeWindow); err != nil {
		return err
	}
	return t.send(ctx, storeItem{f: f})
}
