package dag

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
)

// cutCopy copies a file of 1 MiB leaves until so many of them are written, of
// which no more than those come.
func cutCopy(t *testing.T, ours, theirs blockstore.Store, f File, whole int) {
	t.Helper()
	root, err := theirs.Get(t.Context(), f.Root)
	if err != nil {
		t.Fatal(err)
	}
	links, err := Links(f.Root, root.RawData())
	if err != nil {
		t.Fatal(err)
	}
	boom := errors.New("boom")
	src := newPeer(t, theirs)
	src.mute = func(c cid.Cid) bool { return c.Equals(links[whole]) }
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	var done int64
	_, err = Copy(ctx, ours, src, f.Root, CopyOptions{Keep: true, Progress: func(n int64) {
		if done += n; done == int64(whole)<<20 { // called in order, by the writer
			cancel(boom)
		}
	}})
	if !errors.Is(err, boom) {
		t.Fatalf("Copy: %v", err)
	}
	if _, err := ours.File(t.Context(), f.Root); !ipld.IsNotFound(err) {
		t.Errorf("the file is recorded: %v", err)
	}
}

// TestCopyKeeps interrupts a copy again and again, with the store closed between,
// and holds that each goes on where the one before it was, with the whole content
// for a tee and a hash.
func TestCopyKeeps(t *testing.T) {
	const size = 20
	theirs := newStore(t)
	data := content(size << 20)
	f := mustImport(t, theirs, data, ImportOptions{})
	for name, wanted := range map[string]bool{"bytes wanted": true, "nobody wants bytes": false} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for _, whole := range []int{3, 9, 15} {
				ours := openDisk(t, dir)
				cutCopy(t, ours, theirs, f, whole)
				if err := ours.Close(); err != nil {
					t.Fatal(err)
				}
				if n := len(parts(t, dir)); n != 1 {
					t.Fatalf("%d part files", n)
				}
			}
			ours, again, tee, sum := openDisk(t, dir), newPeer(t, theirs), &teeFile{}, sha256.New()
			o := CopyOptions{Keep: true}
			if wanted {
				o.Tee, o.Also = tee, []io.Writer{sum}
			}
			if _, err := Copy(t.Context(), ours, again, f.Root, o); err != nil {
				t.Fatal(err)
			}
			if n := again.asked.Load(); n > 1+size-15 {
				t.Errorf("%d blocks were asked for again, %d were missing", n, 1+size-15)
			}
			if wanted && (!bytes.Equal(tee.b, data) || [32]byte(sum.Sum(nil)) != f.SHA256) {
				t.Errorf("the tee got %d bytes, the hash is %x", len(tee.b), sum.Sum(nil))
			}
			checkContent(t, ours, f, data)
			if n := len(parts(t, dir)); n != 0 {
				t.Errorf("%d part files are left", n)
			}
		})
	}
}

// checkContent fails unless a file is stored, in one piece, with that content.
func checkContent(t *testing.T, s blockstore.Store, f File, data []byte) {
	t.Helper()
	if got, err := s.File(t.Context(), f.Root); err != nil || got != f {
		t.Fatalf("file %+v, %v, want %+v", got, err, f)
	}
	r, err := Open(t.Context(), s, f.Root)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var got bytes.Buffer
	if _, err := r.CopyRange(t.Context(), &got, 0, -1); err != nil || !bytes.Equal(got.Bytes(), data) {
		t.Errorf("%d bytes differ, %v", got.Len(), err)
	}
	if c, err := s.OpenFile(t.Context(), f.Root); err != nil {
		t.Errorf("the file is not in one piece: %v", err)
	} else if err := c.Close(); err != nil {
		t.Error(err)
	}
}

