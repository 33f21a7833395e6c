package dag

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
)

// TestCopyKeeps interrupts a copy and begins it again, with stores in memory and
// on disk.
func TestCopyKeeps(t *testing.T) {
	theirs := newStore(t)
	data := content(20 << 20)
	f := mustImport(t, theirs, data, ImportOptions{})
	root, err := theirs.Get(t.Context(), f.Root)
	if err != nil {
		t.Fatal(err)
	}
	links, err := Links(f.Root, root.RawData())
	if err != nil {
		t.Fatal(err)
	}
	disk, err := blockstore.Open(t.Context(), t.TempDir(), blockstore.Options{Reserve: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := disk.Close(); err != nil {
			t.Error(err)
		}
	})
	for name, ours := range map[string]blockstore.Store{"memory": newStore(t), "disk": disk} {
		t.Run(name, func(t *testing.T) {
			const whole = 15 // leaves that come
			boom := errors.New("boom")
			var done int64
			src := newPeer(t, theirs)
			src.mute = func(c cid.Cid) bool { return c.Equals(links[whole]) }
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			_, err := Copy(ctx, ours, src, f.Root, CopyOptions{Keep: true, Progress: func(n int64) {
				if done += n; done == whole<<20 { // called in order, by the writer
					cancel(boom)
				}
			}})
			if !errors.Is(err, boom) {
				t.Fatalf("Copy: %v", err)
			}
			if _, err := ours.File(t.Context(), f.Root); !ipld.IsNotFound(err) {
				t.Errorf("the file is recorded: %v", err)
			}
			part := mustImport(t, newStore(t), data[:whole<<20], ImportOptions{})
			if got, err := ours.File(t.Context(), part.Root); err != nil || got != part {
				t.Errorf("the beginning is %+v, %v", got, err)
			}
			again := newPeer(t, theirs)
			if _, err := Copy(t.Context(), ours, again, f.Root, CopyOptions{Keep: true}); err != nil {
				t.Fatal(err)
			}
			if n := again.asked.Load(); n > int64(len(links))+1-whole {
				t.Errorf("%d blocks were asked for again, %d were missing", n, len(links)+1-whole)
			}
			r, err := Open(t.Context(), ours, f.Root)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			var got bytes.Buffer
			if _, err := r.CopyRange(t.Context(), &got, 0, -1); err != nil || !bytes.Equal(got.Bytes(), data) {
				t.Errorf("%d bytes differ, %v", got.Len(), err)
			}
			if name == "memory" { // which has no pieces
				return
			}
			if c, err := ours.OpenFile(t.Context(), f.Root); err != nil {
				t.Errorf("the file is not in one piece: %v", err)
			} else if err := c.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestCopyKeepsNothing has copies that fail for what the file is.
func TestCopyKeepsNothing(t *testing.T) {
	theirs, ours := newStore(t), newStore(t)
	f := mustImport(t, theirs, content(20<<20), ImportOptions{})
	refuse := errors.New("refused")
	for name, o := range map[string]CopyOptions{
		"refused":   {Accept: func(File) (map[string][]byte, error) { return nil, refuse }},
		"too large": {Limits: Limits{Bytes: 1}},
	} {
		o.Keep = true
		if _, err := Copy(t.Context(), ours, newPeer(t, theirs), f.Root, o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	for c, err := range ours.Keys(t.Context()) {
		t.Errorf("store holds %s (%v)", c, err)
	}
}
