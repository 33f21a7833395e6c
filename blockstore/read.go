package blockstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"log/slog"
	"slices"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
	mh "github.com/multiformats/go-multihash"
)

// inline answers for an identity CID, which carries its bytes in itself.
func inline(c cid.Cid) (data []byte, ok bool, err error) {
	data, ok = identityData(c)
	if ok && len(data) > maxIdentity {
		return nil, false, admit(c, len(data))
	}
	return data, ok, nil
}

// Has tells whether a block is stored; its bytes are not looked at.
func (d *Disk) Has(ctx context.Context, c cid.Cid) (bool, error) {
	_, err := d.GetSize(ctx, c)
	if ipld.IsNotFound(err) {
		return false, nil
	}
	return err == nil, err
}

// GetSize returns the bytes of a block, -1 beside an error.
func (d *Disk) GetSize(ctx context.Context, c cid.Cid) (int, error) {
	if err := d.enter(ctx); err != nil {
		return -1, err
	}
	defer d.gate.leave()
	if data, ok, err := inline(c); ok || err != nil {
		return len(data), err
	}
	all, err := d.locate(c)
	if err != nil {
		return -1, err
	}
	return int(all[0].length), nil
}

func (d *Disk) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return d.gate.enter()
}

// locate is find for callers outside of the package.
func (d *Disk) locate(c cid.Cid) ([]extent, error) {
	if !c.Defined() {
		return nil, ipld.ErrNotFound{Cid: c}
	}
	all, err := d.find(c)
	if errors.Is(err, errAbsent) {
		return nil, ipld.ErrNotFound{Cid: c}
	}
	if err != nil {
		return nil, fmt.Errorf("block %s: %w", c, err)
	}
	return all, nil
}

// Get returns a block, verified. Bytes that went bad are dropped: the error is
// ErrCorrupt and not found at once.
func (d *Disk) Get(ctx context.Context, c cid.Cid) (blocks.Block, error) {
	if err := d.enter(ctx); err != nil {
		return nil, err
	}
	defer d.gate.leave()
	if data, ok, err := inline(c); ok || err != nil {
		if err != nil {
			return nil, err
		}
		return blocks.NewBlockWithCid(data, c)
	}
	data, err := d.load(ctx, c, matches, func(n int64) []byte { return make([]byte, n) })
	if err != nil {
		return nil, err
	}
	return blocks.NewBlockWithCid(data, c)
}

// View calls f with the verified bytes of a block; they are valid during the
// call only.
func (d *Disk) View(ctx context.Context, c cid.Cid, f func([]byte) error) error {
	return d.view(ctx, c, matches, f)
}

func (d *Disk) view(ctx context.Context, c cid.Cid, check checking, f func([]byte) error) error {
	if err := d.enter(ctx); err != nil {
		return err
	}
	if data, ok, err := inline(c); ok || err != nil {
		d.gate.leave()
		if err != nil {
			return err
		}
		return f(data)
	}
	buf, _ := d.buffers.Get().(*[]byte) //nolint:errcheck // the pool holds nothing else
	defer d.buffers.Put(buf)
	data, err := d.load(ctx, c, check, func(n int64) []byte { return (*buf)[:n] })
	d.gate.leave() // f may take its time, and may close the store
	if err != nil {
		return err
	}
	return f(data)
}

// checking tells whether bytes are those of a hash.
type checking func(hash mh.Multihash, data []byte) (bool, error)

// load reads and verifies a block, from one place after the other. A block that
// is moved or deleted meanwhile is looked for again: only bytes that the index
// still vouches for are corrupt.
func (d *Disk) load(ctx context.Context, c cid.Cid, check checking, alloc func(n int64) []byte) ([]byte, error) {
	var tried []extent
	var corrupt error
	for {
		all, err := d.locate(c)
		if corrupt != nil && ipld.IsNotFound(err) {
			return nil, corrupt
		}
		if err != nil {
			return nil, err
		}
		i := slices.IndexFunc(all, func(e extent) bool { return !slices.Contains(tried, e) })
		if i < 0 {
			return nil, corrupt
		}
		e := all[i]
		data := alloc(e.length)
		bad, err := d.readChecked(c.Hash(), e, data, check)
		if err != nil {
			return nil, fmt.Errorf("block %s: %w", c, err)
		}
		if bad == "" {
			d.useBlock(c.Hash(), e)
			return data, nil
		}
		if all, err := d.locate(c); err != nil || !slices.Contains(all, e) {
			continue
		}
		tried = append(tried, e)
		corrupt = d.corrupt(ctx, c, e, bad)
	}
}

