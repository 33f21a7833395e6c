package dag

import (
	"context"
	"io"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"

	"github.com/hypha-node/hypha-node/blockstore"
)

// Tap is told what is written to a store, when it has been written. Of files only those
// are told of that can be read from meanwhile. Its functions may be nil; they are called
// from any goroutine that writes.
type Tap struct {
	Begun   func(from io.ReaderAt)                              // a new file
	Resumed func(w blockstore.PartialFile)                      // a file that is gone on with
	Leaf    func(from io.ReaderAt, off int64, c cid.Cid, n int) // n bytes of a file
	Blocks  func(blks []blocks.Block)                           // outside of files
}

// On returns a store that tells a Tap; it keeps beginnings of files if s does.
func (t Tap) On(s blockstore.Store) blockstore.Store {
	ts := tapped{s, t}
	if keeps, ok := s.(KeepStore); ok {
		return tappedKeeper{ts, keeps}
	}
	return ts
}

// tapped is a store that a Tap hears.
type tapped struct {
	blockstore.Store
	tap Tap
}

// Put stores a block.
func (s tapped) Put(ctx context.Context, blk blocks.Block) error {
	return s.PutMany(ctx, []blocks.Block{blk})
}

// PutMany stores blocks.
func (s tapped) PutMany(ctx context.Context, blks []blocks.Block) error {
	err := s.Store.PutMany(ctx, blks)
	if err == nil && s.tap.Blocks != nil {
		s.tap.Blocks(blks)
	}
	return err
}

// NewFile begins a file.
func (s tapped) NewFile(ctx context.Context, size int64) (blockstore.FileWriter, error) {
	w, err := s.Store.NewFile(ctx, size)
	if err != nil {
		return nil, err
	}
	from, ok := w.(io.ReaderAt)
	if !ok {
		return w, nil
	}
	s.tap.begun(from)
	return tappedFile{w, from, s.tap}, nil
}

func (t Tap) begun(from io.ReaderAt) {
	if t.Begun != nil {
		t.Begun(from)
	}
}

// tappedKeeper is tapped over a store that keeps the beginning of files.
type tappedKeeper struct {
	tapped
	keeps KeepStore
}

// KeepFile begins a file whose beginning may be kept.
func (s tappedKeeper) KeepFile(ctx context.Context, name string, size int64) (blockstore.PartialFile, error) {
	w, err := s.keeps.KeepFile(ctx, name, size)
	if err != nil {
		return nil, err
	}
	s.tap.begun(w)
	return tappedPartial{w, s.tap}, nil
}

// ResumeFile goes on with a file.
func (s tappedKeeper) ResumeFile(ctx context.Context, name string) (blockstore.PartialFile, error) {
	w, err := s.keeps.ResumeFile(ctx, name)
	if err != nil {
		return nil, err
	}
	if s.tap.Resumed != nil {
		s.tap.Resumed(w)
	}
	return tappedPartial{w, s.tap}, nil
}

// tappedFile is a file that is being written; others may read it, too.
type tappedFile struct {
	blockstore.FileWriter
	io.ReaderAt
	tap Tap
}

// WriteLeaf stores a leaf.
func (w tappedFile) WriteLeaf(off int64, c cid.Cid, data []byte) error {
	err := w.FileWriter.WriteLeaf(off, c, data)
	if err == nil && w.tap.Leaf != nil {
		w.tap.Leaf(w.ReaderAt, off, c, len(data))
	}
	return err
}

// tappedPartial is a tappedFile whose beginning may be kept.
type tappedPartial struct {
	blockstore.PartialFile
	tap Tap
}

// WriteLeaf stores a leaf.
func (w tappedPartial) WriteLeaf(off int64, c cid.Cid, data []byte) error {
	return tappedFile{w.PartialFile, w.PartialFile, w.tap}.WriteLeaf(off, c, data)
}
