package blockstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"slices"
	"strings"

	mh "github.com/multiformats/go-multihash"

	"github.com/hypha-node/hypha-node/blockstore/internal/vfs"
)

// errIndexLost says that there are segments and an index that was never told of
// any: somebody removed it.
var errIndexLost = errors.New("index is lost")

// metaMade is the key of a non-empty index that belongs to its segments.
func metaMade() []byte { return metaKey("made") }

// metaMark is the key of a number behind those of all segments that ever were,
// and of a time that is not before that of anything in the index.
func metaMark() []byte { return metaKey("mark") }

// checkMark continues numbers and time where the last run left off.
func (d *Disk) checkMark() error {
	err := d.index.get(metaMark(), func(v []byte) error {
		dec := decoder{b: v}
		next, at := dec.uvarint(), dec.varint()
		if dec.finish() != nil || next < 2 {
			return fmt.Errorf("mark: %w", errValue)
		}
		d.segs.used(next - 2)
		d.clock.Store(at)
		return nil
	})
	if errors.Is(err, errAbsent) {
		return nil
	}
	return err
}

// recover settles what a crash left, before anything else happens. The index is
// right about what was acknowledged; what it does not know was written shortly
// before the crash (or Badger lost the end of its log to a bad disk), and is
// taken over if it is whole:
//
//  1. part files of which the index does not know what is kept go, and segments
//     that were being removed
//  2. entries of segments that are missing go
//  3. file segments are told to the index that it knows in part or not at all
//  4. records of packs behind the end that the index knows are told to it; what
//     follows the last of them is cut off
//  5. numbers continue behind the highest one
func (d *Disk) recover(ctx context.Context) error {
	infos, err := d.segs.fs.List()
	if err != nil {
		return err
	}
	if err := d.checkMade(infos); err != nil {
		return err
	}
	if err := d.checkMark(); err != nil {
		return err
	}
	known, err := d.knownSegments()
	if err != nil {
		return err
	}
	present, err := d.clean(infos)
	if err != nil {
		return err
	}
	for id := range known {
		if _, ok := present[id]; !ok {
			if err := d.forgetSegment(ctx, id); err != nil {
				return fmt.Errorf("segment %s: %w", segmentName(id), err)
			}
		}
	}
	for _, id := range slices.Sorted(maps.Keys(present)) {
		rec, ok := known[id]
		size := present[id]
		switch {
		case kindOf(id) == packSegment:
			err = d.recoverPack(ctx, id, rec.size, size)
		case !ok || rec.state == segmentOpen:
			err = d.recoverFile(id, size)
		}
		if err != nil {
			return fmt.Errorf("segment %s: %w", segmentName(id), err)
		}
	}
	return nil
}

// checkMade tells an index that was lost from one that is new.
func (d *Disk) checkMade(infos []vfs.Info) error {
	err := d.index.get(metaMade(), func([]byte) error { return nil })
	if !errors.Is(err, errAbsent) {
		return err
	}
	for _, info := range infos {
		if _, ok := parseSegmentName(info.Name); ok {
			return errIndexLost
		}
	}
	return d.index.write([]indexOp{{metaMade(), []byte{repoVersion}}})
}

// knownSegments returns what the index knows of segments.
func (d *Disk) knownSegments() (map[uint64]segmentRecord, error) {
	known := make(map[uint64]segmentRecord)
	var bad error
	err := d.index.scan([]byte{keySegment}, nil, func(k, v []byte) bool {
		id, err := segmentOfKey(k)
		if err == nil {
			known[id], err = decodeSegmentRecord(v)
			d.segs.used(id)
		}
		bad = err
		return err == nil
	})
	return known, errors.Join(err, bad)
}

// clean removes part files that are not kept and what a collection began to remove, and returns
// the sizes of the segments that are left.
func (d *Disk) clean(infos []vfs.Info) (map[uint64]int64, error) {
	var gone []indexOp
	going := make(map[uint64]bool)
	err := d.index.scan([]byte{keyGone}, nil, func(k, _ []byte) bool {
		if id, err := segmentOfKey(k); err == nil {
			going[id] = true
			d.segs.used(id)
		}
		gone = append(gone, indexOp{key: slices.Clone(k)})
		return true
	})
	if err != nil {
		return nil, err
	}
	kept, err := d.recoverPartials(infos)
	if err != nil {
		return nil, err
	}
	present := make(map[uint64]int64)
	for _, info := range infos {
		id, ok := parseSegmentName(info.Name)
		switch {
		case kept[info.Name]:
		case strings.HasSuffix(info.Name, partSuffix) || (ok && going[id]):
			err = d.removeLeftover(info)
		case ok:
			present[id] = info.Size
			d.segs.used(id)
		}
		if err != nil {
			return nil, err
		}
	}
	if len(gone) == 0 {
		return present, nil
	}
	if err := d.segs.fs.SyncDir(); err != nil {
		return nil, err
	}
	return present, d.index.write(gone)
}

