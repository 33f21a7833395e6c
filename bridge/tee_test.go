package bridge

import (
	"bytes"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
)

func TestTee(t *testing.T) {
	dir := t.TempDir()
	root := openRoot(t, dir)
	tee := newTee(root)
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Fatalf("a tee that got nothing made %v, %v", entries, err)
	}
	want := make([]byte, 1<<20)
	src := rand.NewChaCha8([32]byte{1})
	if _, err := src.Read(want); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	const part = 64 << 10
	for off := len(want) - part; off >= 0; off -= part {
		wg.Go(func() {
			if n, err := tee.WriteAt(want[off:off+part], int64(off)); n != part || err != nil {
				t.Errorf("WriteAt = %d, %v", n, err)
			}
		})
	}
	wg.Wait()
	size, err := tee.finish()
	if size != int64(len(want)) || err != nil {
		t.Fatalf("finish = %d, %v; want %d", size, err, len(want))
	}
	info, err := root.Lstat(tee.name)
	if err != nil || info.Mode() != 0o600 {
		t.Fatalf("mode %v, %v; want 0600", info.Mode(), err)
	}
	got, err := root.ReadFile(tee.name)
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("content differs: %v", err)
	}
	if n, err := tee.WriteAt([]byte("late"), 0); n != 4 || err != nil {
		t.Errorf("late WriteAt = %d, %v; want it dropped", n, err)
	}
	if got, err := root.ReadFile(tee.name); err != nil || !bytes.Equal(got, want) {
		t.Errorf("a late write reached the file: %v", err)
	}
	for range 2 {
		if err := tee.discard(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := root.Lstat(tee.name); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("discard left the file: %v", err)
	}
}

func TestTeeWithoutWrites(t *testing.T) {
	tee := newTee(openRoot(t, t.TempDir()))
	if size, err := tee.finish(); size != -1 || err != nil {
		t.Fatalf("finish = %d, %v; want -1", size, err)
	}
	if n, err := tee.WriteAt([]byte("late"), 0); n != 4 || err != nil {
		t.Errorf("late WriteAt = %d, %v", n, err)
	}
	if err := tee.discard(); err != nil {
		t.Fatal(err)
	}
}

// A download that others wait for must not fail because this job's disk does.
func TestTeeHidesItsFailure(t *testing.T) {
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	tee := newTee(root)
	if err := os.Remove(dir); err != nil { // nothing can be made in a removed directory
		t.Fatal(err)
	}
	for range 3 {
		if n, err := tee.WriteAt([]byte("data"), 0); n != 4 || err != nil {
			t.Fatalf("WriteAt = %d, %v; want 4, nil", n, err)
		}
	}
	if size, err := tee.finish(); size != -1 || err == nil {
		t.Fatalf("finish = %d, %v; want the error", size, err)
	}
	if err := root.Close(); err != nil {
		t.Fatal(err)
	}
}
