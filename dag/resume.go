package dag

import (
	"context"
	"crypto/sha256"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/internal/sha256pair"
	ipld "github.com/ipfs/go-ipld-format"
)

// ErrStale says that a beginning can't be gone on with: its bytes are not what
// they were, or the rest is of something else. It has been dropped.
var ErrStale = errors.New("beginning of the content is of no use")

// Keep says how the beginning of a content is kept while the rest comes. The
// zero value keeps nothing.
type Keep struct {
	Name  string // for Resume
	Note  []byte // for who resumes, at most 16 KiB
	Every int64  // bytes of content that come until the next time; 0 means 14 MiB
}

// keepEvery is half a window: while one half is flushed, the other comes.
const keepEvery = window / 2

// Partial is the beginning of a content that is in a store, held for one Import.
type Partial struct {
	file  blockstore.PartialFile
	kept  blockstore.Kept
	state keptState
}

// keptState is what an Import has in its memory besides leaves.
type keptState struct {
	Profile string   `json:"profile"`
	Whole   []byte   `json:"sha256"` // state of the hash of the content
	Also    [][]byte `json:"also"`   // states of ImportOptions.Also
	Note    []byte   `json:"note"`
}

// KeepStore is a store that keeps the beginning of files; blockstore.Disk is one.
type KeepStore interface {
	KeepFile(ctx context.Context, name string, size int64) (blockstore.PartialFile, error)
	ResumeFile(ctx context.Context, name string) (blockstore.PartialFile, error)
}

// Resume takes what is kept of a content for ImportOptions.Resume, or for Leave
// or Drop. It returns nil when there is nothing, or somebody else has it.
func Resume(ctx context.Context, s blockstore.Store, name string) (*Partial, error) {
	ks, ok := s.(KeepStore)
	if !ok {
		return nil, nil //nolint:nilnil // as the comment says
	}
	file, err := ks.ResumeFile(ctx, name)
	if ipld.IsNotFound(err) {
		return nil, nil //nolint:nilnil // as the comment says
	}
	if err != nil {
		return nil, err
	}
	p := &Partial{file: file, kept: file.Kept()}
	if json.Unmarshal(p.kept.State, &p.state) != nil {
		return nil, file.Drop()
	}
	return p, nil
}

// Size returns the bytes that are here.
func (p *Partial) Size() int64 { return p.kept.Size }

// Total returns the bytes of the whole content.
func (p *Partial) Total() int64 { return p.kept.Total }

// Note returns what Keep.Note was.
func (p *Partial) Note() []byte { return p.state.Note }

// ReadAt reads what is here, not verified, until the Import that goes on with it
// commits or ends.
func (p *Partial) ReadAt(b []byte, off int64) (int, error) { return p.file.ReadAt(b, off) }

// Leave gives the beginning back as it was.
func (p *Partial) Leave() error { return p.file.Abort() }

// Drop forgets the beginning.
func (p *Partial) Drop() error { return p.file.Drop() }

// begin makes the file writer of an import: one that goes on, one that is kept,
// or a plain one.
func (im *importer) begin(ctx context.Context) error {
	if p := im.Resume; p != nil {
		im.keep = im.newKeeper(p.file)
		im.file = p.file
		return nil
	}
	size := im.Size
	if size <= 0 {
		size = -1
	}
	var err error
	ks, ok := im.dst.(KeepStore)
	if !ok || im.Keep.Name == "" || size < 0 {
		im.file, err = im.dst.NewFile(ctx, size)
		return err
	}
	file, err := ks.KeepFile(ctx, im.Keep.Name, size)
	if err != nil {
		return err
	}
	im.keep = im.newKeeper(file)
	im.file = file
	return nil
}

func (im *importer) newKeeper(file blockstore.PartialFile) *keeper {
	return newKeeper(file, keptState{Profile: im.Profile.String(), Note: im.Keep.Note}, im.Keep.Every)
}

