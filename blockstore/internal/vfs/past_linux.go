package vfs

import (
	"errors"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// pastAlign is what offsets, lengths and addresses of writes past the cache are
// multiples of, bytes. Disks with larger blocks refuse them, and get the others.
const pastAlign = 4096

// past writes to a file past the kernel's cache (O_DIRECT, open(2)). Pages of the
// cache that a write lies over are written back before and forgotten, so that the
// other file never reads what is old.
type past struct {
	f       *os.File
	refused atomic.Bool // the file system wants something else
}

// openPast returns nil where the file system has no such way.
func openPast(root *os.Root, name string) *past {
	f, err := root.OpenFile(name, os.O_RDWR|unix.O_DIRECT, 0)
	if err != nil {
		return nil
	}
	return &past{f: f}
}

// writeAt writes as much of the front of p as can go past the cache, and tells how
// much that was: nothing of less than writeBytes.
func (d *past) writeAt(p []byte, off int64) (int, error) {
	n := len(p) &^ (pastAlign - 1)
	if d == nil || n < writeBytes || off%pastAlign != 0 || !aligned(p) || d.refused.Load() {
		return 0, nil
	}
	m, err := d.f.WriteAt(p[:n], off)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) {
		d.refused.Store(true)
		return m, nil // the rest goes the other way
	}
	return m, err
}

// aligned tells whether a write past the cache can begin at the front of p.
func aligned(p []byte) bool {
	return uintptr(unsafe.Pointer(unsafe.SliceData(p)))%pastAlign == 0
}

func (d *past) close() error {
	if d == nil {
		return nil
	}
	return d.f.Close()
}
