package dag

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	blocks "github.com/ipfs/go-block-format"
)

// Bounds of a worker's batch: what one PutMany stores.
const (
	batchBytes  = 4 << 20
	batchBlocks = 512
)

// batch is what a worker has read and not stored. The content of its blocks
// lies in slab, which is used again after a flush: PutMany keeps no reference.
type batch struct {
	im     *treeImporter
	slab   []byte
	used   int // bytes of slab
	held   int // bytes of blocks outside slab
	blocks []blocks.Block
	done   []finished
}

// finished is an entry whose top block is in the batch.
type finished struct {
	job   job
	link  link
	entry Entry
}

// work handles jobs until there are none, then stores what is left. Directories
// become complete when a batch is stored, and go into the next one.
func (im *treeImporter) work(ctx context.Context) error {
	b := &batch{im: im}
	for {
		var j job
		var ok bool
		select {
		case j, ok = <-im.jobs:
		default: // nothing to do: store, so that nobody waits for what is here
			if err := b.flush(ctx); err != nil {
				return err
			}
			select {
			case j, ok = <-im.jobs:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		if !ok {
			return b.flush(ctx)
		}
		if err := b.handle(ctx, j); err != nil {
			if name := j.path; name != "" && !errors.Is(err, context.Canceled) {
				return fmt.Errorf("%q: %w", name, err)
			}
			return err
		}
	}
}

func (b *batch) handle(ctx context.Context, j job) error {
	switch {
	case j.encode:
		return b.dir(j.in)
	case j.typ&fs.ModeSymlink != 0:
		target, err := j.in.root.Readlink(j.name)
		if err != nil {
			return err
		}
		blk := pbBlock(b.im.Profile, nil, symlinkData(target))
		b.add(blk)
		b.finish(j, newLink(blk.Cid(), len(blk.RawData()), 0), Entry{Type: TypeSymlink, Target: target})
		return b.flushIfFull(ctx)
	}
	return b.file(ctx, j)
}

// file takes in a regular file.
func (b *batch) file(ctx context.Context, j job) (err error) {
	// Not to block on what has become a FIFO since it was listed.
	f, err := j.in.root.OpenFile(j.name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("became a %s: %w", kind(info.Mode().Type()), ErrSpecial)
	}
	size := info.Size()
	if err := b.im.add(size); err != nil {
		return err
	}
	if size > int64(b.im.Profile.leafSize()) {
		return b.largeFile(ctx, j, f, size)
	}
	return b.smallFile(ctx, j, f, int(size))
}

// smallFile reads a file of one leaf into the slab.
func (b *batch) smallFile(ctx context.Context, j job, f *os.File, size int) error {
	p := b.im.Profile
	room := size + 1 // the last byte is to see the end
	if b.used+room > len(b.slab) {
		if err := b.flush(ctx); err != nil {
			return err
		}
		if room > len(b.slab) {
			b.slab = make([]byte, max(room, batchBytes))
		}
	}
	buf := b.slab[b.used : b.used+room]
	n, _, err := readFull(f, buf)
	if err != nil {
		return err
	}
	if n != size {
		return fmt.Errorf("%d bytes read of %d: %w", n, size, ErrChanged)
	}
	blk := p.leaf(buf[:n:n])
	sum := p.leafSum(blk, buf[:n])
	if _, err := b.im.accept(File{Root: blk.Cid(), Size: int64(n), SHA256: sum}); err != nil {
		return err
	}
	if p.v0 {
		b.held += len(blk.RawData())
	} else {
		b.used += n
	}
	b.add(blk)
	b.finish(j, newLink(blk.Cid(), len(blk.RawData()), 0), Entry{Type: TypeFile, Size: int64(n), SHA256: &sum})
	if b.im.Progress != nil {
		b.im.Progress(int64(n))
	}
	return b.flushIfFull(ctx)
}

// largeFile takes in a file of several leaves, which uses all cores.
func (b *batch) largeFile(ctx context.Context, j job, f *os.File, size int64) error {
	if err := b.flush(ctx); err != nil {
		return err
	}
	b.slab = nil // the window of the import is memory enough
	b.im.large.Lock()
	defer b.im.large.Unlock()
	o := ImportOptions{Profile: b.im.Profile, HashOnly: b.im.HashOnly, Progress: b.im.Progress, Size: size, Accept: b.im.accept}
	file, tsize, err := o.importTree(ctx, b.im.dst, f)
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, ErrTooLarge) {
		err = fmt.Errorf("%w: %w", ErrChanged, err)
	}
	if err != nil {
		return err
	}
	b.finish(j, link{cid: file.Root, size: tsize}, Entry{Type: TypeFile, Size: file.Size, SHA256: &file.SHA256})
	return b.flush(ctx)
}

// dir encodes a directory whose entries are all stored.
func (b *batch) dir(d *dir) error {
	l, err := b.im.Profile.encodeDir(d.links, func(blk blocks.Block) error {
		b.held += len(blk.RawData())
		b.add(blk)
		return nil
	})
	if err != nil {
		return err
	}
	d.links = nil
	b.finish(job{in: d.up, index: d.index, path: d.path}, l, Entry{Type: TypeDir, Size: d.size.Load()})
	return b.im.close(d.root)
}

func (b *batch) add(blk blocks.Block) {
	if !b.im.HashOnly {
		b.blocks = append(b.blocks, blk)
	}
}

// finish notes an entry that is complete when the batch is stored.
func (b *batch) finish(j job, l link, e Entry) {
	e.Path, e.Cid = j.path, l.cid
	b.done = append(b.done, finished{j, l, e})
}

func (b *batch) flushIfFull(ctx context.Context) error {
	if len(b.done) >= batchBlocks || b.held >= batchBytes {
		return b.flush(ctx)
	}
	return nil
}

// flush stores the batch and reports its entries, and so on with the
// directories that become complete by it.
func (b *batch) flush(ctx context.Context) error {
	for len(b.done) > 0 {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		if len(b.blocks) > 0 {
			if err := b.im.dst.PutMany(ctx, b.blocks); err != nil {
				return err
			}
		}
		done := b.done
		clear(b.blocks)
		b.blocks, b.done, b.used, b.held = b.blocks[:0], nil, 0, 0
		for _, f := range done {
			if d := b.im.stored(f.job, f.link, f.entry); d != nil {
				if err := b.dir(d); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
