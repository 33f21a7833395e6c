package blockstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"

	"github.com/hypha-node/hypha-node/blockstore/internal/vfs"
	"github.com/hypha-node/hypha-node/internal/pastcache"
)

// flushEvery is how many bytes of a file are written before the disk is asked to
// begin with them, so that little is left for the fdatasync.
const flushEvery = 16 << 20

// bulkBytes is from which size on a file is not put into the kernel's cache: the job
// that it is for reads its own copy, and 1 GiB onto ext4 took 0.2 cpu-s past the
// cache and 0.3 to 2.5 through it; 500 files of 2 MiB took 1.4 to 1.6 cpu-s of system
// time instead of 2.3 to 4.9 (decision 0015).
const bulkBytes = pastcache.Least

// fileWriter writes a file segment. A file of one leaf has none: the leaf goes
// into the pack.
type fileWriter struct {
	d    *Disk
	size int64 // bytes of content, < 0: unknown
	// scope is whom the file is for, "" for everybody; it does not change once
	// somebody has the writer.
	scope string

	mu     sync.Mutex
	writes sync.WaitGroup // writes to f that run
	spent  bool
	fault  firstError // after which the file can't be committed
	id     uint64
	f      vfs.File // nil while there is one leaf at most
	first  *pendingLeaf
	blocks []placedBlock
	end    int64        // of the content written so far, bytes
	total  atomic.Int64 // bytes written
	final  int64        // that it has on the disk when it is committed
	nodes  nodeSpool
	keep   *keeping // nil: nothing is kept
}

// pendingLeaf is a first leaf that may be all there is.
type pendingLeaf struct {
	off  int64
	cid  cid.Cid
	data []byte
}

// NewFile begins a file of size bytes, or of unknown size when size < 0. Room
// for all of it is set aside where the file system can: ErrNoSpace.
func (d *Disk) NewFile(ctx context.Context, size int64) (FileWriter, error) {
	return d.newFileFor(ctx, "", size)
}

func (d *Disk) newFileFor(ctx context.Context, scope string, size int64) (FileWriter, error) {
	if err := d.enter(ctx); err != nil {
		return nil, err
	}
	defer d.gate.leave()
	w, err := d.newFile(ctx, size, nil)
	if err != nil {
		return nil, err
	}
	w.scope = scope
	return w, nil
}

// newFile begins a file, of which keep (if not nil) says what is kept; it takes
// over keep's claim.
func (d *Disk) newFile(ctx context.Context, size int64, keep *keeping) (*fileWriter, error) {
	w := &fileWriter{d: d, size: size, nodes: nodeSpool{segs: d.segs}, keep: keep}
	w.mu.Lock()
	defer w.mu.Unlock()
	err := d.pack.broken()
	if err == nil {
		err = w.room(ctx, max(size, 0))
	}
	d.parts.Store(w, nil)
	if err == nil && size > maxBlock { // more than one leaf
		err = w.create()
	}
	if err != nil {
		return nil, errors.Join(err, w.discard(false))
	}
	return w, nil
}

// create makes the part file; the caller holds mu.
func (w *fileWriter) create() error {
	w.id = w.d.segs.allocate(fileSegment)
	mode := vfs.CreateBulk
	if w.size >= 0 && w.size < bulkBytes {
		mode = vfs.Create
	}
	f, err := w.d.segs.fs.Open(partName(w.id), mode)
	if err != nil {
		return noSpace(err)
	}
	w.f = f
	w.d.quota.writes(w, w.id, 0)
	return w.allocate()
}

// room sees to it that there is room for n more bytes.
func (w *fileWriter) room(ctx context.Context, n int64) error {
	if err := w.d.withinQuota(ctx, w, n); err != nil {
		return err
	}
	return w.d.makeRoom(ctx, n)
}

// allocate sets room aside for the whole file.
func (w *fileWriter) allocate() error {
	if w.size <= 0 {
		return nil
	}
	// Nodes and footers are less than a thousandth; not all leaves are large.
	return noSpace(w.f.Allocate(w.size + w.size/1024))
}