// readExtent reads and verifies bytes; bad says what is wrong with them. An
// error is one of the machine, which says nothing of what is stored.
func (d *Disk) readExtent(hash mh.Multihash, e extent, data []byte) (bad string, err error) {
	return d.readChecked(hash, e, data, matches)
}

func (d *Disk) readChecked(hash mh.Multihash, e extent, data []byte, check checking) (bad string, err error) {
	if !d.pack.read(data, e) {
		seg, err := d.segs.acquire(e.seg)
		if errors.Is(err, fs.ErrNotExist) {
			return "segment is missing", nil
		}
		if err != nil {
			return "", err
		}
		_, err = seg.ReadAt(data, e.off)
		d.segs.release(seg)
		if errors.Is(err, io.EOF) {
			return "segment is too short", nil
		}
		if err != nil {
			return "", err
		}
	}
	ok, err := check(hash, data)
	if err != nil {
		return "", err
	}
	if !ok {
		return "bytes do not match their hash", nil
	}
	return "", nil
}

// corrupt drops a block that went bad and returns the error that says so.
func (d *Disk) corrupt(ctx context.Context, c cid.Cid, e extent, problem string) error {
	err := fmt.Errorf("%w: %s at byte %d of %s: %w", ErrCorrupt, problem, e.off, segmentName(e.seg), ipld.ErrNotFound{Cid: c})
	d.log.Warn("dropped a bad block", slog.String("cid", c.String()), slog.String("segment", segmentName(e.seg)),
		slog.Int64("offset", e.off), slog.String("problem", problem))
	// The reader's context is no reason to keep it.
	derr := d.commit(context.WithoutCancel(ctx), &change{flushed: true, frees: true, build: func(b *batch) error {
		return b.dropBlock(c.Hash(), func(at extent) bool { return at == e })
	}})
	if derr != nil {
		d.log.Warn("bad block stays in the index", slog.String("cid", c.String()), slog.Any("error", derr))
	}
	return err
}

// Keys yields every stored block as CIDv1 raw of its multihash.
func (d *Disk) Keys(ctx context.Context) iter.Seq2[cid.Cid, error] {
	return func(yield func(cid.Cid, error) bool) {
		if err := d.enter(ctx); err != nil {
			yield(cid.Undef, err)
			return
		}
		d.gate.leave()
		// First what waits; it may reach the index meanwhile and is passed over there.
		waiting := d.pack.waiting()
		for hash := range waiting {
			if !yield(cid.NewCidV1(cid.Raw, mh.Multihash(hash)), nil) {
				return
			}
		}
		for op, err := range d.pairs(ctx, []byte{keyBlock}) {
			if err != nil {
				yield(cid.Undef, err)
				return
			}
			hash := mh.Multihash(op.key[1:])
			if _, ok := waiting[string(hash)]; !ok && !yield(cid.NewCidV1(cid.Raw, hash), nil) {
				return
			}
		}
	}
}

// AllKeysChan is Keys as boxo's libraries want it: a listing that is cut looks
// like one that ended.
func (d *Disk) AllKeysChan(ctx context.Context) (<-chan cid.Cid, error) {
	return d.listKeys(ctx, d.Keys(ctx))
}

func (d *Disk) listKeys(ctx context.Context, keys iter.Seq2[cid.Cid, error]) (<-chan cid.Cid, error) {
	if err := d.enter(ctx); err != nil {
		return nil, err
	}
	defer d.gate.leave()
	out := make(chan cid.Cid)
	d.listing.Go(func() {
		defer close(out)
		for c, err := range keys {
			if err != nil {
				return
			}
			select {
			case out <- c:
			case <-ctx.Done():
				return
			case <-d.done:
				return
			}
		}
	})
	return out, nil
}
