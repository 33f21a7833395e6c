package vfs

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// TestReadBulk: what is large goes past the kernel's cache when it is read twice,
// and into it when it is read again; everything else goes through it.
func TestReadBulk(t *testing.T) {
	const size = 3<<20 + 4096 + 5
	want := pages(size)
	for i := range want {
		want[i] = byte(i ^ i>>8 ^ i>>16)
	}
	o := directory(t)
	type read struct {
		off, n, shift int  // shift is that of the address behind the front of a page
		cached        bool // what was read is in the cache afterwards
	}
	for _, c := range []struct {
		name  string
		reads []read
	}{
		{"once", []read{{off: 0, n: 1 << 20}}},
		{"again and again", []read{{off: 0, n: 1 << 20}, {off: 0, n: 1 << 20}, {off: 0, n: 1 << 20, cached: true}}},
		{"one part after the other", []read{{off: 0, n: 256 << 10}, {off: 256 << 10, n: 256 << 10}, {off: 512 << 10, n: 1 << 20}}},
		{"a part of it again and again", []read{{off: 0, n: 1 << 20}, {off: 512 << 10, n: 1 << 20}, {off: 768 << 10, n: 1 << 20, cached: true}}},
		{"small", []read{{off: 0, n: 4096, cached: true}}},
		{"address within a page", []read{{off: 0, n: 1 << 20, shift: 8, cached: true}}},
		{"offset within a page", []read{{off: 77, n: 1 << 20, cached: true}}},
		{"length within a page", []read{{off: 0, n: 1<<20 + 77}}},
		{"to the end", []read{{off: 2 << 20, n: size - 2<<20}}},
		{"beyond the end", []read{{off: 2 << 20, n: 2 << 20}}},
		{"behind the end", []read{{off: 4 << 20, n: 1 << 20}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := bulkFile(t, o, want)
			for i, r := range c.reads {
				got := pages(r.n + r.shift)[r.shift:]
				n, err := f.ReadAt(got, int64(r.off))
				from, to := min(r.off, size), min(r.off+r.n, size)
				if n != to-from || !bytes.Equal(got[:n], want[from:to]) {
					t.Errorf("read %d: %d bytes that differ from the %d written", i, n, to-from)
				}
				if short := n < r.n; short != errors.Is(err, io.EOF) || !short && err != nil {
					t.Errorf("read %d: %d of %d bytes, error %v", i, n, r.n, err)
				}
				if whole := (to - from) &^ 4095; whole > 0 && uncached(f.f, int64(r.off), whole) == r.cached {
					t.Errorf("read %d: in the cache: %v, want %v", i, !r.cached, r.cached)
				}
			}
		})
	}
}

// TestReadBulkAtOnce: readers of the same content do not disturb each other, also
// when it is removed beneath them.
func TestReadBulkAtOnce(t *testing.T) {
	want := pages(4 << 20)
	for i := range want {
		want[i] = byte(i ^ i>>8 ^ i>>16)
	}
	o := directory(t)
	f := bulkFile(t, o, want)
	var readers sync.WaitGroup
	for i := range 8 {
		readers.Go(func() {
			got := pages(1 << 20)
			for k := range 8 {
				off := (i + k) % 4 << 20
				if _, err := f.ReadAt(got, int64(off)); err != nil || !bytes.Equal(got, want[off:][:len(got)]) {
					t.Errorf("reader %d: other bytes at %d: %v", i, off, err)
				}
			}
		})
	}
	if err := o.Remove("f"); err != nil {
		t.Error(err)
	}
	readers.Wait()
}

// TestPastReads: what is counted is bounded, and ends with the file.
func TestPastReads(t *testing.T) {
	var r pastReads
	times := func(name string, off int64, n int) (past int) {
		for r.next(name, off, n) {
			past++
		}
		return past
	}
	const unit = readsUnit
	if a, b := times("a", 0, 16*unit), times("b", 0, 16*unit); a != readsPast || b != readsPast {
		t.Errorf("%d and %d times past the cache, want %d", a, b, readsPast)
	}
	if n := times("a", 32*unit, unit-1) + times("a", 32*unit+1, unit); n != 0 {
		t.Errorf("less than a unit: %d times past the cache", n)
	}
	if n := times("a", 15*unit, 2*unit); n != 0 {
		t.Errorf("partly read before: %d times past the cache", n)
	}
	if r.forget("a"); times("a", 0, unit) != readsPast {
		t.Error("a file that was forgotten is remembered")
	}
	const end = readsMost * unit
	if last, beyond := times("large", end-unit, unit), times("larger", end, unit); last != readsPast || beyond != 0 {
		t.Errorf("%d times at the end of what is counted, %d beyond", last, beyond)
	}
	if times("b", 0, unit) != readsPast || times("b", end/2, unit) != readsPast {
		t.Error("not all was forgotten when it was too much")
	}
	if got := len(r.files["b"]); r.units != got || len(r.files) != 1 {
		t.Errorf("%d units of %d files, want %d of 1", r.units, len(r.files), got)
	}
}

func directory(t *testing.T) *OS {
	t.Helper()
	o, err := OpenOS(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := o.Close(); err != nil {
			t.Error(err)
		}
	})
	return o
}

// bulkFile returns the file f with that content, of which the cache has nothing,
// open for reading in large pieces.
func bulkFile(t *testing.T, o *OS, content []byte) *osFile {
	t.Helper()
	w, err := o.Open("f", CreateBulk)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := o.Remove("f"); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Error(err)
		}
	})
	_, err = w.WriteAt(content, 0)
	if err := errors.Join(err, w.Sync(), w.Close()); err != nil {
		t.Fatal(err)
	}
	opened, err := o.Open("f", ReadBulk)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := opened.Close(); err != nil {
			t.Error(err)
		}
	})
	f, ok := opened.(*osFile)
	if !ok {
		t.Fatalf("Open gives a %T", opened)
	}
	if err := unix.Fadvise(int(f.f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		t.Fatal(err)
	}
	d, err := os.OpenFile(filepath.Join(o.path, "f"), os.O_RDONLY|unix.O_DIRECT, 0)
	if err != nil {
		t.Skip("no reads past the cache on this file system:", err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if !uncached(f.f, 0, len(content)&^4095) {
		t.Skip("this kernel does not tell what is in its cache, or keeps everything there")
	}
	return f
}

// pages returns n bytes at the front of a page.
func pages(n int) []byte { return make([]byte, max(n, 64<<10))[:n] }