// TestCopyKeepsAhead holds that a copy asks for at most one window (28 MiB) more
// than what is kept, however far ahead the other blocks come.
func TestCopyKeepsAhead(t *testing.T) {
	const size, whole = 80, 10
	theirs, ours := newStore(t), openDisk(t, t.TempDir())
	f := mustImport(t, theirs, content(size<<20), ImportOptions{})
	root, err := theirs.Get(t.Context(), f.Root)
	if err != nil {
		t.Fatal(err)
	}
	links, err := Links(f.Root, root.RawData())
	if err != nil {
		t.Fatal(err)
	}
	src := newPeer(t, theirs)
	src.mute = func(c cid.Cid) bool { return c.Equals(links[whole]) }
	stalled := errors.New("nothing more comes")
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	var written atomic.Int64
	o := CopyOptions{Keep: true, Stall: 100 * time.Millisecond, Progress: func(n int64) { written.Add(n) }, OnStall: func(cid.Cid) {
		if written.Load() == whole<<20 { // else the disk is slow, and it will stall again
			cancel(stalled)
		}
	}}
	if _, err := Copy(ctx, ours, src, f.Root, o); !errors.Is(err, stalled) {
		t.Fatalf("Copy: %v", err)
	}
	p, err := ours.ResumeFile(t.Context(), keptName(f.Root))
	if err != nil {
		t.Fatal(err)
	}
	got := p.Kept()
	if n := src.asked.Load() - 1; n<<20 > got.Size+window || got.Size > whole<<20 || got.Total != size<<20 {
		t.Errorf("%d blocks were asked for, %d of %d bytes are kept", n, got.Size, got.Total)
	}
	if err := p.Abort(); err != nil {
		t.Error(err)
	}
}

// TestCopyStale holds that a beginning which is not the file's is dropped, and the
// next copy begins anew.
func TestCopyStale(t *testing.T) {
	theirs, dir := newStore(t), t.TempDir()
	data := content(20 << 20)
	f := mustImport(t, theirs, data, ImportOptions{})
	ours := openDisk(t, dir)
	cutCopy(t, ours, theirs, f, 12)
	part := parts(t, dir)[0]
	b, err := os.ReadFile(part)
	if err != nil {
		t.Fatal(err)
	}
	b[5<<20]++
	if err := os.WriteFile(part, b, 0o600); err != nil {
		t.Fatal(err)
	}
	o := CopyOptions{Keep: true, Also: []io.Writer{io.Discard}}
	if _, err := Copy(t.Context(), ours, newPeer(t, theirs), f.Root, o); !errors.Is(err, ErrStale) {
		t.Fatalf("Copy: %v", err)
	}
	if n := len(parts(t, dir)); n != 0 {
		t.Errorf("%d part files are left", n)
	}
	if _, err := Copy(t.Context(), ours, newPeer(t, theirs), f.Root, o); err != nil {
		t.Fatal(err)
	}
	checkContent(t, ours, f, data)
}

// TestCopyKeepsMixed copies a file of 1 MiB leaves of which only the first are raw,
// which no store takes in one piece: nobody waits for what can't be kept, and
// nothing stays.
func TestCopyKeepsMixed(t *testing.T) {
	const size, raw, all = 1 << 20, 4, 48
	dir, theirs := t.TempDir(), newStore(t)
	f, leaf := forge{t, theirs}, make([]byte, size)
	var sizes []int64
	var cids []cid.Cid
	for i := range all {
		leaf[0] = byte(i)
		c := f.raw(leaf)
		if i >= raw {
			c = f.pb(slices.Concat(leafHead(size), leaf, leafTail(size)))
		}
		sizes, cids = append(sizes, size), append(cids, c)
	}
	root := f.file(all*size, sizes, cids...)
	src := newPeer(t, theirs)
	if _, err := Copy(t.Context(), openDisk(t, dir), src, root, CopyOptions{Keep: true}); err == nil || src.asked.Load() != 1+all {
		t.Errorf("Copy: %v, %d blocks were asked for", err, src.asked.Load())
	}
	if n := len(parts(t, dir)); n != 0 {
		t.Errorf("%d part files are left", n)
	}
}

// TestCopyKeepsNothing has copies that fail for what the file is.
func TestCopyKeepsNothing(t *testing.T) {
	dir := t.TempDir()
	theirs, ours := newStore(t), openDisk(t, dir)
	f := mustImport(t, theirs, content(40<<20), ImportOptions{})
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
	if n := len(parts(t, dir)); n != 0 {
		t.Errorf("%d part files are left", n)
	}
}
