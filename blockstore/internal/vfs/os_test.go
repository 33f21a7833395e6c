package vfs

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/hypha-node/hypha-node/internal/pastcache"
)

// TestWriteAt: what is written in several pieces is there as if it were one.
func TestWriteAt(t *testing.T) {
	dir := t.TempDir()
	o, err := OpenOS(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	f, err := o.Open("f", Create)
	if err != nil {
		t.Fatal(err)
	}
	want := make([]byte, 5)
	for _, n := range []int{0, 1, pastcache.Piece - 1, pastcache.Piece, pastcache.Piece + 1, 3*pastcache.Piece + 7} {
		p := make([]byte, n)
		for i := range p {
			p[i] = byte(n + i*i>>7)
		}
		if got, err := f.WriteAt(p, int64(len(want))); err != nil || got != n {
			t.Fatalf("wrote %d of %d bytes: %v", got, n, err)
		}
		want = append(want, p...)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(dir, "f"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%d bytes that differ from the %d written", len(got), len(want))
	}
	r, err := o.Open("f", Read)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if n, err := r.WriteAt(make([]byte, pastcache.Piece+1), 0); err == nil || n != 0 {
		t.Errorf("a file open for reading took %d bytes, error %v", n, err)
	}
}

// TestBulk: what goes past the kernel's cache and what goes through it make one
// file, whatever their order, as whoever reads it meanwhile finds it.
func TestBulk(t *testing.T) {
	dir := t.TempDir()
	o, err := OpenOS(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	f, err := o.Open("f", CreateBulk)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := o.Open("f", CreateBulk); err == nil {
		t.Error("a name was taken twice")
	}
	const size = 4 << 20
	if err := f.Allocate(size); err != nil {
		t.Fatal(err)
	}
	pages := make([]byte, size+1) // at the front of a page
	want := make([]byte, size)
	got := make([]byte, size)
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range 400 {
		off, n, shift := rnd.IntN(size), 1+rnd.IntN(512<<10), i%2
		if i%3 != 0 {
			off, n = off&^4095, n|4095+1
		}
		n = min(n, size-off)
		p := pages[shift : shift+n]
		for j := range p {
			p[j] = byte(i + j>>8)
		}
		if m, err := f.WriteAt(p, int64(off)); err != nil || m != n {
			t.Fatalf("wrote %d of %d bytes at %d: %v", m, n, off, err)
		}
		copy(want[off:], p)
		if i%50 == 0 { // pages that are in the cache have to go
			if m, err := f.ReadAt(got, 0); err != nil && !errors.Is(err, io.EOF) || !bytes.Equal(got[:m], want[:m]) {
				t.Fatalf("after write %d: read %d other bytes: %v", i, m, err)
			}
		}
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	f, err = o.Open("f", WriteBulk)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	clear(pages)
	if _, err := f.WriteAt(pages[:1<<20], 1<<20); err != nil {
		t.Fatal(err)
	}
	clear(want[1<<20 : 2<<20])
	if m, err := f.ReadAt(got, 0); err != nil && !errors.Is(err, io.EOF) || !bytes.Equal(got[:m], want[:m]) {
		t.Errorf("after opening it again: %d other bytes: %v", m, err)
	}
}