// restore brings an import to where the beginning ends.
func (im *importer) restore() error {
	p := im.Resume
	if p == nil {
		return nil
	}
	copied := p.state.Profile == copyProfile // its leaves tell whether it fits
	if !copied && p.state.Profile != im.Profile.String() || im.Size != p.Total() || len(p.state.Also) != len(im.Also) {
		return fmt.Errorf("%d of %d bytes with profile %s, want %d with %s: %w",
			p.Size(), p.Total(), p.state.Profile, im.Size, im.Profile, ErrStale)
	}
	for i, w := range im.Also {
		u, ok := w.(encoding.BinaryUnmarshaler)
		if !ok || u.UnmarshalBinary(p.state.Also[i]) != nil {
			return fmt.Errorf("state of hash %d: %w", i, ErrStale)
		}
	}
	for c, n := range p.file.Leaves() {
		if im.size += n; n != int64(im.Profile.leafSize()) && im.size != im.Size {
			return fmt.Errorf("leaf of %d bytes in a copy, want %d: %w", n, im.Profile.leafSize(), ErrStale)
		}
		if err := im.tree.leaf(c, int(n), n); err != nil {
			return err
		}
	}
	return nil
}

// wholeHash is the hash of the content, over the leaves or beside them.
type wholeHash struct {
	pair  *sha256pair.Digest
	whole hash.Hash
}

// newHash returns the hash of what is here.
func (im *importer) newHash() (h wholeHash, err error) {
	h.pair, h.whole = sha256pair.New(), sha256.New()
	if im.Resume == nil {
		return h, nil
	}
	if h.pair, err = sha256pair.Resume(im.Resume.state.Whole, im.Resume.Size()); err != nil {
		return h, fmt.Errorf("%w: %w", ErrStale, err)
	}
	if u, ok := h.whole.(encoding.BinaryUnmarshaler); ok {
		err = u.UnmarshalBinary(im.Resume.state.Whole)
	}
	return h, err
}

// mark is how far an import is, and what it has in its memory there.
type mark struct {
	end   int64 // bytes of content
	whole []byte
	also  [][]byte
}

// mark returns where an import is; nil at the end, from where nobody goes on.
func (im *importer) mark(h wholeHash, end int64) (m *mark, err error) {
	if im.keep == nil || end >= im.Size {
		return nil, nil //nolint:nilnil // as the comment says
	}
	m = &mark{end: end}
	if !im.apart {
		m.whole, err = h.pair.State()
	} else {
		m.whole, err = stateOf(h.whole)
	}
	for _, w := range im.Also {
		if err != nil {
			break
		}
		var s []byte
		s, err = stateOf(w)
		m.also = append(m.also, s)
	}
	return m, err
}

func stateOf(w io.Writer) ([]byte, error) {
	m, ok := w.(encoding.BinaryMarshaler)
	if !ok {
		return nil, fmt.Errorf("keep the state of a %T: %w", w, errors.ErrUnsupported)
	}
	return m.MarshalBinary()
}

// teePrefix gives the tee what is kept, verified.
func (im *importer) teePrefix(ctx context.Context) error {
	p := im.Resume
	if p == nil {
		return nil
	}
	buf := make([]byte, im.Profile.leafSize()) // in place of the first leaf, see ImportMemory
	off := int64(0)
	for c, n := range p.file.Leaves() {
		if ctx.Err() != nil {
			return nil //nolint:nilerr // the import fails for it, when the rest is kept
		}
		if n > int64(len(buf)) {
			return fmt.Errorf("leaf of %d bytes: %w", n, ErrStale)
		}
		leaf := buf[:n]
		if _, err := p.file.ReadAt(leaf, off); err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("%w: %w", ErrStale, err)
		}
		if rawCID(sha256.Sum256(leaf)) != c {
			return fmt.Errorf("leaf at byte %d has other bytes: %w", off, ErrStale)
		}
		if _, err := im.Tee.WriteAt(leaf, off); err != nil {
			return err
		}
		off += n
	}
	return nil
}
