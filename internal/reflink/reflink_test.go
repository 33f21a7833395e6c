package reflink

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestClone(t *testing.T) {
	d := t.TempDir()
	// A file system that can share bytes holds the test to it, by this variable.
	shares := os.Getenv("HYPHA_TEST_SHARES_BYTES") != ""
	content := make([]byte, 3<<20+77)
	for i := range content {
		content[i] = byte(i ^ i>>8 ^ i>>16)
	}
	src, err := os.Create(filepath.Join(d, "src"))
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	if _, err := src.Write(content); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name      string
		off, size int64
		never     bool // no file system can
		bad       bool // no such range
	}{
		{name: "whole", size: int64(len(content))},
		{name: "empty", size: 0},
		{name: "front", size: 1<<20 + 5},
		{name: "aligned tail", off: 1 << 20, size: 2<<20 + 77},
		{name: "middle", off: 1 << 20, size: 100},
		{name: "unaligned", off: 1, size: 1 << 20, never: true},
		{name: "beyond the end", off: 0, size: 4 << 20, bad: true},
		{name: "negative", off: -1, size: 1, bad: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			dst, err := os.Create(filepath.Join(d, "dst"))
			if err != nil {
				t.Fatal(err)
			}
			defer dst.Close()
			err = Clone(dst, src, c.off, c.size)
			got, rerr := os.ReadFile(dst.Name())
			if rerr != nil {
				t.Fatal(rerr)
			}
			switch {
			case err == nil && (c.never && c.size > 0 || c.bad):
				t.Error("cloned")
			case err == nil && !bytes.Equal(got, content[c.off:c.off+c.size]):
				t.Errorf("clone of %d bytes differs", len(got))
			case err != nil && !errors.Is(err, ErrUnsupported):
				t.Errorf("unexpected error: %v", err)
			case err != nil && len(got) != 0:
				t.Errorf("%d bytes left behind by a refusal", len(got))
			case err != nil && shares && !c.never && !c.bad:
				t.Errorf("this file system should share: %v", err)
			}
		})
	}
}

// TestRefusalLeavesAnEmptyFileAlone: truncating it once more, to nothing, makes
// ext4 write all that comes into it to the disk before the last close returns.
func TestRefusalLeavesAnEmptyFileAlone(t *testing.T) {
	d := t.TempDir()
	src, err := os.Create(filepath.Join(d, "src"))
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	if _, err := src.Write(make([]byte, 64<<10)); err != nil {
		t.Fatal(err)
	}
	dst, err := os.Create(filepath.Join(d, "dst"))
	if err != nil {
		t.Fatal(err)
	}
	defer dst.Close()
	old := time.Unix(1_000_000_000, 0)
	if err := os.Chtimes(dst.Name(), old, old); err != nil {
		t.Fatal(err)
	}
	// No file system shares bytes that begin at an odd offset.
	if err := Clone(dst, src, 1, 4096); !errors.Is(err, ErrUnsupported) {
		t.Fatalf("clone from offset 1: %v", err)
	}
	info, err := dst.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if !info.ModTime().Equal(old) {
		t.Errorf("the empty file was changed at %v", info.ModTime())
	}
}
