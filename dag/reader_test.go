package dag

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/hypha-node/hypha-node/blockstore"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
)

// remote is a store that is somewhere else: nothing but Get.
type remote struct{ s blockstore.Store }

func (r remote) Get(ctx context.Context, c cid.Cid) (blocks.Block, error) { return r.s.Get(ctx, c) }

// onePiece is a store that has the content of files as plain files, too.
type onePiece struct {
	*blockstore.Memory
	path string
	off  int64
	size int64
}

func (o onePiece) OpenFile(context.Context, cid.Cid) (*blockstore.Content, error) {
	f, err := os.Open(o.path)
	return &blockstore.Content{File: f, Off: o.off, Size: o.size}, err
}

func TestCopyRange(t *testing.T) {
	for _, p := range []Profile{V1_2025(), V0_2015(), chunker(V1_2025(), 1000)} {
		size := int64(5*p.leafSize() + 17)
		b := content(int(size))
		s := newStore(t)
		f := mustImport(t, s, b, ImportOptions{Profile: p})
		path := filepath.Join(t.TempDir(), "content")
		if err := os.WriteFile(path, append([]byte("head"), b...), 0o600); err != nil {
			t.Fatal(err)
		}
		leaf := int64(p.leafSize())
		for name, src := range map[string]Getter{"store": s, "remote": remote{s}, "one piece": onePiece{s, path, 4, size}} {
			r, err := Open(t.Context(), src, f.Root)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range [][2]int64{
				{0, -1},
				{0, 0},
				{0, 1},
				{size - 1, 1},
				{size, 0},
				{size, -1},
				{size - 1, 100},
				{1, size},
				{leaf, leaf},
				{leaf - 1, 2},
				{leaf + 1, leaf - 2},
				{3*leaf - 1, 2*leaf + 2},
				{0, size},
				{0, 1 << 62},
			} {
				want := b[c[0]:]
				if c[1] >= 0 && c[1] < int64(len(want)) {
					want = want[:c[1]]
				}
				var got bytes.Buffer
				n, err := r.CopyRange(t.Context(), &got, c[0], c[1])
				if err != nil || n != int64(len(want)) || !bytes.Equal(got.Bytes(), want) {
					t.Errorf("%s, %s: CopyRange(%d, %d) = %d, %v; want %d", p, name, c[0], c[1], n, err, len(want))
				}
				if got, err := readStream(t.Context(), r, c[0], c[1]); err != nil || !bytes.Equal(got, want) {
					t.Errorf("%s, %s: Stream(%d, %d) = %d bytes, %v; want %d", p, name, c[0], c[1], len(got), err, len(want))
				}
			}
			for _, off := range []int64{-1, size + 1, 1 << 62} {
				if n, err := r.CopyRange(t.Context(), io.Discard, off, -1); !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Errorf("%s, %s: CopyRange(%d) = %d, %v", p, name, off, n, err)
				}
				if _, err := r.Stream(t.Context(), off, -1); !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Errorf("%s, %s: Stream(%d): %v", p, name, off, err)
				}
			}
			at := make(memoryAt, size)
			if err := r.CopyAt(t.Context(), at, nil); err != nil || !bytes.Equal(at, b) {
				t.Errorf("%s, %s: CopyAt: %v", p, name, err)
			}
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

// TestReadDamaged reads content whose one piece is damaged, or cut, beside blocks
// that are good or damaged themselves.
func TestReadDamaged(t *testing.T) {
	for _, n := range []int{3<<20 + 5, 1<<20 + 1} {
		b := content(n)
		bad := bytes.Clone(b)
		bad[n-1] ^= 1
		bad[1<<19] ^= 0x80
		for name, piece := range map[string][]byte{"flipped": bad, "cut": b[:n/2], "empty": nil, "good": b} {
			t.Run(fmt.Sprintf("%s/%d", name, n), func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "content")
				if err := os.WriteFile(path, piece, 0o600); err != nil {
					t.Fatal(err)
				}
				s := onePiece{newStore(t), path, 0, int64(n)}
				f := mustImport(t, s.Memory, b, ImportOptions{})
				if got, err := readAll(t.Context(), s, f); err != nil || !bytes.Equal(got, b) {
					t.Errorf("read %d bytes, %v", len(got), err)
				}
				out := t.TempDir()
				w, err := Export(t.Context(), s, f.Root, openRoot(t, out), "out", ExportOptions{})
				if got, rerr := os.ReadFile(filepath.Join(out, "out")); err != nil || rerr != nil || !bytes.Equal(got, b) || w.SHA256 != f.SHA256 {
					t.Errorf("exported %d bytes, %v, %v", len(got), err, rerr)
				}
				// Now the last block goes bad as well.
				links, err := Links(f.Root, mustGet(t, s.Memory, f.Root))
				if err != nil {
					t.Fatal(err)
				}
				if !s.Corrupt(links[len(links)-1]) {
					t.Fatal("nothing to corrupt")
				}
				got, err := readAll(t.Context(), s, f)
				if name == "good" {
					if err != nil || !bytes.Equal(got, b) {
						t.Errorf("one good piece: read %d bytes, %v", len(got), err)
					}
					return
				}
				if !errors.Is(err, blockstore.ErrCorrupt) && !ipld.IsNotFound(err) {
					t.Errorf("read a damaged file: %v", err)
				}
				if !bytes.HasPrefix(b, got) {
					t.Error("wrong bytes were written")
				}
				again := t.TempDir()
				if _, err := Export(t.Context(), s, f.Root, openRoot(t, again), "out", ExportOptions{}); err == nil {
					t.Error("exported a damaged file")
				}
				if left := readTree(t, again); len(left) > 0 {
					t.Errorf("a failed export left %d files", len(left))
				}
			})
		}
	}
}

