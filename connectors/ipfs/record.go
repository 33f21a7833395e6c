package ipfs

import (
	"context"
	"io"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"

	"github.com/hypha-node/hypha-node/bitswap/swarm"
	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/dag"
)

// recorder is the store of one Fetch. It tells the source where blocks lie as soon as
// they do, so that others can have them before the whole is there.
type recorder struct {
	blockstore.Store
	src *fetcher
}

// record returns the store of a fetch into dst, which keeps beginnings of files if dst
// does.
func record(dst blockstore.Store, src *fetcher) blockstore.Store {
	r := recorder{dst, src}
	if keeps, ok := dst.(dag.KeepStore); ok {
		return keepingRecorder{r, keeps}
	}
	return r
}

// keepingRecorder is a recorder over a store that keeps the beginning of files.
type keepingRecorder struct {
	recorder
	keeps dag.KeepStore
}

// KeepFile begins a file whose beginning may be kept.
func (r keepingRecorder) KeepFile(ctx context.Context, name string, size int64) (blockstore.PartialFile, error) {
	w, err := r.keeps.KeepFile(ctx, name, size)
	if err != nil {
		return nil, err
	}
	return recordedPartial{w, r.src}, nil
}

// ResumeFile goes on with a file. What is there of it can be had by others, too.
func (r keepingRecorder) ResumeFile(ctx context.Context, name string) (blockstore.PartialFile, error) {
	w, err := r.keeps.ResumeFile(ctx, name)
	if err != nil {
		return nil, err
	}
	p := recordedPartial{w, r.src}
	r.src.resumed(p)
	return p, nil
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

// recordedPartial is a file that is being written and whose beginning may be kept.
type recordedPartial struct {
	blockstore.PartialFile
	src *fetcher
}

// WriteLeaf stores a leaf.
func (r recordedPartial) WriteLeaf(off int64, c cid.Cid, data []byte) error {
	return recordedFile{r.PartialFile, r.PartialFile, r.src}.WriteLeaf(off, c, data)
}

// tell tells a fetch of what is kept.
func (r recordedPartial) tell(f *swarm.Fetch) {
	var off int64
	for c, n := range r.Leaves() {
		f.Placed(c, off, int(n), r.PartialFile)
		off += n
	}
}
