package blockstore

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
	mh "github.com/multiformats/go-multihash"
)

// Commit makes the file durable and records it.
func (w *fileWriter) Commit(ctx context.Context, f File, aliases map[string][]byte) error {
	if err := w.d.enter(ctx); err != nil {
		return err
	}
	defer w.d.gate.leave()
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.usable(); err != nil {
		return err
	}
	w.writes.Wait()
	if err := w.fault.get(); err != nil {
		return err
	}
	if err := w.commit(ctx, f, aliases); err != nil {
		return fmt.Errorf("file %s: %w", f.Root, err)
	}
	w.spent = true
	return nil
}

func (w *fileWriter) commit(ctx context.Context, f File, aliases map[string][]byte) error {
	facts, err := namedBy(f, aliases)
	if err != nil {
		return err
	}
	private, err := w.d.label(f.Root, w.scope, true, facts)
	if err != nil {
		return err
	}
	if known, hidden, err := w.stored(f); err != nil {
		return err
	} else if known {
		if err := w.d.putFile(ctx, f, facts, hidden...); err != nil {
			return err
		}
		return w.discard(false)
	}
	if err := w.holdsRoot(f.Root); err != nil {
		return err
	}
	if w.f == nil && w.nodes.empty() {
		return w.commitLeaf(ctx, f, facts, private)
	}
	return w.commitSegment(ctx, f, facts)
}

// stored tells whether the store has the file, and all that came with it. Hidden
// are those of the blocks that everybody may have from now on.
func (w *fileWriter) stored(f File) (is bool, hidden []cid.Cid, err error) {
	known, err := w.d.fileRecord(f.Root)
	if errors.Is(err, errAbsent) || (err == nil && (known.size != f.Size || known.sha256 != f.SHA256)) {
		return false, nil, nil
	}
	if err != nil {
		return false, nil, err
	}
	for c := range w.cids() {
		blk, err := w.d.copies(c)
		if errors.Is(err, errAbsent) {
			return false, nil, nil
		}
		if err != nil {
			return false, nil, err
		}
		if blk.private && w.scope == "" {
			hidden = append(hidden, c)
		}
	}
	return true, hidden, nil
}

// cids yields the blocks that came, but for those that are in their CIDs.
func (w *fileWriter) cids() iter.Seq[cid.Cid] {
	return func(yield func(cid.Cid) bool) {
		if w.first != nil && !isIdentity(w.first.cid) && !yield(w.first.cid) {
			return
		}
		for _, blk := range w.blocks {
			if !isIdentity(blk.cid) && !yield(blk.cid) {
				return
			}
		}
		for c := range w.nodes.cids() {
			if !yield(c) {
				return
			}
		}
	}
}

func isIdentity(c cid.Cid) bool { return c.Prefix().MhType == mh.IDENTITY }

// holdsRoot checks that the root is stored, or will be.
func (w *fileWriter) holdsRoot(root cid.Cid) error {
	if isIdentity(root) {
		return nil
	}
	for c := range w.cids() {
		if bytes.Equal(c.Hash(), root.Hash()) {
			return nil
		}
	}
	_, err := w.d.find(root)
	if errors.Is(err, errAbsent) {
		return fmt.Errorf("file without its root: %w", ipld.ErrNotFound{Cid: root})
	}
	return err
}

// commitLeaf puts a file of one leaf, or of none, into the pack.
func (w *fileWriter) commitLeaf(ctx context.Context, f File, aliases map[string]Alias, private bool) error {
	if l := w.first; l != nil && !isIdentity(l.cid) {
		blk, err := blocks.NewBlockWithCid(l.data, l.cid)
		if err != nil {
			return err
		}
		known, err := w.d.copies(l.cid)
		if err != nil && !errors.Is(err, errAbsent) {
			return err
		}
		if err != nil || known.private && w.scope == "" {
			if w.size < 0 {
				if err := w.room(ctx, int64(len(l.data))); err != nil {
					return err
				}
			}
			w.final = int64(len(l.data))
			if _, err := w.d.append(0, private, blk); err != nil {
				return err
			}
		}
	}
	if err := w.d.putFile(ctx, f, aliases); err != nil {
		return err
	}
	return w.discard(false)
}

