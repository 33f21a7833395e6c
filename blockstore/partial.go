package blockstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"log/slog"
	"slices"
	"sync"

	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"

	"github.com/hypha-node/hypha-node/blockstore/internal/vfs"
)

const (
	// keptLeaves is how many leaves one pair of the index lists at most.
	keptLeaves = 1024
	// maxState is the longest state that Keep takes, in bytes.
	maxState = 64 << 10
)

// errShort says that a part file has less than what was kept of it.
var errShort = errors.New("less than what was kept")

// PartialFile is a FileWriter of a file whose beginning is kept: what Keep noted
// outlives Abort, Close, kill -9 and power cuts, until ResumeFile goes on with it
// or it is dropped. It is given up with the part file after a failed write, when
// it was not gone on with for a week, by a collection, and when a new file needs
// its room. What was written can be read, not verified: the caller compares it
// with the leaves.
type PartialFile interface {
	FileWriter
	io.ReaderAt
	// Kept returns what is kept, a Size of 0 for nothing.
	Kept() Kept
	// Leaves yields the CID and the bytes of the content of each leaf that is
	// kept, in order.
	Leaves() iter.Seq2[cid.Cid, int64]
	// Keep makes durable that the content before byte n is here, with the state
	// that its writer needs to go on, of 64 KiB at most. Up to there, all leaves
	// have been written, in order. After an error that left the part file sound,
	// the writer can go on.
	Keep(ctx context.Context, n int64, state []byte) error
	// Drop is Abort that forgets what was kept, too.
	Drop() error
}

// partialFile is the PartialFile of a Disk.
type partialFile struct{ *fileWriter }

// Kept is what is known of the beginning of a file.
type Kept struct {
	Size  int64  // bytes of content that are kept
	Total int64  // bytes of the whole content
	State []byte // of the last Keep
}

// KeepFile is NewFile for a file of size bytes whose beginning may be kept under
// a name. What was kept under that name before is dropped. While somebody else
// writes a file of that name, and where there is only one leaf, Keep does nothing.
func (d *Disk) KeepFile(ctx context.Context, name string, size int64) (PartialFile, error) {
	return d.keepFileFor(ctx, "", name, size)
}

func (d *Disk) keepFileFor(ctx context.Context, scope, name string, size int64) (PartialFile, error) {
	if err := d.enter(ctx); err != nil {
		return nil, err
	}
	defer d.gate.leave()
	key := partialKey(inScope(scope, name))
	if size <= maxBlock || !d.claims.take(key) {
		return d.newPartial(ctx, scope, size, nil)
	}
	k := &keeping{key: key, rec: partialRecord{size: size}}
	rec, err := getPartial(d.index, key)
	if err == nil || errors.Is(err, errValue) {
		_, err = d.dropPartial(ctx, key, rec)
	}
	if err != nil && !errors.Is(err, errAbsent) {
		d.claims.giveBack(key)
		return nil, err
	}
	return d.newPartial(ctx, scope, size, k)
}

// inScope keeps the beginnings of one scope from the others.
func inScope(scope, name string) string {
	if scope == "" {
		return name
	}
	return name + "\x00" + scope
}

func (d *Disk) newPartial(ctx context.Context, scope string, size int64, k *keeping) (PartialFile, error) {
	w, err := d.newFile(ctx, size, k)
	if err != nil {
		return nil, err
	}
	w.scope = scope
	return partialFile{w}, nil
}

// ResumeFile goes on with a file that was kept under a name: its next leaf begins
// at byte Kept().Size, and its inner nodes are put again. ipld.ErrNotFound when
// there is none, and while somebody else writes it.
func (d *Disk) ResumeFile(ctx context.Context, name string) (PartialFile, error) {
	return d.resumeFileFor(ctx, "", name)
}

func (d *Disk) resumeFileFor(ctx context.Context, scope, name string) (PartialFile, error) {
	if err := d.enter(ctx); err != nil {
		return nil, err
	}
	defer d.gate.leave()
	missing := fmt.Errorf("partial file: %w", ipld.ErrNotFound{})
	key := partialKey(inScope(scope, name))
	if !d.claims.take(key) {
		return nil, missing
	}
	w, err := d.resume(ctx, key)
	if err == nil {
		w.scope = scope
		return partialFile{w}, nil
	}
	defer d.claims.giveBack(key)
	if errors.Is(err, errAbsent) {
		return nil, missing
	}
	useless := func(why error) bool { return errors.Is(err, why) }
	if !slices.ContainsFunc([]error{errValue, errOld, errShort, fs.ErrNotExist}, useless) {
		return nil, err
	}
	d.log.Warn("partial file is of no use", errorAttr(err))
	rec, gerr := getPartial(d.index, key)
	if gerr != nil && !errors.Is(gerr, errValue) {
		return nil, gerr
	}
	if _, err := d.dropPartial(ctx, key, rec); err != nil {
		return nil, err
	}
	return nil, missing
}

