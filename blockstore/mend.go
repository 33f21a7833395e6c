package blockstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"

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