func (d *Disk) removeLeftover(info vfs.Info) error {
	d.log.Info("removed an unfinished segment", slog.String("segment", info.Name), slog.Int64("bytes", info.Size))
	err := d.segs.fs.Remove(info.Name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// forgetSegment takes a segment that is missing out of the index.
func (d *Disk) forgetSegment(ctx context.Context, id uint64) error {
	d.log.Warn("segment is missing", slog.String("segment", segmentName(id)))
	var hashes []mh.Multihash
	err := d.eachPlace(ctx, func(hash mh.Multihash, all []extent) {
		if slices.ContainsFunc(all, func(e extent) bool { return e.seg == id }) {
			hashes = append(hashes, slices.Clone(hash))
		}
	})
	if err != nil {
		return err
	}
	b := newBatch(d.index)
	for _, hash := range hashes {
		if err := b.dropBlock(hash, func(e extent) bool { return e.seg == id }); err != nil {
			return err
		}
	}
	b.delete(segmentKey(id))
	return d.index.write(b.ops)
}

// recoverFile tells the index what a file segment holds. One without a footer
// can't be: segments get their name when they are whole and durable.
func (d *Disk) recoverFile(id uint64, size int64) error {
	foot, err := d.footerOf(id)
	if errors.Is(err, errFooter) {
		return d.setAside(id)
	}
	if err != nil {
		return err
	}
	d.log.Info("took over a segment", slog.String("segment", segmentName(id)), slog.String("root", foot.file.Root.String()))
	b := newBatch(d.index)
	if err := foot.index(b, id, size); err != nil {
		return err
	}
	return d.index.write(b.ops)
}

// setAside renames a segment that nobody understands, for a human to look at.
func (d *Disk) setAside(id uint64) error {
	name := segmentName(id)
	d.log.Warn("segment is set aside: it has no footer", slog.String("segment", name))
	d.segs.forget(id)
	return d.segs.fs.Rename(name, name+asideSuffix)
}

// recoverPack takes over what was appended to a pack behind known bytes, and
// continues with the pack if it is not full.
func (d *Disk) recoverPack(ctx context.Context, id uint64, known, size int64) error {
	if size < known {
		d.log.Warn("segment is too short", slog.String("segment", segmentName(id)),
			slog.Int64("bytes", size), slog.Int64("missing", known-size))
		return nil // what is missing is found out when it is read
	}
	end := known
	if size > known {
		var err error
		if end, err = d.takeOver(ctx, id, known, size); err != nil {
			return err
		}
		if err := d.cutPack(id, end); err != nil {
			return err
		}
	}
	switch {
	case end == 0: // nothing was ever committed to it
		d.segs.forget(id)
		return d.segs.fs.Remove(segmentName(id))
	case end < d.pack.limit:
		return d.pack.resume(id, end)
	}
	return nil
}

// takeOver tells the index of whole records from byte from on and returns the
// end of the last of them.
func (d *Disk) takeOver(ctx context.Context, id uint64, from, size int64) (end int64, err error) {
	seg, err := d.segs.acquire(id)
	if err != nil {
		return from, err
	}
	defer d.segs.release(seg)
	b, end := newBatch(d.index), from
	scan := packScanner{r: seg, id: id, at: from, end: size}
	for {
		e, err := scan.next(ctx)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return from, err
		}
		good, err := d.takeRecord(ctx, b, e)
		if err != nil {
			return from, err
		}
		if good {
			end = e.off + e.size
		}
		if len(b.ops) >= pendingKeys {
			if err := d.index.write(b.ops); err != nil {
				return from, err
			}
			b = newBatch(d.index)
		}
	}
	if end > from {
		d.log.Info("took over the end of a segment", slog.String("segment", segmentName(id)), slog.Int64("bytes", end-from))
		b.set(segmentKey(id), segmentRecord{kind: packSegment, state: segmentWhole, size: end}.encode())
		if err := d.syncSegment(id); err != nil {
			return from, err
		}
	}
	return end, d.index.write(b.ops)
}

// takeRecord adds one record to a batch and tells whether it is good.
func (d *Disk) takeRecord(ctx context.Context, b *batch, e packEntry) (bool, error) {
	switch e.typ {
	case recordBlock, recordPrivate:
		bad, err := d.readExtent(e.cid.Hash(), e.at, make([]byte, e.at.length))
		if bad != "" || err != nil {
			return false, err
		}
		return true, b.addCopy(e.cid.Hash(), e.at, e.typ == recordPrivate)
	case recordDead:
		return true, nil
	}
	f, err := decodeFact(e.typ, e.fact)
	if err != nil {
		return false, nil //nolint:nilerr // it is no fact
	}
	if f.typ == recordFile { // a block before it may be torn
		whole, err := d.isWhole(ctx, b, f.file.Root, true)
		if err != nil || !whole {
			return true, err
		}
	}
	return true, f.apply(b)
}

// syncSegment makes durable what the index is about to be told.
func (d *Disk) syncSegment(id uint64) error {
	f, err := d.segs.fs.Open(segmentName(id), vfs.Write)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// cutPack removes what is behind the last record.
func (d *Disk) cutPack(id uint64, end int64) error {
	f, err := d.segs.fs.Open(segmentName(id), vfs.Write)
	if err != nil {
		return err
	}
	return errors.Join(f.Truncate(end), f.Close())
}