// resume opens the part file of a record.
func (d *Disk) resume(ctx context.Context, key []byte) (*fileWriter, error) {
	rec, err := getPartial(d.index, key)
	if err != nil {
		return nil, err
	}
	if d.isOld(rec) {
		return nil, fmt.Errorf("part file %s: %w", partName(rec.id), errOld)
	}
	leaves, err := d.keptLeaves(rec)
	if err != nil {
		return nil, err
	}
	w := &fileWriter{
		d: d, size: rec.size, nodes: nodeSpool{segs: d.segs}, id: rec.id, blocks: leaves, end: rec.kept,
		keep: &keeping{key: key, rec: rec, next: len(leaves), listed: true},
	}
	w.total.Store(rec.kept)
	if err := w.reopen(ctx, rec); err != nil {
		d.quota.settle(w, rec.kept)
		return nil, err
	}
	d.parts.Store(w, nil)
	return w, nil
}

// reopen opens a part file to go on with, and sees to the room for the rest.
func (w *fileWriter) reopen(ctx context.Context, rec partialRecord) error {
	w.d.quota.writes(w, rec.id, rec.kept)
	if err := w.room(ctx, rec.size-rec.kept); err != nil {
		return err
	}
	f, err := w.d.segs.fs.Open(partName(rec.id), vfs.WriteBulk)
	if err != nil {
		return err
	}
	w.f = f
	if have, err := f.Size(); err != nil || have < rec.kept {
		return errors.Join(err, f.Close(), fmt.Errorf("part file %s has %d bytes: %w", partName(rec.id), have, errShort))
	}
	if err := w.allocate(); err != nil {
		return errors.Join(err, f.Close())
	}
	return nil
}

// keptLeaves returns the leaves of a beginning, in order and without a gap.
func (d *Disk) keptLeaves(rec partialRecord) (leaves []placedBlock, err error) {
	end := int64(0)
	err = errors.Join(d.index.scan(keptPrefix(rec.id), nil, func(k, v []byte) bool {
		if _, off, kerr := parseKeptKey(k); kerr != nil || off != end || end >= rec.kept {
			return false // behind the end: of a Keep that was cut short
		}
		var run []placedBlock
		if run, err = decodeLeaves(v, end); err != nil {
			return false
		}
		leaves = append(leaves, run...)
		end = leaves[len(leaves)-1].off + leaves[len(leaves)-1].length
		return true
	}), err)
	if err == nil && end != rec.kept {
		err = fmt.Errorf("leaves of %d bytes, %d were kept: %w", end, rec.kept, errValue)
	}
	return leaves, err
}

// keeping is what a fileWriter knows that is kept.
type keeping struct {
	key []byte // of the index

	one    sync.Mutex // held by a Keep
	listed bool       // the name of the part file is durable; guarded by one

	mu   sync.Mutex
	rec  partialRecord // as the index has it, if kept > 0
	next int           // leaves that the index knows
}

func (k *keeping) get() (partialRecord, int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.rec, k.next
}

func (k *keeping) set(rec partialRecord, next int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.rec, k.next = rec, next
}

// Kept returns what is kept.
func (p partialFile) Kept() Kept {
	if p.keep == nil {
		return Kept{Total: p.size}
	}
	rec, _ := p.keep.get()
	return Kept{Size: rec.kept, Total: rec.size, State: slices.Clone(rec.state)}
}

// Leaves yields what is kept.
func (p partialFile) Leaves() iter.Seq2[cid.Cid, int64] {
	p.mu.Lock()
	defer p.mu.Unlock()
	var leaves []placedBlock
	if p.keep != nil {
		_, n := p.keep.get()
		leaves = p.blocks[:n:n]
	}
	return func(yield func(cid.Cid, int64) bool) {
		for _, l := range leaves {
			if !yield(l.cid, l.length) {
				return
			}
		}
	}
}

