package vfs

import (
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/hypha-node/hypha-node/internal/pastcache"
)

// past reads and writes a file past the kernel's cache (O_DIRECT, open(2)). Pages of
// the cache that lie under it are written back before, and forgotten when it writes,
// so that nobody reads what is old, here or there.
type past struct {
	root  *os.Root
	name  string
	flag  int // of open(2)
	reads *pastReads

	once    sync.Once
	f       *os.File    // set by once; nil: the file system has no such way
	refused atomic.Bool // it wants something else
}

// openPast returns a way past the cache into a file that was opened by its name; it
// is opened when it is needed.
func openPast(o *OS, name string, flag int) *past {
	return &past{root: o.root, name: name, flag: flag, reads: o.reads}
}

// file returns the way past the cache into the file of, nil if there is none.
func (d *past) file(of *os.File) *os.File {
	d.once.Do(func() {
		f, err := d.root.OpenFile(d.name, d.flag|unix.O_DIRECT, 0)
		if err != nil {
			return
		}
		if !sameFile(f, of) { // somebody else has the name by now
			_ = f.Close()
			return
		}
		d.f = f
	})
	return d.f
}

func sameFile(a, b *os.File) bool {
	infoA, err := a.Stat()
	if err != nil {
		return false
	}
	infoB, err := b.Stat()
	return err == nil && os.SameFile(infoA, infoB)
}

// fits returns how much of the front of p can go past the cache at offset off.
func (d *past) fits(p []byte, off int64) int {
	if d == nil || d.refused.Load() {
		return 0
	}
	return pastcache.Fits(p, off)
}

// readAt reads as much of the front of p past the cache as is to go there, and tells
// how much that was: nothing of what the cache has, or is to have because it is read
// again and again. An error is found again by who reads the rest.
func (d *past) readAt(of *os.File, p []byte, off int64) int {
	n := d.fits(p, off)
	if n == 0 || !uncached(of, off, n) || !d.reads.next(d.name, off, n) {
		return 0
	}
	f := d.file(of)
	if f == nil {
		d.refused.Store(true)
		return 0
	}
	m := 0
	err := retry(func() (err error) {
		m, err = unix.Pread(int(f.Fd()), p[:n], off)
		return err
	})
	if pastcache.Refused(err) {
		d.refused.Store(true)
	}
	if err != nil {
		return 0
	}
	return m &^ (pastcache.Align - 1)
}

// uncached tells whether less than half of a range is in the kernel's cache. Linux
// before 6.5 can't tell: then everything is read through it.
func uncached(f *os.File, off int64, n int) bool {
	var stat unix.Cachestat_t
	err := unix.Cachestat(uint(f.Fd()), &unix.CachestatRange{Off: uint64(off), Len: uint64(n)}, &stat, 0)
	return err == nil && stat.Cache < uint64(n/os.Getpagesize()/2)
}

// writeAt writes as much of the front of p as can go past the cache, and tells how
// much that was: nothing of less than pastcache.Piece.
func (d *past) writeAt(of *os.File, p []byte, off int64) (int, error) {
	n := d.fits(p, off)
	if n == 0 {
		return 0, nil
	}
	f := d.file(of)
	if f == nil {
		d.refused.Store(true)
		return 0, nil
	}
	m, err := f.WriteAt(p[:n], off)
	if pastcache.Refused(err) {
		d.refused.Store(true)
		return m, nil // the rest goes the other way
	}
	return m, err
}

func (d *past) close() error {
	if d == nil {
		return nil
	}
	d.once.Do(func() {}) // from now on it is not opened
	if d.f == nil {
		return nil
	}
	return d.f.Close()
}
