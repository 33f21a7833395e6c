package ipfs

import (
	"context"
	"io"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"

	"github.com/hypha-node/hypha-node/blockstore"
)

// recorder is the store of one Fetch. It tells the source where blocks lie as soon as
// they do, so that others can have them before the whole is there.
type recorder struct {
	blockstore.Store
	src *fetcher
}

// NewFile begins a file.
func (r recorder) NewFile(ctx context.Context, size int64) (blockstore.FileWriter, error) {
	w, err := r.Store.NewFile(ctx, size)
	if err != nil {
		return nil, err
	}
	from, ok := w.(io.ReaderAt)
	if !ok {
		return w, nil
	}
	return recordedFile{w, from, r.src}, nil
}

// Put stores a block.
func (r recorder) Put(ctx context.Context, blk blocks.Block) error {
	return r.PutMany(ctx, []blocks.Block{blk})
}

// PutMany stores blocks.
func (r recorder) PutMany(ctx context.Context, blks []blocks.Block) error {
	if err := r.Store.PutMany(ctx, blks); err != nil {
		return err
	}
	if f := r.src.running(); f != nil {
		for _, blk := range blks {
			f.Stored(blk.Cid(), len(blk.RawData()))
		}
	}
	return nil
}

// recordedFile is a file that is being written.
type recordedFile struct {
	blockstore.FileWriter
	from io.ReaderAt
	src  *fetcher
}

// WriteLeaf stores a leaf.
func (r recordedFile) WriteLeaf(off int64, c cid.Cid, data []byte) error {
	if err := r.FileWriter.WriteLeaf(off, c, data); err != nil {
		return err
	}
	if f := r.src.running(); f != nil {
		f.Placed(c, off, len(data), r.from)
	}
	return nil
}
