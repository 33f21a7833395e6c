package diskspace_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/hypha-node/hypha-node/internal/diskspace"
)

func TestOf(t *testing.T) {
	dir := t.TempDir()
	s, err := diskspace.Of(dir)
	if err != nil {
		t.Fatal(err)
	}
	if s.Total <= 0 || s.Free < 0 || s.Free > s.Total {
		t.Errorf("Of(%s) = %+v: free must lie between 0 and a positive total", dir, s)
	}
	if _, err := diskspace.Of(filepath.Join(dir, "absent")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Of an absent path = %v, want fs.ErrNotExist", err)
	}
}

func TestUsed(t *testing.T) {
	dir := t.TempDir()
	before, err := diskspace.Used(dir)
	if err != nil {
		t.Fatal(err)
	}
	data := make([]byte, 1<<20)
	for i := range data {
		data[i] = byte(i*7 + 1)
	}
	if err := os.MkdirAll(filepath.Join(dir, "a", "b"), 0o700); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(dir, "a", "b", "c"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil { // delayed allocation ends
		t.Fatal(err)
	}
	if err := os.Symlink("..", filepath.Join(dir, "a", "loop")); err != nil {
		t.Fatal(err)
	}
	after, err := diskspace.Used(dir)
	if grown := after - before; err != nil || grown < 1<<20 || grown > 1<<20+64<<10 {
		t.Errorf("Used grew by %d bytes, %v; want 1 MiB and a little", grown, err)
	}
	if _, err := diskspace.Used(filepath.Join(dir, "absent")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Used of an absent path = %v, want fs.ErrNotExist", err)
	}
}
