package blockstore

import (
	"context"
	"errors"

	"github.com/hypha-node/hypha-node/internal/diskspace"
)

// Stat is what a store holds.
type Stat struct {
	Blocks    int64 // distinct multihashes
	Files     int64 // recorded; a file of one raw leaf has no record
	Pins      int64
	Segments  int64
	Bytes     int64 // of all blocks
	DiskBytes int64 // that the repository takes on the disk
	FreeBytes int64 // that may be written before ErrNoSpace
	Quota     QuotaStat
}

// Stat counts what is stored; it reads the whole index, about 1 s per million
// blocks.
func (d *Disk) Stat(ctx context.Context) (Stat, error) {
	ctx, leave, err := d.long(ctx)
	if err != nil {
		return Stat{}, err
	}
	defer leave()
	var s Stat
	waiting := d.pack.waiting()
	for _, p := range waiting {
		s.Blocks++
		s.Bytes += p.at.length
	}
	var bad error
	err = d.index.scan([]byte{keyBlock}, nil, func(k, v []byte) bool {
		if _, ok := waiting[string(k[1:])]; ok {
			return true
		}
		known, err := decodeCopies(v)
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			bad = err
			return false
		}
		s.Blocks++
		s.Bytes += known.all[0].length
		return true
	})
	for prefix, n := range map[byte]*int64{keyFile: &s.Files, keyPin: &s.Pins, keySegment: &s.Segments} {
		err = errors.Join(err, d.index.scan([]byte{prefix}, nil, func([]byte, []byte) bool {
			*n++
			return true
		}))
	}
	if err = errors.Join(err, bad); err != nil {
		return Stat{}, err
	}
	room, err := d.segs.fs.Space()
	if err == nil {
		s.FreeBytes = max(0, room.Free-d.space.keep(room.Total))
	} else if !errors.Is(err, errors.ErrUnsupported) {
		return Stat{}, err
	}
	s.Quota = d.quota.stat()
	s.DiskBytes, err = d.used()
	return s, err
}

// used adds up what the repository takes on the disk.
func (d *Disk) used() (int64, error) {
	if d.dir != "" {
		return diskspace.Used(d.dir)
	}
	infos, err := d.segs.fs.List()
	var total int64
	for _, info := range infos {
		total += info.Allocated
	}
	return total, err
}
