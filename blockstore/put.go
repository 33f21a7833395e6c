package blockstore

import (
	"context"
	"errors"
	"slices"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	mh "github.com/multiformats/go-multihash"
)

// Put stores a block whose bytes hash to its CID. It is readable at once and
// durable after Sync.
func (d *Disk) Put(ctx context.Context, blk blocks.Block) error {
	return d.putMany(ctx, []blocks.Block{blk}, false)
}

// PutMany stores blocks in order; none of them if one does not hash to its CID.
// When the disk fills up, those before are stored.
func (d *Disk) PutMany(ctx context.Context, blks []blocks.Block) error {
	return d.putMany(ctx, blks, false)
}

// putMany is PutMany for everybody, or not. What is here, but not for everybody,
// is put for everybody once more: a rebuild has to find it so.
func (d *Disk) putMany(ctx context.Context, blks []blocks.Block, private bool) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := d.gate.enter(); err != nil {
		return err
	}
	defer d.gate.leave()
	epoch := d.epoch.Load()
	fresh, again, err := d.fresh(blks, private)
	if err != nil || len(fresh) == 0 {
		return err
	}
	if len(again) > 0 {
		epoch = 0
	}
	if err := d.withinQuota(ctx, nil, sizeOf(fresh)); err != nil {
		return err
	}
	// In slices, so that what waits stays within its bound.
	for part := range slices.Chunk(fresh, pendingKeys/4) {
		full, err := d.append(epoch, private, part...)
		if err == nil && full {
			err = d.sync(ctx)
		}
		if err != nil {
			return err
		}
	}
	if len(again) > 0 {
		return d.publish(ctx, again)
	}
	return nil
}

// append adds verified blocks to the pack and tells whether it is time to sync.
// The index did not know them in the given epoch; 0 if it may have.
func (d *Disk) append(epoch uint64, private bool, blks ...blocks.Block) (full bool, err error) {
	d.touched.step.RLock()
	defer d.touched.step.RUnlock()
	for _, blk := range blks {
		d.touched.block(blk.Cid().Hash())
	}
	full, err = d.pack.put(epoch, private, blks...)
	if d.quota != nil {
		d.uses.begin(segmentUse(d.pack.newest()), d.now())
	}
	return full, err
}

// sizeOf returns the bytes of blocks, with their heads.
func sizeOf(blks []blocks.Block) (n int64) {
	for _, blk := range blks {
		n += packHeader + int64(blk.Cid().ByteLen()+len(blk.RawData()))
	}
	return n
}

// fresh verifies blocks and returns those that are not stored, or not for
// everybody although they are to be; again are the latter.
func (d *Disk) fresh(blks []blocks.Block, private bool) (fresh []blocks.Block, again []cid.Cid, err error) {
	fresh = make([]blocks.Block, 0, len(blks))
	for _, blk := range blks {
		c, data := blk.Cid(), blk.RawData()
		if err := admit(c, len(data)); err != nil {
			return nil, nil, err
		}
		if err := verify(c, data); err != nil {
			return nil, nil, err
		}
		if isIdentity(c) {
			continue
		}
		switch known, err := d.copies(c); {
		case errors.Is(err, errAbsent):
			fresh = append(fresh, blk)
		case err != nil:
			return nil, nil, err
		case known.private && !private:
			fresh, again = append(fresh, blk), append(again, c)
		}
	}
	return fresh, again, nil
}

// find returns where a block lies, the place to read first in front, or errAbsent.
func (d *Disk) find(c cid.Cid) ([]extent, error) {
	known, err := d.copies(c)
	return known.all, err
}

// copies returns what is known of a block, or errAbsent.
func (d *Disk) copies(c cid.Cid) (copies, error) {
	hash := c.Hash()
	d.touched.step.RLock()
	defer d.touched.step.RUnlock()
	if p, ok := d.pack.find(string(hash)); ok {
		d.touched.block(hash)
		return copies{[]extent{p.at}, p.private}, nil
	}
	if d.touched.isCondemned(blockKey(hash)) {
		return copies{}, errAbsent
	}
	known, err := copiesOf(d.index, hash)
	if err == nil {
		d.touched.block(hash)
	}
	return known, err
}

