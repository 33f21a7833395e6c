package ingest

import (
	"context"
	"io"

	"github.com/ipfs/go-cid"

	"github.com/hypha-node/hypha-node/blockstore"
)

// partStore is a store that tells what has been written of the one file that is
// being imported, where its writers can be read from.
type partStore struct {
	blockstore.Store
	part *part
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
	return partWriter{FileWriter: w, part: s.part}, nil
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