// WriteLeaf writes a leaf to its place in the content.
func (w *fileWriter) WriteLeaf(off int64, c cid.Cid, data []byte) error {
	if off < 0 || (w.size >= 0 && off > w.size-int64(len(data))) {
		return fmt.Errorf("leaf %s: %d bytes at offset %d of a file of %d", c, len(data), off, w.size)
	}
	if err := admit(c, len(data)); err != nil {
		return err
	}
	done, err := w.enterLeaf(off, c, data)
	if done || err != nil {
		return err
	}
	defer w.writes.Done()
	return w.writeAt(off, data)
}

// enterLeaf notes a leaf and tells whether that was all; otherwise the caller
// writes it, and calls writes.Done.
func (w *fileWriter) enterLeaf(off int64, c cid.Cid, data []byte) (done bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.usable(); err != nil {
		return true, err
	}
	if w.f == nil && w.first == nil {
		w.first = &pendingLeaf{off, c, bytes.Clone(data)}
		return true, nil
	}
	if err := w.spill(); err != nil {
		return true, err
	}
	w.note(off, c, int64(len(data)))
	w.writes.Add(1)
	return false, nil
}

func (w *fileWriter) usable() error {
	if w.d.gate.isShut() {
		return ErrClosed
	}
	if w.spent {
		return errSpent
	}
	return w.fault.get()
}

func (w *fileWriter) note(off int64, c cid.Cid, n int64) {
	w.end = max(w.end, off+n)
	w.blocks = append(w.blocks, placedBlock{c, off, n})
}

// spill makes the part file and writes the first leaf to it; the caller holds mu.
func (w *fileWriter) spill() error {
	if w.f == nil {
		if err := w.create(); err != nil {
			return w.fault.set(err)
		}
	}
	if l := w.first; l != nil {
		w.first = nil
		w.note(l.off, l.cid, int64(len(l.data)))
		if _, err := w.f.WriteAt(l.data, l.off); err != nil {
			return w.fault.set(noSpace(err))
		}
	}
	return nil
}

// writeAt writes content and, every flushEvery bytes, checks the room and has
// the disk begin with what was written.
func (w *fileWriter) writeAt(off int64, data []byte) error {
	if _, err := w.f.WriteAt(data, off); err != nil {
		return w.fault.set(noSpace(err))
	}
	after := w.total.Add(int64(len(data)))
	window := (after - int64(len(data))) / flushEvery
	if window == after/flushEvery {
		return nil
	}
	// Leaves come roughly in order: most of the window is there, and what comes
	// late is left to the fdatasync.
	if err := w.f.Flush(window*flushEvery, flushEvery); err != nil {
		return w.fault.set(noSpace(err))
	}
	if w.size < 0 {
		if err := w.room(context.Background(), flushEvery); err != nil {
			return w.fault.set(err)
		}
	}
	return nil
}

// firstError keeps the first error of several goroutines.
type firstError struct {
	mu  sync.Mutex
	err error
}

// set returns err.
func (f *firstError) set(err error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		f.err = err
	}
	return err
}

func (f *firstError) get() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

// PutNode keeps an inner node; it is written behind the content.
func (w *fileWriter) PutNode(blk blocks.Block) error {
	if err := admit(blk.Cid(), len(blk.RawData())); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.usable(); err != nil {
		return err
	}
	if isIdentity(blk.Cid()) {
		return nil
	}
	if err := w.nodes.add(blk); err != nil {
		return w.fault.set(noSpace(err))
	}
	return nil
}

// Abort removes what was written, but for what is kept.
func (w *fileWriter) Abort() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.spent {
		return nil
	}
	w.spent = true
	return w.discard(w.fault.get() == nil)
}

// discard removes the part file, unless what is kept in it is to stay; the caller
// holds mu.
func (w *fileWriter) discard(stay bool) error {
	w.writes.Wait()
	w.first, w.blocks = nil, nil
	err := w.nodes.close()
	w.d.parts.Delete(w)
	left, perr := w.part(stay)
	w.d.quota.settle(w, left)
	return errors.Join(err, perr)
}