// getter is an index or a batch.
type getter interface {
	get(key []byte, fn func(value []byte) error) error
}

func copiesOf(g getter, hash mh.Multihash) (c copies, err error) {
	err = g.get(blockKey(hash), func(v []byte) (err error) {
		c, err = decodeCopies(v)
		return err
	})
	return c, err
}

// addCopy adds a place of a block to those that are known. A block that was put
// for everybody once stays so; a place is private if it was not put for everybody,
// or says nothing of that.
func (b *batch) addCopy(hash mh.Multihash, e extent, private bool) error {
	known, err := copiesOf(b, hash)
	if err != nil && !errors.Is(err, errAbsent) && !errors.Is(err, errValue) {
		return err
	}
	private = private && (known.private || errors.Is(err, errAbsent))
	b.set(blockKey(hash), copies{withCopy(known.all, e), private}.encode())
	return nil
}

// unhide takes the mark from private blocks.
func (b *batch) unhide(hidden []cid.Cid) error {
	for _, c := range hidden {
		known, err := copiesOf(b, c.Hash())
		if errors.Is(err, errAbsent) {
			continue
		}
		if err != nil {
			return err
		}
		known.private = false
		b.set(blockKey(c.Hash()), known.encode())
	}
	return nil
}

// DeleteBlock forgets a block, durably, and with it the files in whose segments
// it lies and the file whose root it is.
func (d *Disk) DeleteBlock(ctx context.Context, c cid.Cid) error {
	if err := d.enter(ctx); err != nil {
		return err
	}
	defer d.gate.leave()
	if !c.Defined() {
		return nil
	}
	defer d.quota.changed()
	return d.commit(ctx, &change{flushed: true, frees: true, build: func(b *batch) error {
		d.pack.forget(c.Hash())
		return b.dropBlock(c.Hash(), func(extent) bool { return true })
	}})
}

// dropBlock removes places of a block. A file that has its block in such a place
// is not in one piece any more, and not whole if no other place is left.
func (b *batch) dropBlock(hash mh.Multihash, bad func(extent) bool) error {
	known, err := copiesOf(b, hash)
	if errors.Is(err, errAbsent) {
		return nil
	}
	if err != nil && !errors.Is(err, errValue) {
		return err
	}
	all := known.all
	left := slices.DeleteFunc(slices.Clone(all), bad)
	if len(left) == len(all) && len(all) > 0 {
		return nil
	}
	whole := len(left) > 0
	if whole {
		b.set(blockKey(hash), copies{left, known.private}.encode())
	} else {
		b.delete(blockKey(hash))
		for _, codec := range []uint64{cid.Raw, cid.DagProtobuf} {
			b.delete(fileKey(cid.NewCidV1(codec, hash)))
		}
	}
	for _, e := range all {
		if kindOf(e.seg) == fileSegment && bad(e) {
			if err := b.breakFile(e.seg, whole); err != nil {
				return err
			}
		}
	}
	return nil
}

// breakFile notes that a file segment has lost a block: its file is in pieces
// if it is still whole, and no file otherwise.
func (b *batch) breakFile(id uint64, whole bool) error {
	seg, err := getSegment(b, id)
	if errors.Is(err, errAbsent) || (err == nil && seg.file == nil) {
		return nil
	}
	if err != nil {
		return err
	}
	rec, err := getFile(b, seg.file)
	switch {
	case errors.Is(err, errAbsent):
		return nil
	case err != nil && !errors.Is(err, errValue):
		return err
	case err != nil || !whole:
		b.delete(seg.file)
	case rec.seg == id:
		rec.seg, rec.off = 0, 0
		b.set(seg.file, rec.encode())
	}
	return nil
}

func getSegment(g getter, id uint64) (rec segmentRecord, err error) {
	err = g.get(segmentKey(id), func(v []byte) (err error) {
		rec, err = decodeSegmentRecord(v)
		return err
	})
	return rec, err
}

func getFile(g getter, key []byte) (rec fileRecord, err error) {
	err = g.get(key, func(v []byte) (err error) {
		rec, err = decodeFileRecord(v)
		return err
	})
	return rec, err
}
