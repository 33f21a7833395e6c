package pastcache

import (
	"bytes"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

// content returns n bytes at the front of a page.
func content(n int) []byte {
	p := make([]byte, max(n, 1<<20))[:n]
	rand.NewChaCha8([32]byte{byte(n), byte(n >> 8)}).Read(p)
	return p
}

// TestWriter: what is written past the cache and through it, in any order and at once,
// is there for who reads it; and large pieces do go past it where the test's directory
// has such a way.
func TestWriter(t *testing.T) {
	const leaf = 1 << 20
	for _, c := range []struct {
		name  string
		size  int
		shift int // of the address behind the front of a page
		past  bool
	}{
		{"whole leaves", 3 * leaf, 0, true},
		{"a tail of no whole page", 2*leaf + 4096*20 + 77, 0, true},
		{"a small tail", leaf + 5, 0, true},
		{"less than a piece", Piece - 1, 0, false},
		{"addresses within a page", 2 * leaf, 8, false},
		{"nothing", 0, 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, err := os.Create(filepath.Join(t.TempDir(), "f"))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			want := content(c.size + c.shift)[c.shift:]
			w := NewWriter(f)
			for off := (max(c.size, 1) - 1) / leaf * leaf; off >= 0; off -= leaf {
				p := want[off:min(off+leaf, c.size)]
				if n, err := w.WriteAt(p, int64(off)); n != len(p) || err != nil {
					t.Fatalf("wrote %d of %d bytes at %d: %v", n, len(p), off, err)
				}
			}
			went := w.past != nil && !w.refused.Load()
			if err := w.Close(); err != nil {
				t.Error(err)
			}
			got, err := io.ReadAll(f)
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("read %d bytes that are not the %d written: %v", len(got), len(want), err)
			}
			if has := runtime.GOOS == "linux" && takesDirect(t); went != (c.past && has) {
				t.Errorf("past the cache: %v, want %v", went, c.past && has)
			}
		})
	}
}

// takesDirect tells whether the test's directory has a way past the cache.
func takesDirect(t *testing.T) bool {
	f, err := os.Create(filepath.Join(t.TempDir(), "try"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	past := reopen(f)
	if past == nil {
		return false
	}
	defer past.Close()
	_, err = past.WriteAt(content(Piece), 0)
	return err == nil
}

// TestWriterFails: an error that is none of the way past the cache is the caller's.
func TestWriterFails(t *testing.T) {
	name := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(name, nil, 0o400); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	f2, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	w := &Writer{f: f, past: f2}
	w.once.Do(func() {})
	if n, err := w.WriteAt(content(1<<20), 0); err == nil || n != 0 {
		t.Errorf("wrote %d bytes to a file that is open for reading: %v", n, err)
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
}
