package ingest

import (
	"context"
	"io"

	"github.com/ipfs/go-cid"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/dag"
)

// partStore is a store that tells what has been written of the one file that is
// being imported, where its writers can be read from.
type partStore struct {
	blockstore.Store
	part *part
}

// partOf returns a store that tells a part what is written of the file that is
// imported into s next, and that keeps beginnings of files if s does.
func partOf(s blockstore.Store, p *part) blockstore.Store {
	ps := partStore{s, p}
	if keeps, ok := s.(dag.KeepStore); ok {
		return keepingStore{ps, keeps}
	}
	return ps
}

// keepingStore is a partStore over a store that keeps the beginning of files.
type keepingStore struct {
	partStore
	keeps dag.KeepStore
}

// KeepFile begins a file whose beginning may be kept.
func (s keepingStore) KeepFile(ctx context.Context, name string, size int64) (blockstore.PartialFile, error) {
	w, err := s.keeps.KeepFile(ctx, name, size)
	if err != nil {
		return nil, err
	}
	s.part.open(w)
	return keepingWriter{w, s.part}, nil
}

// ResumeFile goes on with a file. What is there of it is not shown before it is
// known that the rest can be had.
func (s keepingStore) ResumeFile(ctx context.Context, name string) (blockstore.PartialFile, error) {
	w, err := s.keeps.ResumeFile(ctx, name)
	if err != nil {
		return nil, err
	}
	return keepingWriter{w, s.part}, nil
}

// keepingWriter tells what it has taken.
type keepingWriter struct {
	blockstore.PartialFile
	part *part
}

// WriteLeaf stores a leaf.
func (w keepingWriter) WriteLeaf(off int64, c cid.Cid, data []byte) error {
	return partWriter{w.PartialFile, w.part}.WriteLeaf(off, c, data)
}

// NewFile begins a file.
func (s partStore) NewFile(ctx context.Context, size int64) (blockstore.FileWriter, error) {
	w, err := s.Store.NewFile(ctx, size)
	if err != nil {
		return nil, err
	}
	source, ok := w.(io.ReaderAt)
	if !ok {
		return w, nil
	}
	s.part.open(source)
	return readablePart{partWriter{FileWriter: w, part: s.part}, source}, nil
}

// partWriter tells what it has taken.
type partWriter struct {
	blockstore.FileWriter
	part *part
}

// WriteLeaf stores a leaf.
func (w partWriter) WriteLeaf(off int64, c cid.Cid, data []byte) error {
	if err := w.FileWriter.WriteLeaf(off, c, data); err != nil {
		return err
	}
	w.part.add(off, int64(len(data)))
	return nil
}

// readablePart is a partWriter whose content others may read as well.
type readablePart struct {
	partWriter
	io.ReaderAt
}
