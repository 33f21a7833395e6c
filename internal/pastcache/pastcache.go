package pastcache

import (
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"unsafe"
)

const (
	// Align is what offsets, lengths and addresses of reads and writes past the cache
	// are multiples of, bytes. Disks with larger blocks refuse them.
	Align = 4096
	// Piece is the least that goes past the cache, and the most that is written into it
	// by one call, bytes. For a larger write the kernel looks for larger stretches of
	// free memory, and compacts memory when there are none: on a machine whose memory is
	// in use, 1 GiB onto ext4 took 0.5 s of system time in pieces of 64 KiB, 0.8 s of
	// 128 KiB, and 3.9 s of 1 MiB (Linux 6.18; docs/decisions/0002).
	Piece = 64 << 10
	// Least is from which size on it is worth while to write a file past the cache, bytes.
	Least = 2 << 20
)

// Fits returns how much of the front of p can go past the cache at offset off.
func Fits(p []byte, off int64) int {
	n := len(p) &^ (Align - 1)
	if n < Piece || off%Align != 0 || uintptr(unsafe.Pointer(unsafe.SliceData(p)))%Align != 0 {
		return 0
	}
	return n
}

// WritePieces writes p through the cache at offset off, in pieces.
func WritePieces(f *os.File, p []byte, off int64) (n int, err error) {
	for piece := range slices.Chunk(p, Piece) {
		m, err := f.WriteAt(piece, off+int64(n))
		if n += m; err != nil {
			return n, err
		}
	}
	return n, nil
}

// Writer writes one file past the cache, and what does not fit through it. It is safe
// for concurrent use, but for Close.
type Writer struct {
	f *os.File

	once    sync.Once
	past    *os.File // the same file, past the cache; set by once, nil: there is no such way
	refused atomic.Bool
}

// NewWriter returns a writer of f, which stays the caller's and must outlive it.
func NewWriter(f *os.File) *Writer { return &Writer{f: f} }

// WriteAt writes p at offset off.
func (w *Writer) WriteAt(p []byte, off int64) (n int, err error) {
	if fit := Fits(p, off); fit > 0 && !w.refused.Load() {
		if n, err = w.writePast(p[:fit], off); err != nil {
			return n, err
		}
	}
	m, err := WritePieces(w.f, p[n:], off+int64(n))
	return n + m, err
}

// writePast writes what fits, or nothing where the file system refuses it.
func (w *Writer) writePast(p []byte, off int64) (int, error) {
	w.once.Do(func() { w.past = reopen(w.f) })
	if w.past == nil {
		w.refused.Store(true)
		return 0, nil
	}
	n, err := w.past.WriteAt(p, off)
	if Refused(err) {
		w.refused.Store(true)
		return n, nil
	}
	return n, err
}

// Close gives up the way past the cache; the file stays open.
func (w *Writer) Close() error {
	w.once.Do(func() {}) // from now on it is not opened
	if w.past == nil {
		return nil
	}
	return w.past.Close()
}
