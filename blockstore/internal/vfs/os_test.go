package vfs

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
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
	for _, n := range []int{0, 1, writeBytes - 1, writeBytes, writeBytes + 1, 3*writeBytes + 7} {
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
	if n, err := r.WriteAt(make([]byte, writeBytes+1), 0); err == nil || n != 0 {
		t.Errorf("a file open for reading took %d bytes, error %v", n, err)
	}
}
