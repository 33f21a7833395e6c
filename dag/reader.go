package dag

import (
	"context"
	"fmt"
	"io"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/ipfs/go-cid"
)

// Reader reads one file, verified. Its methods may be called concurrently, but
// not with Close.
type Reader struct {
	src     Getter
	root    cid.Cid
	top     *node
	content *blockstore.Content // the file's content in one piece, not verified; nil if there is none
	local   bool                // src is a store: no use in many requests at once
	ahead   int64               // bytes of a store that a copy reads ahead of its writer; 0: as many as help
}

// ReadAhead bounds the bytes that each later copy out of a store holds, read and
// verified ahead of who takes them: 0 means as many as help, about 2 MiB for each
// processor and more. Two runs of 2 MiB are the least.
func (r *Reader) ReadAhead(n int64) { r.ahead = n }

// Open looks at the root of a file and checks its claims. src may be a
// blockstore.Store, whose content in one piece is then read directly. The caller
// closes the reader.
func Open(ctx context.Context, src Getter, root cid.Cid) (*Reader, error) {
	r := &Reader{src: src, root: root}
	_, r.local = src.(blockstore.Files)
	n, err := r.open(ctx)
	switch {
	case err != nil:
		return nil, err
	case n.typ() != TypeFile:
		return nil, fmt.Errorf("%s is a %s: %w", root, n.typ(), ErrNotFile)
	}
	r.top = n
	if files, ok := src.(blockstore.Files); ok && len(n.links) > 0 && root.Type() != cid.Raw {
		r.content, err = files.OpenFile(ctx, root)
		if err != nil {
			r.content = nil // scattered, unknown or damaged: block by block then
		} else if r.content.Size != n.size {
			err = r.content.Close()
			r.content = nil
			return r, err
		}
	}
	return r, nil
}

// open returns the root. A raw one need not be read for its size in a store; it
// is then a node with itself as the only leaf.
func (r *Reader) open(ctx context.Context) (*node, error) {
	if _, ok := r.src.(sizer); !ok || r.root.Type() != cid.Raw {
		return getNode(ctx, r.src, r.root)
	}
	e, err := child(ctx, r.src, link{cid: r.root})
	n := &node{kind: fsFile, size: e.Size}
	if e.Size > 0 {
		n.links, n.blocks = []link{{cid: r.root}}, []int64{e.Size}
	}
	return n, err
}

// Size returns the bytes of the file.
func (r *Reader) Size() int64 { return r.top.size }

// Close releases what the reader holds open.
func (r *Reader) Close() error {
	if r.content == nil {
		return nil
	}
	return r.content.Close()
}

// CopyRange writes the n bytes from offset off, or all from there when n < 0,
// to w in order and returns the bytes written. A range that ends behind the file
// ends with it; one that begins behind it is io.ErrUnexpectedEOF. Nothing that
// is not verified is written.
func (r *Reader) CopyRange(ctx context.Context, w io.Writer, off, n int64) (int64, error) {
	end, err := r.bound(off, n)
	if err != nil || off == end {
		return 0, err
	}
	return r.copyOrdered(ctx, w, off, end)
}

// bound returns where the n bytes from offset off end, all from there when n < 0.
func (r *Reader) bound(off, n int64) (end int64, err error) {
	end = r.Size()
	if off < 0 || off > end {
		return 0, fmt.Errorf("offset %d of a file of %d bytes: %w", off, end, io.ErrUnexpectedEOF)
	}
	if n >= 0 && n < end-off {
		end = off + n
	}
	return end, nil
}

// CopyAt writes the whole file to w. It may leave wrong bytes behind only with
// an error. progress, if not nil, gets the bytes written since its last call.
func (r *Reader) CopyAt(ctx context.Context, w io.WriterAt, progress func(n int64)) error {
	var out io.Writer = io.NewOffsetWriter(w, 0)
	if progress != nil {
		out = writers{out, counter(progress)}
	}
	_, err := r.CopyRange(ctx, out, 0, -1)
	return err
}
