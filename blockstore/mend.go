package blockstore

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	mh "github.com/multiformats/go-multihash"

	"github.com/hypha-node/hypha-node/blockstore/internal/vfs"
)

// Damage is a block whose bytes went bad, for whoever may bring them again.
type Damage struct {
	CID    cid.Cid // CIDv1 raw of the block's multihash
	Length int64   // bytes
	// Root is the file that the block belongs to: it holds the content from byte Off, or
	// is an inner node, where Off is negative. Of what lies in packs it is the block
	// itself, which is a file of one leaf, if it is one.
	Root    cid.Cid
	Off     int64
	Private bool // it is not for everybody: others must not be asked for it
}

// damage describes a bad place of a block.
func (d *Disk) damage(r checked) (Damage, error) {
	c := cid.NewCidV1(cid.Raw, r.hash)
	known, err := d.copies(c)
	if err != nil {
		return Damage{}, err
	}
	dmg := Damage{CID: c, Length: r.at.length, Private: known.private}
	root, ok, err := fileOf(d.index, r.at.seg)
	if err != nil {
		return dmg, err
	}
	if !ok {
		dmg.Root = c
		return dmg, nil
	}
	rec, err := getFile(d.index, fileKey(root))
	if err == nil && rec.seg == r.at.seg {
		dmg.Root, dmg.Off = root, -1
		if r.at.off >= rec.off && r.at.end() <= rec.off+rec.size {
			dmg.Off = r.at.off - rec.off
		}
	}
	return dmg, ignoreAbsent(err)
}

// mend puts good bytes in the place of bad ones, so that a file stays in one piece.
// Where that can't be written they are stored once more. A kill between leaves the
// block as bad as it was.
func (d *Disk) mend(ctx context.Context, r checked, dmg Damage, data []byte) error {
	if err := verify(dmg.CID, data); err != nil {
		return err
	}
	blk, err := blocks.NewBlockWithCid(data, dmg.CID)
	if err != nil {
		return err
	}
	if werr := d.overwrite(r.at, data); werr == nil {
		if bad, err := d.readExtent(r.hash, r.at, make([]byte, r.at.length)); bad == "" && err == nil {
			if all, err := d.find(dmg.CID); err == nil && slices.Contains(all, r.at) {
				return nil
			}
			_, err := d.append(0, dmg.Private, blk) // a reader has dropped it meanwhile
			return errors.Join(err, d.sync(ctx))
		}
	} else {
		d.log.Warn("can't write to a damaged segment", slog.String("segment", segmentName(r.at.seg)), errorAttr(werr))
	}
	if _, err := d.append(0, dmg.Private, blk); err != nil {
		return err
	}
	return d.commit(ctx, &change{flushed: true, build: func(b *batch) error {
		return b.dropBlock(r.hash, func(at extent) bool { return at == r.at })
	}})
}

// overwrite writes bytes to a segment and makes them durable.
func (d *Disk) overwrite(at extent, data []byte) error {
	f, err := d.segs.fs.Open(segmentName(at.seg), vfs.Write)
	if err != nil {
		return err
	}
	size, err := f.Size()
	if err == nil && at.end() > size {
		err = fmt.Errorf("%d bytes, fewer than there were", size)
	}
	if err == nil {
		_, err = f.WriteAt(data, at.off)
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// Leaf is a leaf of a file.
type Leaf struct {
	CID    cid.Cid // CIDv1 raw
	Length int64   // bytes
}

// LeavesOf returns the leaves of a file that lies in one piece, in the order of the
// content: ErrScattered of another. They are what the index says, whether they are good
// or not; only what comes more than once in the content is read. It reads the whole
// index.
func (d *Disk) LeavesOf(ctx context.Context, root cid.Cid) ([]Leaf, error) {
	ctx, leave, err := d.long(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	f, at, err := d.file(root)
	if err != nil {
		return nil, err
	}
	if at.seg == 0 {
		return nil, fmt.Errorf("file %s: %w", root, ErrScattered)
	}
	all, err := d.placesIn(ctx, []uint64{at.seg})
	if err != nil {
		return nil, err
	}
	seg, err := d.segs.acquire(at.seg)
	if err != nil {
		return nil, err
	}
	defer d.segs.release(seg)
	return leavesIn(io.NewSectionReader(seg, at.off, f.Size), inside(all, at.off, f.Size))
}

// inside returns the places, by offset, that lie in size bytes from off, as seen from
// there.
func inside(all []place, off, size int64) (in []place) {
	for _, p := range all {
		if p.at.off >= off && p.at.end() <= off+size {
			p.at.off -= off
			in = append(in, p)
		}
	}
	return in
}

// leavesIn returns the leaves of a content out of the places of blocks in it. The index
// knows one place of a block; where it comes again the content is hashed, in leaves of
// the greatest length that there is.
func leavesIn(content *io.SectionReader, places []place) (leaves []Leaf, err error) {
	var chunk int64
	for _, p := range places {
		chunk = max(chunk, p.at.length)
	}
	for off := int64(0); off < content.Size(); off += leaves[len(leaves)-1].Length {
		for len(places) > 0 && places[0].at.off < off {
			places = places[1:]
		}
		if len(places) > 0 && places[0].at.off == off && places[0].at.length > 0 {
			leaves = append(leaves, Leaf{cid.NewCidV1(cid.Raw, places[0].hash), places[0].at.length})
			continue
		}
		if chunk == 0 {
			return nil, fmt.Errorf("content of %d bytes without a leaf: %w", content.Size(), ErrScattered)
		}
		data := make([]byte, min(chunk, content.Size()-off))
		if _, err := content.ReadAt(data, off); err != nil {
			return nil, err
		}
		sum := sha256.Sum256(data)
		hash, err := mh.Encode(sum[:], mh.SHA2_256)
		if err != nil {
			return nil, err
		}
		leaves = append(leaves, Leaf{cid.NewCidV1(cid.Raw, hash), int64(len(data))})
	}
	return leaves, nil
}

// AliasesOf returns all aliases of a root by their keys. It reads every alias.
func (d *Disk) AliasesOf(ctx context.Context, root cid.Cid) (map[string]Alias, error) {
	ctx, leave, err := d.long(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	all := make(map[string]Alias)
	for op, err := range d.pairs(ctx, []byte{keyAlias}) {
		if err != nil {
			return nil, err
		}
		if r, err := decodeAliasRecord(op.key, op.value); err == nil && r.Root.Equals(root) {
			all[string(op.key[1:])] = r.Alias
		}
	}
	return all, nil
}