// Keep notes how far the file is.
func (p partialFile) Keep(ctx context.Context, n int64, state []byte) error {
	if p.keep == nil {
		return nil
	}
	if len(state) > maxState {
		return fmt.Errorf("state of %d bytes, at most %d", len(state), maxState)
	}
	if err := p.d.enter(ctx); err != nil {
		return err
	}
	defer p.d.gate.leave()
	p.keep.one.Lock()
	defer p.keep.one.Unlock()
	run, err := p.fresh(n)
	if err != nil || len(run) == 0 {
		return err
	}
	defer p.writes.Done()
	return p.record(ctx, run, n, state)
}

// fresh returns the leaves before byte n that the index does not know yet. If
// there are any, the caller calls writes.Done.
func (p partialFile) fresh(n int64) ([]placedBlock, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.usable(); err != nil {
		return nil, err
	}
	rec, next := p.keep.get()
	end, last := rec.kept, next
	for ; last < len(p.blocks) && end < n && p.blocks[last].off == end; last++ {
		end += p.blocks[last].length
	}
	if end != n {
		return nil, fmt.Errorf("leaves are here up to byte %d, not up to %d", end, n)
	}
	run := slices.Clone(p.blocks[next:last])
	if len(run) > 0 {
		p.writes.Add(1)
	}
	return run, nil
}

// record flushes the part file and tells the index of leaves that are in it.
func (p partialFile) record(ctx context.Context, run []placedBlock, n int64, state []byte) error {
	k := p.keep
	if err := p.f.Sync(); err != nil {
		return p.fault.set(noSpace(err)) // a later success would mean nothing
	}
	if !k.listed {
		if err := p.d.segs.fs.SyncDir(); err != nil {
			return p.fault.set(err)
		}
		k.listed = true
	}
	rec, next := k.get()
	rec.id, rec.at, rec.kept, rec.state = p.id, p.d.now(), n, slices.Clone(state)
	err := p.d.commit(ctx, &change{build: func(b *batch) error {
		for some := range slices.Chunk(run, keptLeaves) {
			b.set(keptKey(p.id, some[0].off), encodeLeaves(some))
		}
		b.set(k.key, rec.encode())
		return nil
	}})
	if err != nil {
		return err
	}
	k.set(rec, next+len(run))
	return nil
}

// Drop forgets everything.
func (p partialFile) Drop() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.spent {
		return nil
	}
	p.spent = true
	return p.discard(false)
}

// part gives a part file up, or leaves in it what is kept, and returns the bytes
// that it leaves on the disk; the caller holds mu.
func (w *fileWriter) part(stay bool) (left int64, err error) {
	var rec partialRecord
	if w.keep != nil {
		defer w.d.claims.giveBack(w.keep.key)
		rec, _ = w.keep.get()
	}
	f := w.f
	w.f = nil
	if rec.kept > 0 && stay && f != nil {
		return rec.kept, errors.Join(f.Truncate(rec.kept), f.Close()) // gives back what was set aside
	}
	if f != nil {
		err = f.Close()
	}
	if rec.kept > 0 {
		_, derr := w.d.dropPartial(context.Background(), w.keep.key, rec)
		return 0, errors.Join(err, derr)
	}
	if f != nil {
		err = errors.Join(err, w.d.segs.fs.Remove(partName(w.id)))
	}
	return w.final, err
}

// dropPartial forgets the beginning of a file, then removes it. It returns the
// bytes that this gave back.
func (d *Disk) dropPartial(ctx context.Context, key []byte, rec partialRecord) (int64, error) {
	err := d.commit(ctx, &change{frees: true, build: func(b *batch) error { return d.forgetPartial(b, key, rec.id) }})
	if err != nil || rec.id == 0 {
		return 0, err
	}
	info, err := d.segs.fs.Stat(partName(rec.id))
	if err != nil {
		return 0, nil //nolint:nilerr // gone already
	}
	d.log.Info("dropped a partial file", slog.String("segment", info.Name), slog.Int64("bytes", info.Size))
	return info.Allocated, d.segs.fs.Remove(info.Name)
}

// forgetPartial takes the beginning of a file out of the index.
func (d *Disk) forgetPartial(b *batch, key []byte, id uint64) error {
	b.delete(key)
	return d.index.scan(keptPrefix(id), nil, func(k, _ []byte) bool {
		b.delete(slices.Clone(k))
		return true
	})
}