// commitSegment finishes the segment and records all that is in it.
func (w *fileWriter) commitSegment(ctx context.Context, f File, aliases map[string]Alias) error {
	if err := w.spill(); err != nil {
		return err
	}
	foot, size, err := w.finish(f, aliases)
	if err != nil {
		return w.fault.set(noSpace(err))
	}
	fs := w.d.segs.fs
	if err := fs.Rename(partName(w.id), segmentName(w.id)); err != nil {
		return w.fault.set(err)
	}
	if err := w.f.Close(); err != nil {
		w.d.log.Warn("close a synced segment", errorAttr(err))
	}
	w.f = nil
	err = fs.SyncDir()
	if err == nil {
		err = w.d.commit(ctx, &change{build: func(b *batch) error {
			if err := w.d.recordSegment(b, foot, w.id, size); err != nil || w.keep == nil {
				return err
			}
			return w.d.forgetPartial(b, w.keep.key, w.id) // it is whole now
		}})
		if err == nil && w.keep != nil {
			w.keep.set(partialRecord{}, 0)
		}
	}
	if err != nil && w.d.pack.broken() == nil { // else the next start settles it
		err = errors.Join(err, fs.Remove(segmentName(w.id)))
	}
	if errors.Is(err, errStored) { // somebody else was faster
		size, err = 0, w.d.putFile(ctx, f, aliases)
	}
	if err != nil {
		return w.fault.set(err)
	}
	w.blocks, w.final = nil, size
	return w.discard(false)
}

// finish writes nodes and footers behind the content and makes all of it durable.
func (w *fileWriter) finish(f File, aliases map[string]Alias) (*footer, int64, error) {
	if err := w.contiguous(f.Size); err != nil {
		return nil, 0, err
	}
	nodes, at, err := w.nodes.copyTo(w.f, w.end)
	if err != nil {
		return nil, 0, err
	}
	w.blocks = append(w.blocks, nodes...)
	foot := &footer{at: w.d.now(), file: f, aliases: aliases, blocks: w.blocks}
	tail := foot.encode()
	n := len(tail)
	tail = appendTrailer(tail, tail, at)
	tail = append(tail, tail[:n]...)
	tail = appendTrailer(tail, tail[:n], at+int64(n)+trailerLength)
	if err := w.d.space.want(int64(len(tail))); err != nil {
		return nil, 0, err
	}
	if _, err := w.f.WriteAt(tail, at); err != nil {
		return nil, 0, err
	}
	size := at + int64(len(tail))
	if err := w.f.Truncate(size); err != nil { // gives back what was set aside and not needed
		return nil, 0, err
	}
	return foot, size, w.f.Sync()
}

// contiguous sorts the leaves, checks that they are size bytes without a gap, and
// leaves out those that are in their CIDs.
func (w *fileWriter) contiguous(size int64) error {
	slices.SortFunc(w.blocks, func(a, b placedBlock) int { return cmp.Compare(a.off, b.off) })
	var end int64
	for _, leaf := range w.blocks {
		if leaf.off > end {
			break
		}
		end = max(end, leaf.off+leaf.length)
	}
	if end != size || w.end != size {
		return fmt.Errorf("%d bytes of content in one piece, %d in all, %d declared", end, w.end, size)
	}
	w.blocks = slices.DeleteFunc(w.blocks, func(leaf placedBlock) bool {
		return isIdentity(leaf.cid)
	})
	return nil
}

// errStored says that the store has a file already.
var errStored = errors.New("file is stored already")

// recordSegment adds what a new file segment holds; a collection that runs keeps it.
func (d *Disk) recordSegment(b *batch, foot *footer, id uint64, size int64) error {
	d.touched.file(foot)
	rec, err := getFile(b, fileKey(foot.file.Root))
	if err == nil && rec.seg != 0 && rec.size == foot.file.Size && rec.sha256 == foot.file.SHA256 {
		return errStored
	}
	d.epoch.Add(1)
	d.useSegment(id)
	return foot.index(b, id, size)
}

// index adds what a whole file segment holds: first that more is coming, then the
// places of the blocks, then the file and its names, last that this was all.
func (f *footer) index(b *batch, id uint64, size int64) error {
	rec := segmentRecord{kind: fileSegment, state: segmentOpen, size: size, file: fileKey(f.file.Root)}
	b.set(segmentKey(id), rec.encode())
	private := f.isPrivate()
	for _, blk := range f.blocks {
		if err := b.addCopy(blk.cid.Hash(), extent{id, blk.off, blk.length}, private); err != nil {
			return err
		}
	}
	b.set(rec.file, fileRecord{size: f.file.Size, sha256: f.file.SHA256, seg: id}.encode())
	for key, a := range f.aliases {
		if err := b.setAlias(key, a, f.at); err != nil {
			return err
		}
	}
	rec.state = segmentWhole
	b.set(segmentKey(id), rec.encode())
	return nil
}
