package dag

import (
	"bytes"
	"context"
	"crypto/sha1" //nolint:gosec // a hash with a state, as ingest has
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/hypha-node/hypha-node/blockstore"
)

var errCut = errors.New("connection is cut")

// cutReader breaks, or ends somebody's ctx, after n bytes.
type cutReader struct {
	io.Reader
	n      int
	cancel context.CancelFunc
}

func (r *cutReader) Read(p []byte) (int, error) {
	if r.n == 0 && r.cancel != nil {
		r.cancel()
		return 0, errCut
	}
	if r.n == 0 {
		return 0, errCut
	}
	n, err := r.Reader.Read(p[:min(len(p), r.n)])
	r.n -= n
	return n, err
}

// teeFile is a tee in memory.
type teeFile struct {
	mu sync.Mutex
	b  []byte
}

func (f *teeFile) WriteAt(p []byte, off int64) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n := int(off) + len(p); n > len(f.b) {
		f.b = append(f.b, make([]byte, n-len(f.b))...)
	}
	return copy(f.b[off:], p), nil
}

// openDisk opens a store in dir; it is closed at the end of the test, or before.
func openDisk(t *testing.T, dir string) *blockstore.Disk {
	t.Helper()
	d, err := blockstore.Open(t.Context(), dir, blockstore.Options{Reserve: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// parts lists the part files of a store.
func parts(t *testing.T, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "segments", "*.part"))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// TestResume cuts the import of a content in random places, goes on each time with
// a new tee, and holds that what comes out is the same as without any cut.
func TestResume(t *testing.T) {
	const size = 9<<20 + 77
	all := content(size)
	for _, tc := range []struct {
		name string
		o    ImportOptions
	}{
		{"one pass", ImportOptions{}},
		{"leaves apart", ImportOptions{apart: true}},
		{"small leaves", ImportOptions{Profile: chunker(V1_2025(), 64<<10)}},
		{"odd leaves", ImportOptions{Profile: chunker(V1_2025(), 1001)}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			want := mustImport(t, newStore(t), all, ImportOptions{Profile: tc.o.Profile, HashOnly: true})
			rng := rand.New(rand.NewPCG(uint64(len(tc.name)), 1))
			dir := t.TempDir()
			d := openDisk(t, dir)
			at, cuts := int64(0), 0
			for {
				p, err := Resume(t.Context(), d, "sha256:x")
				if err != nil {
					t.Fatal(err)
				}
				o, git, tee := tc.o, sha1.New(), &teeFile{}
				fmt.Fprint(git, "blob")
				o.Size, o.Tee, o.Also, o.Resume = size, tee, []io.Writer{git}, p
				o.Keep = Keep{Name: "sha256:x", Note: []byte("note"), Every: 1 << 20}
				from := int64(0)
				if p != nil {
					if from = p.Size(); p.Total() != size || string(p.Note()) != "note" {
						t.Fatalf("%d bytes in all, note %q", p.Total(), p.Note())
					}
				}
				if lost := at - from; from > at || lost >= 1<<20+int64(o.unitSize()) {
					t.Fatalf("goes on at byte %d after a cut at %d", from, at)
				}
				ctx, cancel := context.WithCancel(t.Context())
				r := &cutReader{Reader: bytes.NewReader(all[from:]), n: rng.IntN(6 << 20)}
				if rng.IntN(2) == 0 {
					r.cancel = cancel
				}
				at = from + int64(r.n)
				got, err := Import(ctx, d, r, o)
				cancel()
				if err != nil {
					if cuts++; !errors.Is(err, errCut) && !errors.Is(err, context.Canceled) {
						t.Fatal(err)
					}
					if cuts%3 == 0 { // also over a restart
						if err := d.Close(); err != nil {
							t.Fatal(err)
						}
						d = openDisk(t, dir)
					}
					continue
				}
				h := sha1.New()
				fmt.Fprintf(h, "blob%s", all)
				if got != want || !bytes.Equal(tee.b, all) || !bytes.Equal(git.Sum(nil), h.Sum(nil)) {
					t.Fatalf("got %+v, want %+v; tee is right: %v", got, want, bytes.Equal(tee.b, all))
				}
				break
			}
			if b, err := readAll(t.Context(), d, want); err != nil || !bytes.Equal(b, all) {
				t.Errorf("stored content differs: %d bytes, %v", len(b), err)
			}
			if left := parts(t, dir); len(left) > 0 || cuts == 0 {
				t.Errorf("%d cuts left %q", cuts, left)
			}
		})
	}
}

// TestResumeRefused holds that a beginning which does not fit is dropped, and that
// nothing is recorded of it.
func TestResumeRefused(t *testing.T) {
	const size = 5 << 20
	all := content(size)
	refuse := errors.New("refused")
	for _, tc := range []struct {
		name  string
		spoil func(t *testing.T, dir string, o *ImportOptions)
		want  error
	}{
		{"other size", func(_ *testing.T, _ string, o *ImportOptions) { o.Size++ }, ErrStale},
		{"other profile", func(_ *testing.T, _ string, o *ImportOptions) { o.Profile = chunker(V1_2025(), 1<<10) }, ErrStale},
		{"leaves that are not raw", func(_ *testing.T, _ string, o *ImportOptions) { o.Profile = V0_2015() }, ErrStale},
		{"hash only", func(_ *testing.T, _ string, o *ImportOptions) { o.HashOnly = true }, ErrStale},
		{"other hashes", func(_ *testing.T, _ string, o *ImportOptions) { o.Also = nil }, ErrStale},
		{"other kind of hash", func(_ *testing.T, _ string, o *ImportOptions) { o.Also = []io.Writer{io.Discard} }, ErrStale},
		{"flipped bit", func(t *testing.T, dir string, o *ImportOptions) {
			o.Tee = &teeFile{}
			f, err := os.OpenFile(parts(t, dir)[0], os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if _, err := f.WriteAt([]byte{all[99] ^ 1}, 99); err != nil {
				t.Fatal(err)
			}
		}, ErrStale},
		{"goes on after its end", func(_ *testing.T, _ string, o *ImportOptions) { o.Limit = size - 1 }, ErrTooLarge},
		{"not accepted", func(_ *testing.T, _ string, o *ImportOptions) {
			o.Accept = func(File) (map[string][]byte, error) { return nil, refuse }
		}, refuse},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			d := openDisk(t, dir)
			o := ImportOptions{Size: size, Also: []io.Writer{sha1.New()}, Keep: Keep{Name: "n", Every: 1 << 20}}
			if _, err := Import(t.Context(), d, &cutReader{Reader: bytes.NewReader(all), n: 3 << 20}, o); !errors.Is(err, errCut) {
				t.Fatal(err)
			}
			p, err := Resume(t.Context(), d, "n")
			if err != nil || p == nil {
				t.Fatalf("resume: %v, %v", p, err)
			}
			if q, err := Resume(t.Context(), d, "n"); q != nil || err != nil {
				t.Fatalf("two have it: %v, %v", q, err)
			}
			o.Resume, o.Also = p, []io.Writer{sha1.New()}
			tc.spoil(t, dir, &o)
			if _, err := Import(t.Context(), d, bytes.NewReader(all[p.Size():]), o); !errors.Is(err, tc.want) {
				t.Errorf("err = %v, want %v", err, tc.want)
			}
			if left := parts(t, dir); len(left) > 0 {
				t.Errorf("%q are left", left)
			}
			for c, err := range d.Keys(t.Context()) {
				t.Errorf("block %s, %v is stored", c, err)
			}
		})
	}
}

