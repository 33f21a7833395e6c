package dag

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/internal/sha256pair"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
)

// copyProfile stands where an import names its profile: a copy has the tree's.
const copyProfile = "copy"

// keptName is what the beginning of a file is kept as while it is copied.
func (f *fileCopy) keptName() string { return cmp.Or(f.KeepAs.Name, keptName(f.root)) }

func keptName(root cid.Cid) string { return "cid:" + root.String() }

// kept is the beginning of a file that an earlier copy left: whole raw leaves.
type kept struct {
	file blockstore.PartialFile
	size int64 // bytes
	next func() (cid.Cid, int64, bool)
	stop func() // ends what was begun for it
}

// begin makes the writer of a file of raw leaves: one that goes on with what is
// kept, one that is kept, or a plain one.
func (f *fileCopy) begin(ctx context.Context, size int64) (err error) {
	ks, ok := f.dst.(KeepStore)
	if !f.Keep || !ok {
		f.file, err = f.dst.NewFile(ctx, size)
		return err
	}
	p, err := f.resume(ctx, ks, size)
	if p == nil && err == nil {
		p, err = ks.KeepFile(ctx, f.keptName(), size)
	}
	if err != nil {
		return err
	}
	f.file, f.keep = p, newKeeper(p, keptState{Profile: copyProfile, Note: f.KeepAs.Note}, 0)
	f.kept.file, f.kept.size = p, p.Kept().Size
	next, stop := iter.Pull2(p.Leaves())
	ended := f.keep.start(context.WithoutCancel(ctx))
	f.kept.next, f.kept.stop = next, func() { stop(); ended() }
	return nil
}

// resume takes what an earlier copy left, with the hash of it; nil if that is
// nothing, or of no use.
func (f *fileCopy) resume(ctx context.Context, ks KeepStore, size int64) (blockstore.PartialFile, error) {
	p, err := ks.ResumeFile(ctx, f.keptName())
	if ipld.IsNotFound(err) {
		return nil, nil //nolint:nilnil // as the comment says
	}
	if err != nil {
		return nil, err
	}
	var state keptState
	if p.Kept().Total == size && json.Unmarshal(p.Kept().State, &state) == nil && state.Profile == copyProfile {
		if sum, err := sha256pair.Resume(state.Whole, p.Kept().Size); err == nil {
			f.sum = sum
			return p, nil
		}
	}
	return nil, p.Drop()
}

// isKept tells whether the next leaf is one that an earlier copy left.
func (f *fileCopy) isKept(l leaf) (bool, error) {
	if l.off >= f.kept.size {
		return false, nil
	}
	c, n, ok := f.kept.next()
	if !ok || !c.Equals(l.cid) || n != l.size {
		return false, fmt.Errorf("leaf at byte %d is another one: %w", l.off, ErrStale)
	}
	return true, nil
}

// readKept reads a leaf that is kept, if somebody wants its bytes.
func (f *fileCopy) readKept(l leaf) ([]byte, error) {
	if f.Tee == nil && len(f.Also) == 0 {
		return nil, nil
	}
	b := make([]byte, l.size)
	if _, err := f.kept.file.ReadAt(b, l.off); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: %w", ErrStale, err)
	}
	if rawCID(sha256.Sum256(b)) != l.cid {
		return nil, fmt.Errorf("leaf at byte %d has other bytes: %w", l.off, ErrStale)
	}
	return b, nil
}

// mark returns where the copy is behind a leaf, for the keeper. Behind one that is
// not raw nothing can be kept, but who waits for the keeper has to go on.
func (f *fileCopy) mark(l leaf) (*mark, error) {
	if f.keep == nil {
		return nil, nil //nolint:nilnil // for nobody
	}
	state, err := f.sum.State()
	return &mark{end: l.off + l.size, whole: state}, err
}

// keepable tells whether a failure leaves something that is worth keeping: not
// when the file is not what it claims, and not when the disk is full.
func keepable(err error) bool {
	for _, no := range []error{ErrStale, ErrMalformed, ErrTooLarge, ErrNotFile, blockstore.ErrNoSpace, blockstore.ErrClosed} {
		if errors.Is(err, no) {
			return false
		}
	}
	return true
}

// settle ends the writer of a file. What came before the copy failed stays, if that
// is asked for; nothing stays of what was refused.
func (f *fileCopy) settle(ctx context.Context, err error, refused bool) error {
	if f.kept.stop != nil {
		f.kept.stop()
	}
	switch {
	case f.file == nil:
		return err
	case f.keep == nil || err == nil:
	case !refused && keepable(err):
		f.keep.keep(context.WithoutCancel(ctx))
	case !errors.Is(err, blockstore.ErrClosed):
		return errors.Join(err, f.kept.file.Drop())
	}
	return errors.Join(err, f.file.Abort())
}
