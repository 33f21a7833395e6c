package blockstore

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"

	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"

	"github.com/hypha-node/hypha-node/blockstore/internal/vfs"
)

func errorAttr(err error) slog.Attr { return slog.Any("error", err) }

func isNotFound(err error) bool { return err != nil && ipld.IsNotFound(err) }

// File returns the record of a file, or makes one up for a stored raw sha2-256
// block, whose digest is its sha256.
func (d *Disk) File(ctx context.Context, root cid.Cid) (File, error) {
	if err := d.enter(ctx); err != nil {
		return File{}, err
	}
	defer d.gate.leave()
	f, _, err := d.file(root)
	return f, err
}

// file returns a file and where its content lies: a segment number of 0 means
// that it is not in one piece.
func (d *Disk) file(root cid.Cid) (File, extent, error) {
	missing := fmt.Errorf("file: %w", ipld.ErrNotFound{Cid: root})
	if !root.Defined() {
		return File{}, extent{}, missing
	}
	if data, ok, err := inline(root); err != nil {
		return File{}, extent{}, err
	} else if ok && root.Type() == cid.Raw {
		return File{Root: root, Size: int64(len(data)), SHA256: sha256.Sum256(data)}, extent{}, nil
	}
	if sum, ok := rawDigest(root); ok {
		all, err := d.find(root)
		if errors.Is(err, errAbsent) {
			err = missing
		}
		if err != nil {
			return File{}, extent{}, err
		}
		return File{Root: root, Size: all[0].length, SHA256: sum}, all[0], nil
	}
	rec, err := d.fileRecord(root)
	if errors.Is(err, errAbsent) {
		err = missing
	}
	if err != nil {
		return File{}, extent{}, err
	}
	e := extent{seg: rec.seg, off: rec.off, length: rec.size}
	if rec.seg == 0 && root.Type() == cid.Raw { // one leaf of another hash
		if all, err := d.find(root); err == nil {
			e = all[0]
		}
	}
	return File{Root: root, Size: rec.size, SHA256: rec.sha256}, e, nil
}

func (d *Disk) fileRecord(root cid.Cid) (rec fileRecord, err error) {
	if !root.Defined() {
		return fileRecord{}, errAbsent
	}
	d.touched.step.RLock()
	defer d.touched.step.RUnlock()
	key := fileKey(root)
	if d.touched.isCondemned(key) {
		return fileRecord{}, errAbsent
	}
	rec, err = getFile(d.index, key)
	if err == nil {
		d.touched.root(root)
	}
	return rec, err
}

// namedBy returns the aliases of a file, with the one that every file has.
func namedBy(f File, aliases map[string][]byte) (map[string]Alias, error) {
	if !f.Root.Defined() || f.Size < 0 {
		return nil, errors.New("file without root or size")
	}
	all := make(map[string]Alias, len(aliases)+1)
	for key, meta := range aliases {
		all[key] = Alias{Root: f.Root, Meta: meta}
	}
	key := sha256Alias + hex.EncodeToString(f.SHA256[:])
	if _, given := all[key]; !given {
		all[key] = Alias{Root: f.Root}
	}
	for key, a := range all {
		if err := validAlias(key, a); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// PutFile records a file whose blocks are all stored.
func (d *Disk) PutFile(ctx context.Context, f File, aliases map[string][]byte) error {
	return d.putFileFor(ctx, "", f, aliases)
}

func (d *Disk) putFileFor(ctx context.Context, scope string, f File, aliases map[string][]byte) error {
	if err := d.enter(ctx); err != nil {
		return err
	}
	defer d.gate.leave()
	all, err := namedBy(f, aliases)
	if err == nil {
		_, err = d.label(f.Root, scope, false, all)
	}
	if err != nil {
		return err
	}
	return d.putFile(ctx, f, all)
}

// putFile records a file whose blocks are all stored, and that everybody may have
// the hidden ones.
func (d *Disk) putFile(ctx context.Context, f File, aliases map[string]Alias, hidden ...cid.Cid) error {
	var facts [][]byte
	at := d.now()
	_, selfEvident := rawDigest(f.Root) // the block alone says it
	if !selfEvident {
		facts = append(facts, fact{typ: recordFile, at: at, file: f}.record())
	}
	for key, a := range aliases {
		if selfEvident && len(a.Meta) == 0 && key == digestAlias(f.Root) {
			continue // so is this
		}
		facts = append(facts, fact{typ: recordAlias, at: at, key: key, alias: a}.record())
	}
	return d.commit(ctx, &change{flushed: true, build: func(b *batch) error {
		d.touched.root(f.Root)
		if err := b.recordFile(f); err != nil {
			return err
		}
		if err := b.unhide(hidden); err != nil {
			return err
		}
		for key, a := range aliases {
			if err := b.setAlias(key, a, at); err != nil {
				return err
			}
		}
		return nil
	}}, facts...)
}

// recordFile adds the record of a file whose root is stored; where its content
// lies is not forgotten.
func (b *batch) recordFile(f File) error {
	if _, ok := identityData(f.Root); ok {
		if f.Root.Type() != cid.Raw {
			b.set(fileKey(f.Root), fileRecord{size: f.Size, sha256: f.SHA256}.encode())
		}
		return nil
	}
	known, err := copiesOf(b, f.Root.Hash())
	if errors.Is(err, errAbsent) {
		return fmt.Errorf("file without its root: %w", ipld.ErrNotFound{Cid: f.Root})
	}
	if err != nil {
		return err
	}
	if sum, ok := rawDigest(f.Root); ok {
		if n := known.all[0].length; sum != f.SHA256 || n != f.Size {
			return fmt.Errorf("file %s is one leaf of %d bytes, not what is declared", f.Root, n)
		}
		return nil
	}
	rec := fileRecord{size: f.Size, sha256: f.SHA256}
	old, err := getFile(b, fileKey(f.Root))
	if err == nil && old.size == f.Size {
		rec.seg, rec.off = old.seg, old.off
	}
	if err != nil && !errors.Is(err, errAbsent) && !errors.Is(err, errValue) {
		return err
	}
	b.set(fileKey(f.Root), rec.encode())
	return nil
}

// OpenFile opens the content of a file that lies in one piece.
func (d *Disk) OpenFile(ctx context.Context, root cid.Cid) (*Content, error) {
	if err := d.enter(ctx); err != nil {
		return nil, err
	}
	defer d.gate.leave()
	f, e, err := d.file(root)
	if err != nil {
		return nil, err
	}
	scattered := fmt.Errorf("file %s: %w", root, ErrScattered)
	opener, ok := d.segs.fs.(vfs.FileOpener)
	if !ok || e.seg == 0 {
		return nil, scattered
	}
	if _, waits := d.pack.find(string(root.Hash())); waits && kindOf(e.seg) == packSegment {
		return nil, scattered // it may be in memory still
	}
	bulk, file, err := opener.OpenFile(segmentName(e.seg))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %w", scattered, err)
	}
	if err != nil {
		return nil, err
	}
	d.useBlock(root.Hash(), e)
	return &Content{File: file, Off: e.off, Size: f.Size, bulk: bulk}, nil
}
