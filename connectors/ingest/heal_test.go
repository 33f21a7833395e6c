package ingest_test

import (
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	ipld "github.com/ipfs/go-ipld-format"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/connectors/ingest"
	"github.com/hypha-node/hypha-node/dag"
)

// TestHeals holds that a file whose stored bytes went bad is fetched again, once
// a reader has met them.
func TestHeals(t *testing.T) {
	content := random(1, 5<<20)
	run := func(t *testing.T, s blockstore.Store, spoil func(f dag.File)) {
		t.Helper()
		o := newOrigin(t, map[string]*served{"/f": {content: content, etag: `"1"`}})
		e := newEngine(t, ingest.Config{Store: s})
		got := fetch(t, e, s, o.checked("/f", content), content)
		spoil(got.File)
		r, err := dag.Open(t.Context(), s, got.File.Root)
		must(t, err)
		if _, err := r.CopyRange(t.Context(), io.Discard, 0, -1); !ipld.IsNotFound(err) {
			t.Fatalf("reading bad bytes: %v, want not found", err)
		}
		must(t, r.Close())
		if again := fetch(t, e, s, o.checked("/f", content), content); again.From != ingest.FromOrigin {
			t.Errorf("%+v", again)
		}
		if last := fetch(t, e, s, o.ref("/f"), content); last.From != ingest.FromStore {
			t.Errorf("%+v", last)
		}
	}
	t.Run("memory", func(t *testing.T) {
		s := blockstore.NewMemory()
		run(t, s, func(f dag.File) {
			blk, err := s.Get(t.Context(), f.Root)
			must(t, err)
			links, err := dag.Links(f.Root, blk.RawData())
			must(t, err)
			if !s.Corrupt(links[2]) {
				t.Fatal("nothing was spoilt")
			}
		})
	})
	t.Run("disk", func(t *testing.T) {
		dir := t.TempDir()
		s, err := blockstore.Open(t.Context(), dir, blockstore.Options{Reserve: -1})
		must(t, err)
		t.Cleanup(func() { must(t, s.Close()) })
		run(t, s, func(f dag.File) {
			c, err := s.OpenFile(t.Context(), f.Root)
			must(t, err)
			name := c.Name()
			must(t, c.Close())
			flip(t, dir, filepath.Base(name), c.Off+f.Size/2)
		})
	})
}

// flip changes one byte of the file of that name below dir.
func flip(t *testing.T, dir, base string, off int64) {
	t.Helper()
	found := false
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Name() != base {
			return err
		}
		found = true
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		must(t, err)
		defer f.Close()
		var b [1]byte
		if _, err := f.ReadAt(b[:], off); err != nil {
			return err
		}
		b[0] ^= 0x10
		_, err = f.WriteAt(b[:], off)
		return err
	}))
	if !found {
		t.Fatalf("no file %s", base)
	}
}