// TestKeepNothing holds that imports which can't be gone on with leave nothing.
func TestKeepNothing(t *testing.T) {
	all := content(5 << 20)
	for _, tc := range []struct {
		name string
		o    ImportOptions
		n    int
	}{
		{"no name", ImportOptions{Size: 5 << 20}, 4 << 20},
		{"no size", ImportOptions{Keep: Keep{Name: "n"}}, 4 << 20},
		{"a few leaves", ImportOptions{Size: 2 << 20, Keep: Keep{Name: "n"}}, 2<<20 - 1},
		{"no whole leaf", ImportOptions{Size: 5 << 20, Keep: Keep{Name: "n"}}, 1<<20 - 1},
		{"leaves that are not raw", ImportOptions{Size: 5 << 20, Profile: V0_2015(), Keep: Keep{Name: "n"}}, 4 << 20},
		{"hash without a state", ImportOptions{Size: 5 << 20, Also: []io.Writer{&strings.Builder{}}, Keep: Keep{Name: "n"}}, 4 << 20},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			d := openDisk(t, dir)
			if _, err := Import(t.Context(), d, &cutReader{Reader: bytes.NewReader(all), n: tc.n}, tc.o); err == nil {
				t.Fatal("no error of a reader that broke")
			}
			if left := parts(t, dir); len(left) > 0 {
				t.Errorf("%q are left", left)
			}
		})
	}
}
