package blockstore

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"sync/atomic"

	"github.com/ipfs/go-cid"

	"github.com/hypha-node/hypha-node/blockstore/internal/vfs"
	"github.com/hypha-node/hypha-node/internal/diskspace"
)

// Limited is a disk whose free space a test sets.
type Limited struct {
	*vfs.OS
	free atomic.Int64
}

// SetLimit leaves room for n bytes above what the index needs; 0 is no limit.
func (l *Limited) SetLimit(n int64) {
	if n > 0 {
		n += leastReserve
	}
	l.free.Store(n)
}

func (l *Limited) Space() (diskspace.Space, error) {
	if n := l.free.Load(); n > 0 {
		return diskspace.Space{Free: n, Total: math.MaxInt64}, nil
	}
	return l.OS.Space()
}

// OpenLimited is Open on a disk whose free space a test sets.
func OpenLimited(ctx context.Context, dir string, o Options) (*Disk, *Limited, error) {
	r, err := openRepo(ctx, dir, o)
	if err != nil {
		return nil, nil, err
	}
	l := &Limited{OS: r.fs}
	env := r.environment()
	env.fs = l
	d, err := openDisk(ctx, dir, env, o)
	return d, l, err
}

// Place returns the file in which the bytes of a block lie, and where.
func (d *Disk) Place(c cid.Cid) (name string, off, length int64, err error) {
	all, err := d.find(c)
	if err != nil {
		return "", 0, 0, err
	}
	return filepath.Join(d.dir, segmentsDir, segmentName(all[0].seg)), all[0].off, all[0].length, nil
}

// FlipBit changes one bit of a file.
func FlipBit(name string, off int64, bit uint) error {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	var b [1]byte
	if _, err := f.ReadAt(b[:], off); err != nil {
		return err
	}
	b[0] ^= 1 << (bit % 8)
	_, err = f.WriteAt(b[:], off)
	return err
}