func TestReadFails(t *testing.T) {
	s := newStore(t)
	f := mustImport(t, s, content(40<<20), ImportOptions{})
	boom := errors.New("boom")
	for name, src := range map[string]Getter{"store": s, "remote": remote{s}} {
		r, err := Open(t.Context(), src, f.Root)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.CopyRange(t.Context(), failing{boom}, 0, -1); !errors.Is(err, boom) {
			t.Errorf("%s: CopyRange to a failing writer: %v", name, err)
		}
		if n, err := r.CopyRange(t.Context(), &small{10 << 20}, 0, -1); !errors.Is(err, io.ErrShortWrite) || n != 10<<20 {
			t.Errorf("%s: CopyRange to a full writer = %d, %v", name, n, err)
		}
		if err := r.CopyAt(t.Context(), failing{boom}, nil); !errors.Is(err, boom) {
			t.Errorf("%s: CopyAt to a failing writer: %v", name, err)
		}
		for range 3 {
			ctx, cancel := context.WithCancel(t.Context())
			if _, err := r.CopyRange(ctx, cancelling{cancel}, 0, -1); !errors.Is(err, context.Canceled) {
				t.Errorf("%s: cancelled CopyRange: %v", name, err)
			}
			if err := r.CopyAt(ctx, make(memoryAt, f.Size), nil); !errors.Is(err, context.Canceled) {
				t.Errorf("%s: cancelled CopyAt: %v", name, err)
			}
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
	dir, err := ImportTree(t.Context(), s, openRoot(t, tree{"l": "->x"}.write(t)), ".", TreeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	link, err := Resolve(t.Context(), s, dir.Cid, "l")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []cid.Cid{dir.Cid, link} {
		if _, err := Open(t.Context(), s, c); !errors.Is(err, ErrNotFile) {
			t.Errorf("Open(%s) = %v, want ErrNotFile", c, err)
		}
	}
	for _, p := range []string{"l/x", "l/..", "nothing", "..", "l/nothing"} {
		if c, err := Resolve(t.Context(), s, dir.Cid, p); err == nil {
			t.Errorf("Resolve(%q) = %s", p, c)
		}
	}
}

// cancelling is a writer whose user loses interest at the first write.
type cancelling struct{ cancel func() }

func (c cancelling) Write(p []byte) (int, error) {
	c.cancel()
	return len(p), nil
}

// TestRemoteTree walks and lists a tree through nothing but Get.
func TestRemoteTree(t *testing.T) {
	for name, tr := range trees() {
		if name == "order" {
			delete(tr, "a")
		}
		s := newStore(t)
		root, err := ImportTree(t.Context(), s, openRoot(t, tr.write(t)), ".", TreeOptions{Hidden: true})
		if err != nil {
			t.Fatal(err)
		}
		var local, far []Entry
		for e, err := range Walk(t.Context(), s, root.Cid, Limits{}) {
			if err != nil {
				t.Fatal(err)
			}
			local = append(local, e)
		}
		for e, err := range Walk(t.Context(), remote{s}, root.Cid, Limits{}) {
			if err != nil {
				t.Fatal(err)
			}
			far = append(far, e)
		}
		if fmt.Sprint(local) != fmt.Sprint(far) {
			t.Errorf("%s: %v, remotely %v", name, local, far)
		}
		for range Walk(t.Context(), remote{s}, root.Cid, Limits{}) {
			break // and nobody is left behind: goleak
		}
	}
}

// TestReadAhead holds that a copy with little ahead holds no more buffers than that,
// and brings the same bytes.
func TestReadAhead(t *testing.T) {
	b := content(11<<20 + 5)
	s := newStore(t)
	f := mustImport(t, s, b, ImportOptions{})
	r, err := Open(t.Context(), s, f.Root)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for ahead, most := range map[int64]int{0: localRuns(), 1: 2, 4 << 20: 2, 1 << 40: localRuns()} {
		r.ReadAhead(ahead)
		if got := r.newCopier(0, f.Size).limit; got != most {
			t.Errorf("%d bytes ahead: %d runs, want %d", ahead, got, most)
		}
		var out bytes.Buffer
		if n, err := r.CopyRange(t.Context(), &out, 3, -1); err != nil || n != f.Size-3 || !bytes.Equal(out.Bytes(), b[3:]) {
			t.Errorf("%d bytes ahead: %d bytes, %v", ahead, n, err)
		}
	}
}
