package dag

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"syscall"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/internal/atomicfile"
	"github.com/hypha-node/hypha-node/internal/diskspace"
	"github.com/hypha-node/hypha-node/internal/pastcache"
	"github.com/hypha-node/hypha-node/internal/reflink"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
)

// file writes the file w.Cid as base in dir and completes w.
func (o *ExportOptions) file(ctx context.Context, src blockstore.Store, dir *atomicfile.Dir, base string, w *Written) (err error) {
	if _, err := dir.Root().Lstat(base); errors.Is(err, fs.ErrNotExist) && w.Cid.Type() == cid.Raw && isSHA256(w.Cid) {
		return o.leaf(ctx, src, dir, base, w)
	}
	r, err := Open(ctx, src, w.Cid)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	w.Size = r.Size()
	known, err := r.knownSum(ctx, src)
	if err != nil {
		return err
	}
	same, err := r.present(ctx, dir.Root(), base)
	switch {
	case err != nil:
		return err
	case same:
		if o.Progress != nil {
			o.Progress(w.Size)
		}
		w.SHA256, err = r.sum(ctx, known)
		return err
	}
	return o.create(dir, base, func(f *os.File) error { return o.content(ctx, r, dir, f, known, w) })
}

// create makes the file base out of what fill writes.
func (o *ExportOptions) create(dir *atomicfile.Dir, base string, fill func(*os.File) error) error {
	f, err := dir.Create(base, atomicfile.Options{Mode: o.FileMode, Replace: o.Force})
	if err != nil {
		return err
	}
	if err := fill(f.File); err != nil {
		return errors.Join(err, f.Abort())
	}
	err = f.Commit()
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%w: %w", ErrExists, err)
	}
	return err
}

// leaf writes a new file that is one raw block: its hash is that of the content,
// and the store verifies it.
func (o *ExportOptions) leaf(ctx context.Context, src blockstore.Store, dir *atomicfile.Dir, base string, w *Written) error {
	if err := checkCID(w.Cid); err != nil {
		return err
	}
	w.SHA256 = [32]byte(w.Cid.Hash()[2:])
	return src.View(ctx, w.Cid, func(data []byte) error {
		w.Size = int64(len(data))
		return o.create(dir, base, func(f *os.File) error {
			for piece := range slices.Chunk(data, pastcache.Piece) {
				if _, err := f.Write(piece); err != nil {
					return err
				}
			}
			o.progress(w.Size)
			return nil
		})
	})
}

// content fills f, by sharing the store's bytes if the file system can.
func (o *ExportOptions) content(ctx context.Context, r *Reader, dir *atomicfile.Dir, f *os.File, known *[32]byte, w *Written) (err error) {
	if r.content != nil {
		err = reflink.Clone(f, r.content.File, r.content.Off, r.Size())
		if err == nil {
			w.Reflinked = true
			if o.Verify == VerifyAlways {
				if err := r.repair(ctx, f); err != nil {
					return err
				}
			}
			if o.Progress != nil {
				o.Progress(r.Size())
			}
			w.SHA256, err = r.sum(ctx, known)
			return err
		}
		if !errors.Is(err, reflink.ErrUnsupported) {
			return err
		}
	}
	if err := roomFor(dir, r.Size()); err != nil {
		return err
	}
	if known != nil {
		w.SHA256 = *known
		if r.content != nil && o.Verify == VerifyNever {
			return o.kernelCopy(r, f)
		}
		return r.CopyAt(ctx, f, o.Progress)
	}
	h := sha256.New()
	if _, err := r.CopyRange(ctx, io.MultiWriter(f, h, counter(o.progress)), 0, -1); err != nil {
		return err
	}
	w.SHA256 = [32]byte(h.Sum(nil))
	return nil
}

// roomFor tells whether size more bytes have room beside what is in dir, so that
// a file that is too large, or claims to be, is refused before it is written.
func roomFor(dir *atomicfile.Dir, size int64) error {
	if size <= runBytes {
		return nil // as quickly tried
	}
	space, err := diskspace.Of(dir.Root().Name())
	if err != nil {
		return nil //nolint:nilerr // the directory was renamed: writing will show
	}
	if size > space.Free {
		return fmt.Errorf("%s: %d bytes needed, %d free: %w", dir.Root().Name(), size, space.Free, blockstore.ErrNoSpace)
	}
	return nil
}

// kernelCopy copies content that lies in one piece without looking at it.
func (o *ExportOptions) kernelCopy(r *Reader, f *os.File) error {
	if _, err := r.content.Seek(r.content.Off, io.SeekStart); err != nil {
		return err
	}
	n, err := f.ReadFrom(io.LimitReader(r.content.File, r.Size()))
	if err == nil && n < r.Size() {
		err = io.ErrUnexpectedEOF
	}
	o.progress(n)
	return err
}

func (o *ExportOptions) progress(n int64) {
	if o.Progress != nil {
		o.Progress(n)
	}
}

// counter tells a function how much was written.
type counter func(int64)

func (c counter) Write(p []byte) (int, error) {
	c(int64(len(p)))
	return len(p), nil
}

// knownSum returns the sha256 of the content if the store has it on record.
func (r *Reader) knownSum(ctx context.Context, files blockstore.Files) (*[32]byte, error) {
	if r.root.Type() == cid.Raw && isSHA256(r.root) {
		return (*[32]byte)(r.root.Hash()[2:]), nil
	}
	rec, err := files.File(ctx, r.root)
	switch {
	case ipld.IsNotFound(err):
		return nil, nil //nolint:nilnil // nobody has computed it
	case err != nil:
		return nil, err
	case rec.Size != r.Size():
		return nil, malformed(r.root, "claims %d bytes, was recorded with %d", r.Size(), rec.Size)
	}
	return &rec.SHA256, nil
}

// sum returns the sha256 of the content, known or computed.
func (r *Reader) sum(ctx context.Context, known *[32]byte) ([32]byte, error) {
	if known != nil {
		return *known, nil
	}
	h := sha256.New()
	_, err := r.CopyRange(ctx, h, 0, -1)
	return [32]byte(h.Sum(nil)), err
}

// present tells whether base is a regular file with the reader's content.
func (r *Reader) present(ctx context.Context, root *os.Root, base string) (same bool, err error) {
	info, err := root.Lstat(base)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil || !info.Mode().IsRegular() || info.Size() != r.Size() {
		return false, err
	}
	f, err := root.OpenFile(base, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return false, nil //nolint:nilerr // unreadable: as good as different
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	err = r.compare(ctx, f, func(leaf, []byte) error { return errDiffers })
	if errors.Is(err, errDiffers) {
		return false, nil
	}
	return err == nil, err
}

// errDiffers stops a comparison at the first difference.
var errDiffers = errors.New("differs")

// repair reads f back, and writes again what differs from the leaves' hashes.
func (r *Reader) repair(ctx context.Context, f *os.File) error {
	return r.compare(ctx, f, func(l leaf, buf []byte) error {
		t := &run{leaves: []leaf{l}, off: l.off, size: l.size, buf: buf}
		if l.data != nil {
			copy(buf, l.data)
		} else if err := r.readLeaf(ctx, t, 0); err != nil {
			return err
		}
		_, err := f.WriteAt(buf[:l.size], l.off)
		return err
	})
}
