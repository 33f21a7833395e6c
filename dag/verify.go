package dag

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"

	"github.com/hypha-node/hypha-node/internal/sha256pair"
	boxoblockstore "github.com/ipfs/boxo/blockstore"
	"github.com/ipfs/go-cid"
	mh "github.com/multiformats/go-multihash"
)

// fill reads and verifies the leaves of a run.
func (r *Reader) fill(ctx context.Context, t *run) {
	if t.pooled {
		t.err = r.read(ctx, t)
	}
}

func (r *Reader) read(ctx context.Context, t *run) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	if r.content != nil {
		if _, err := r.content.ReadAt(t.buf[:t.size], r.content.Off+t.off); err == nil {
			return r.verify(ctx, t)
		}
	}
	for i := range t.leaves {
		if err := r.readLeaf(ctx, t, i); err != nil {
			return err
		}
	}
	return nil
}

// bytesOf returns where leaf i of a run lies in its buffer.
func (t *run) bytesOf(i int) []byte {
	l := t.leaves[i]
	return t.buf[l.off-t.off:][:l.size]
}

// verify compares what was read past the store with the leaves' hashes, and
// reads from the store what differs.
func (r *Reader) verify(ctx context.Context, t *run) error {
	return t.compare(func(i int) error { return r.readLeaf(ctx, t, i) })
}

// compare hashes what is in the buffer of a run, two leaves at a time, and calls
// differs with each leaf that it is not.
func (t *run) compare(differs func(i int) error) error {
	for i := 0; i < len(t.leaves); i++ {
		if i+1 < len(t.leaves) && isSHA256(t.leaves[i].cid) && isSHA256(t.leaves[i+1].cid) {
			p, q := sha256pair.Sum2(t.bytesOf(i), t.bytesOf(i+1))
			if !t.leaves[i].is(p) {
				if err := differs(i); err != nil {
					return err
				}
			}
			if i++; !t.leaves[i].is(q) {
				if err := differs(i); err != nil {
					return err
				}
			}
		} else if !matches(t.leaves[i].cid, t.bytesOf(i)) {
			if err := differs(i); err != nil {
				return err
			}
		}
	}
	return nil
}

// readLeaf reads leaf i of a run from the source, which verifies it.
func (r *Reader) readLeaf(ctx context.Context, t *run, i int) error {
	l := t.leaves[i]
	take := func(data []byte) error {
		if err := l.check(data); err != nil {
			return err
		}
		copy(t.bytesOf(i), data)
		return nil
	}
	if data, ok := identity(l.cid); ok {
		return take(data)
	}
	if v, ok := r.src.(boxoblockstore.Viewer); ok {
		if err := v.View(ctx, l.cid, take); err != nil {
			if errors.Is(err, ErrMalformed) {
				return err
			}
			return blockErr(l.cid, err)
		}
		return nil
	}
	data, err := getBlock(ctx, r.src, l.cid)
	if err != nil {
		return err
	}
	return take(data)
}

// isSHA256 tells whether c is a whole sha2-256.
func isSHA256(c cid.Cid) bool {
	h := c.Hash()
	return len(h) == 2+sha256.Size && h[0] == mh.SHA2_256 && h[1] == sha256.Size
}

// is tells whether sum is the leaf's sha2-256.
func (l leaf) is(sum [sha256.Size]byte) bool { return bytes.Equal(l.cid.Hash()[2:], sum[:]) }

// matches tells whether data hashes to c.
func matches(c cid.Cid, data []byte) bool {
	if isSHA256(c) {
		sum := sha256.Sum256(data)
		return bytes.Equal(c.Hash()[2:], sum[:])
	}
	got, err := c.Prefix().Sum(data)
	return err == nil && got.Equals(c)
}

// compare reads f, which is as long as the file, and calls differs with each
// leaf that is something else there and a buffer of its size.
func (r *Reader) compare(ctx context.Context, f io.ReaderAt, differs func(l leaf, buf []byte) error) error {
	c := r.newCopier(0, r.Size())
	return c.spread(ctx, func(_ context.Context, t *run) error {
		defer c.release(t)
		if !t.pooled { // a leaf that came with its node
			buf := make([]byte, t.size)
			if _, err := f.ReadAt(buf, t.off); err != nil {
				return err
			}
			if bytes.Equal(buf, t.buf) {
				return nil
			}
			return differs(t.leaves[0], buf)
		}
		if _, err := f.ReadAt(t.buf[:t.size], t.off); err != nil {
			return err
		}
		return t.compare(func(i int) error { return differs(t.leaves[i], t.bytesOf(i)) })
	})
}
