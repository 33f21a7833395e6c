package dag

import (
	"context"
	"fmt"
	"sync"

	"github.com/ipfs/go-cid"
)

// leaf is one block of content, or a part of a node that holds content itself.
type leaf struct {
	cid  cid.Cid
	off  int64  // in the file
	size int64  // bytes of content
	data []byte // verified content; nil: a raw block that is still to be read
}

// ahead is how many nodes are read before they are needed. Those that hold more
// than a leaf can are nodes for sure; a few of them go a long way.
const (
	aheadLeaves = 24
	aheadNodes  = 2
)

// leafWalk yields the leaves of a file in order.
type leafWalk struct {
	src      Getter
	off, end int64 // the wanted part of the file
	emit     func(leaf) error
	// before, if not nil, is called with each dag-pb block that is a node, ahead of
	// what is below it.
	before func(c cid.Cid, n *node)
	// after, if not nil, is called with each dag-pb block, behind everything
	// that is below it.
	after   func(c cid.Cid, data []byte, n *node) error
	ahead   int   // leaves that may be read ahead
	visits  int64 // nodes and leaves that may still be visited
	pending int   // blocks that are read ahead
	wg      sync.WaitGroup
}

// block is one that is read ahead.
type block struct {
	data []byte
	err  error
}

// leaves calls emit with each leaf of n that holds bytes of [off, end), in
// order, from the caller's goroutine.
func leaves(ctx context.Context, src Getter, root cid.Cid, n *node, off, end int64, emit func(leaf) error) error {
	w := &leafWalk{src: src, off: off, end: end, emit: emit, ahead: aheadLeaves}
	return w.run(ctx, root, n)
}

// run walks the file with that root.
func (w *leafWalk) run(ctx context.Context, root cid.Cid, n *node) error {
	ctx, cancel := context.WithCancel(ctx)
	defer w.wg.Wait()
	defer cancel()
	// In a tree that branches, nodes are fewer than leaves, of one byte at least.
	w.visits = 1024 + 2*n.size
	return w.node(ctx, root, n, 0, 0)
}

// node visits what a node of the file holds from offset at on.
func (w *leafWalk) node(ctx context.Context, c cid.Cid, n *node, at int64, depth int) error {
	if depth > maxDepth {
		return malformed(c, "more than %d levels", maxDepth)
	}
	if w.before != nil {
		w.before(c, n)
	}
	if size := int64(len(n.data)); size > 0 {
		if at < w.end && at+size > w.off {
			if err := w.emit(leaf{c, at, size, n.data}); err != nil {
				return err
			}
		}
		at += size
	}
	a := ahead{reads: make(map[int]chan block), off: at}
	offset := at
	for i, l := range n.links {
		size := n.blocks[i]
		if offset+size <= w.off {
			offset += size
			continue
		}
		if offset >= w.end {
			return nil
		}
		if w.visits--; w.visits < 0 {
			return malformed(c, "far more blocks than content")
		}
		w.readAhead(ctx, n, &a, i)
		if err := w.link(ctx, l, size, offset, depth, a.reads[i]); err != nil {
			return err
		}
		delete(a.reads, i)
		offset += size
	}
	return nil
}

// link visits one link of a node.
func (w *leafWalk) link(ctx context.Context, l link, size, at int64, depth int, read chan block) error {
	if l.cid.Type() == cid.Raw {
		if err := checkCID(l.cid); err != nil {
			return err
		}
		if size > maxBlock {
			return malformed(l.cid, "a raw block can't hold the claimed %d bytes", size)
		}
		return w.emit(leaf{cid: l.cid, off: at, size: size})
	}
	b := <-read
	w.pending--
	if b.err != nil {
		return b.err
	}
	sub, err := decodeNode(l.cid, b.data)
	if err != nil {
		return err
	}
	if sub.typ() != TypeFile {
		return malformed(l.cid, "a %s inside a file", sub.typ())
	}
	if sub.size != size {
		return malformed(l.cid, "holds %d bytes where its parent claims %d", sub.size, size)
	}
	if err := w.node(ctx, l.cid, sub, at, depth+1); err != nil || w.after == nil {
		return err
	}
	return w.after(l.cid, b.data, sub)
}

// ahead is how far the blocks below a node are being read.
type ahead struct {
	next  int   // the first link that was not looked at
	off   int64 // its offset in the file
	reads map[int]chan block
}

// readAhead starts to read the blocks of some nodes from a.next on, in any case
// that of the link needed. Raw leaves are not read here: workers do it.
func (w *leafWalk) readAhead(ctx context.Context, n *node, a *ahead, needed int) {
	for ; a.next < len(n.links) && a.off < w.end; a.next++ {
		l, size := n.links[a.next], n.blocks[a.next]
		limit := w.ahead
		if size > maxBlock {
			limit = aheadNodes
		}
		if a.next > needed && (l.cid.Type() == cid.Raw || w.pending >= limit) {
			return
		}
		a.off += size
		if a.next < needed || l.cid.Type() == cid.Raw {
			continue
		}
		ch := make(chan block, 1)
		a.reads[a.next] = ch
		w.pending++
		w.wg.Go(func() {
			data, err := getBlock(ctx, w.src, l.cid)
			ch <- block{data, err}
		})
	}
}

// check tells whether data is what a leaf should hold.
func (l leaf) check(data []byte) error {
	if int64(len(data)) != l.size {
		return fmt.Errorf("%w: block %s of %d bytes where its parent claims %d", ErrMalformed, l.cid, len(data), l.size)
	}
	return nil
}
