package ingest_test

import (
	"bytes"
	"context"
	"crypto/sha1" //nolint:gosec // git's object hash
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/connectors"
	"github.com/hypha-node/hypha-node/connectors/ingest"
)

var errCut = errors.New("connection is cut")

// source is an origin that gives out ranges, counts what it gives, and breaks.
type source struct {
	mu      sync.Mutex
	content []byte
	version string
	cut     int                // bytes of a body after which it breaks, -1: never
	cancel  context.CancelFunc // called there, if not nil
	opened  []int64            // offsets
	given   int                // bytes
}

// with makes it an origin of content that breaks after so many bytes.
func (s *source) with(content []byte, version string, cut int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.content, s.version, s.cut, s.opened, s.given = content, version, cut, nil, 0
}

func (s *source) asked() []int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.opened)
}

func (s *source) open(_ context.Context, off, _ int64, cond []byte) (*connectors.Body, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opened = append(s.opened, off)
	meta := fmt.Appendf(nil, `{"etag":%q}`, s.version)
	if off > 0 && s.version != "" && len(cond) > 0 && !bytes.Equal(cond, meta) {
		return nil, &connectors.Error{Op: "open", Err: fmt.Errorf("%w: %w", connectors.ErrUpstream, connectors.ErrChanged)}
	}
	if s.version == "" {
		meta = nil
	}
	body := &sourceBody{s: s, rest: s.content[off:], left: s.cut}
	return &connectors.Body{ReadCloser: body, Size: int64(len(s.content)), Meta: meta}, nil
}

type sourceBody struct {
	s    *source
	rest []byte
	left int
}

func (b *sourceBody) Close() error { return nil }

func (b *sourceBody) Read(p []byte) (int, error) {
	b.s.mu.Lock()
	defer b.s.mu.Unlock()
	if b.left == 0 {
		if b.s.cancel != nil {
			b.s.cancel()
		}
		return 0, &connectors.Error{Op: "read", Source: "s", Err: errCut}
	}
	if b.left > 0 {
		p = p[:min(len(p), b.left)]
	}
	n := copy(p, b.rest)
	b.rest, b.s.given = b.rest[n:], b.s.given+n
	if b.left > 0 {
		b.left -= n
	}
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

// item is the content of a source by its URL; of it, more may be known.
func (s *source) item(url string) connectors.Item {
	return connectors.Item{Path: "f", Size: -1, Source: "http", URL: url, Key: "url:" + url, Open: s.open}
}

func withSHA256(it connectors.Item, b []byte) connectors.Item {
	sum := sha256.Sum256(b)
	it.SHA256 = &sum
	return it
}

func withGit(it connectors.Item, b []byte) connectors.Item {
	h := sha1.New()
	fmt.Fprintf(h, "blob %d\x00%s", len(b), b)
	sum := [sha1.Size]byte(h.Sum(nil))
	it.GitSHA1, it.Size = &sum, int64(len(b))
	return it
}

// repository is a store on a disk, with an engine, that can be started again.
type repository struct {
	t   *testing.T
	dir string
	d   *blockstore.Disk
	e   *ingest.Engine
}

func newRepository(t *testing.T) *repository {
	t.Helper()
	r := &repository{t: t, dir: t.TempDir()}
	r.start()
	t.Cleanup(r.stop)
	return r
}

func (r *repository) start() {
	r.t.Helper()
	d, err := blockstore.Open(r.t.Context(), r.dir, blockstore.Options{Reserve: -1})
	must(r.t, err)
	r.d, r.e = d, ingest.New(ingest.Config{Store: d})
}

func (r *repository) stop() {
	if err := errors.Join(r.e.Close(), r.d.Close()); err != nil {
		r.t.Error(err)
	}
}

// parts lists the part files.
func (r *repository) parts() []string {
	r.t.Helper()
	names, err := filepath.Glob(filepath.Join(r.dir, "segments", "*.part"))
	must(r.t, err)
	return names
}

// cutAt fetches an item whose source breaks.
func (r *repository) cutAt(it connectors.Item) {
	r.t.Helper()
	if _, err := r.e.Fetch(r.t.Context(), it, ingest.Options{}); !errors.Is(err, errCut) {
		r.t.Fatalf("err = %v, want %v", err, errCut)
	}
}

// TestResume cuts downloads in random places, by their origin and by their last
// caller, also over restarts of the node, and holds that no more than a leaf is
// fetched again after each cut, and that what comes out is right.
func TestResume(t *testing.T) {
	const size = 9<<20 + 3
	content := random(7, size)
	for name, of := range map[string]func(s *source, i int) connectors.Item{
		"sha256, of ever new mirrors": func(s *source, i int) connectors.Item { return withSHA256(s.item(fmt.Sprint("m", i)), content) },
		"git sha1":                    func(s *source, i int) connectors.Item { return withGit(s.item(fmt.Sprint("m", i)), content) },
		"url and validator":           func(s *source, _ int) connectors.Item { return s.item("u") },
		"pinned key": func(s *source, _ int) connectors.Item {
			s.version = ""
			it := s.item("u")
			it.Pinned = true
			return it
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, s := newRepository(t), &source{}
			rng := rand.New(rand.NewPCG(uint64(len(name)), 5))
			at, given := int64(0), 0
			for i := 0; ; i++ {
				s.with(content, "v1", rng.IntN(6<<20))
				ctx, cancel := context.WithCancel(t.Context())
				s.cancel = nil
				if rng.IntN(2) == 0 {
					s.cancel = cancel
				}
				tee := &memFile{}
				first := int64(-1)
				got, err := r.e.Fetch(ctx, of(s, i), ingest.Options{Tee: tee, Progress: func(p ingest.Progress) {
					if first < 0 && p.From == ingest.FromOrigin {
						first = p.Done
					}
				}})
				tee.close()
				cancel()
				if err != nil && !errors.Is(err, errCut) && !errors.Is(err, context.Canceled) {
					t.Fatal(err)
				}
				// Who gave up does not wait for what is kept; the next one does.
				if err == nil || rng.IntN(3) == 0 {
					r.stop()
					r.start()
				}
				offs := s.asked()
				if len(offs) != 1 || offs[0] > at || at-offs[0] >= 2<<20 {
					t.Fatalf("opened at %d after a cut at byte %d", offs, at)
				}
				if first >= 0 && first < offs[0] {
					t.Errorf("progress begins at %d, the download at %d", first, offs[0])
				}
				at = offs[0] + int64(s.given)
				given += s.given
				if err != nil {
					continue
				}
				if !got.Teed || !bytes.Equal(tee.b, content) || tee.late {
					t.Errorf("tee: %v, %d bytes, late %v", got.Teed, len(tee.b), tee.late)
				}
				if got.OriginBytes != int64(s.given) {
					t.Errorf("%d bytes of the origin, want %d", got.OriginBytes, s.given)
				}
				checkStored(t, r.d, got.File, content)
				if left := r.parts(); len(left) > 0 || i == 0 || given > size+i*2<<20 {
					t.Errorf("%d cuts, %d bytes of %d fetched, left %q", i, given, size, left)
				}
				return
			}
		})
	}
}

// TestResumeAnew holds that a beginning that is not of the content is dropped, and
// the content fetched whole, once.
func TestResumeAnew(t *testing.T) {
	const half = 3 << 20
	good := random(1, 2*half)
	bad := append(random(2, half), good[half:]...)
	longer := random(3, 2*half+5)
	for _, tc := range []struct {
		name    string
		first   []byte // what comes first, up to its half
		then    []byte // what comes at the second time
		version string // of that
		pinned  bool
		digest  bool // of good is known
		want    error
		opened  []int64
	}{
		{"changed, its origin says so", bad, good, "v2", false, false, nil, []int64{half, 0}},
		{"changed in length", good, longer, "v1", true, false, nil, []int64{half, 0}},
		{"wrong, the digest says so", bad, good, "v1", false, true, nil, []int64{half, 0}},
		{"wrong before and after", bad, bad, "v1", false, true, connectors.ErrMismatch, []int64{half, 0}},
		{"longer than the digest's", good, longer, "v1", false, true, connectors.ErrMismatch, []int64{half, 0}},
		{"same", good, good, "v1", false, true, nil, []int64{half}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r, s := newRepository(t), &source{}
			it := s.item("u")
			it.Pinned = tc.pinned
			if tc.digest {
				it = withSHA256(it, good)
			}
			s.with(tc.first, "v1", half)
			r.cutAt(it)
			if n := len(r.parts()); n != 1 {
				t.Fatalf("%d part files are left of a cut download", n)
			}
			s.with(tc.then, tc.version, -1)
			tee := &memFile{}
			got, err := r.e.Fetch(t.Context(), it, ingest.Options{Tee: tee})
			if !errors.Is(err, tc.want) || !slices.Equal(s.asked(), tc.opened) {
				t.Errorf("opened at %d, %v, want %d, %v", s.asked(), err, tc.opened, tc.want)
			}
			if left := r.parts(); len(left) > 0 {
				t.Errorf("%q are left", left)
			}
			if err != nil {
				checkNothing(t, r.d, bad, it.Key)
				return
			}
			checkStored(t, r.d, got.File, tc.then)
			if got.OriginBytes != int64(s.given) {
				t.Errorf("%d bytes of the origin, want %d", got.OriginBytes, s.given)
			}
			if got.Teed && !bytes.Equal(tee.b, tc.then) {
				t.Errorf("tee has %d other bytes", len(tee.b))
			}
		})
	}
}

// TestResumeScope holds that what was fetched with a credential is gone on with for
// that credential only.
func TestResumeScope(t *testing.T) {
	const half = 3 << 20
	content := random(1, 2*half)
	r, s := newRepository(t), &source{}
	of := func(scope string) connectors.Item {
		it := withSHA256(s.item("u"), content)
		it.Scope = scope
		return it
	}
	s.with(content, "v1", half)
	r.cutAt(of("a"))
	for _, scope := range []string{"", "b"} {
		s.with(content, "v1", half)
		if r.cutAt(of(scope)); !slices.Equal(s.asked(), []int64{0}) {
			t.Errorf("scope %q: opened at %d, want the first byte", scope, s.asked())
		}
	}
	s.with(content, "v1", -1)
	got, err := r.e.Fetch(t.Context(), of("a"), ingest.Options{})
	if err != nil || !got.Private || !slices.Equal(s.asked(), []int64{half}) {
		t.Errorf("opened at %d, %+v, %v, want private content from byte %d on", s.asked(), got, err, half)
	}
}

// TestKeepNothing holds that nothing is kept where nobody could tell later that a
// rest belongs to it.
func TestKeepNothing(t *testing.T) {
	content := random(1, 6<<20)
	for name, of := range map[string]func(s *source) connectors.Item{
		"no validator": func(s *source) connectors.Item { s.version = ""; return s.item("u") },
		"no key":       func(s *source) connectors.Item { it := s.item("u"); it.Key = ""; return it },
		"no length": func(s *source) connectors.Item {
			it := withSHA256(s.item("u"), content)
			open := it.Open
			it.Open = func(ctx context.Context, off, n int64, cond []byte) (*connectors.Body, error) {
				b, err := open(ctx, off, n, cond)
				if b != nil {
					b.Size = -1
				}
				return b, err
			}
			return it
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, s := newRepository(t), &source{}
			s.with(content, "v1", 3<<20)
			if r.cutAt(of(s)); len(r.parts()) > 0 {
				t.Errorf("%q are left", r.parts())
			}
		})
	}
}

// TestResumeShared holds that a second download of what somebody is fetching under
// another identity takes nothing of it away, and that both come out right.
func TestResumeShared(t *testing.T) {
	const half = 3 << 20
	content := random(1, 2*half)
	r, s := newRepository(t), &source{}
	s.with(content, "v1", half)
	r.cutAt(withSHA256(s.item("u"), content))
	s.with(content, "v1", -1)
	held, free := make(chan struct{}), make(chan struct{})
	slow := withSHA256(s.item("u"), content)
	open := slow.Open
	slow.Open = func(ctx context.Context, off, n int64, cond []byte) (*connectors.Body, error) {
		close(held)
		<-free
		return open(ctx, off, n, cond)
	}
	type result struct {
		got ingest.Fetched
		err error
	}
	done := make(chan result, 1)
	go func() {
		got, err := r.e.Fetch(t.Context(), slow, ingest.Options{})
		done <- result{got, err}
	}()
	<-held
	private := withSHA256(s.item("u"), content)
	private.Scope = "a"
	got, err := r.e.Fetch(t.Context(), private, ingest.Options{})
	must(t, err)
	checkStored(t, r.d, got.File, content)
	close(free)
	first := <-done
	must(t, first.err)
	checkStored(t, r.d, first.got.File, content)
	if asked := s.asked(); !slices.Equal(asked, []int64{0, half}) {
		t.Errorf("opened at %d", asked)
	}
	if left := r.parts(); len(left) > 0 {
		t.Errorf("%q are left", left)
	}
}

// waiting is a body that waits.
type waiting struct {
	io.ReadCloser
	until <-chan struct{}
}

func (b waiting) Read(p []byte) (int, error) {
	<-b.until
	return b.ReadCloser.Read(p)
}

// TestResumeView holds that who looks at a download that goes on sees it from its
// first byte on, at once.
func TestResumeView(t *testing.T) {
	const half = 3 << 20
	content := random(1, 2*half)
	r, s := newRepository(t), &source{}
	it := withSHA256(s.item("u"), content)
	s.with(content, "v1", half)
	r.cutAt(it)
	s.with(content, "v1", -1)
	free := make(chan struct{})
	release := sync.OnceFunc(func() { close(free) })
	defer release()
	it.Open = func(ctx context.Context, off, n int64, cond []byte) (*connectors.Body, error) {
		b, err := s.open(ctx, off, n, cond)
		if err == nil {
			b.ReadCloser = waiting{b.ReadCloser, free}
		}
		return b, err
	}
	w := watch(t, r.e, it)
	if got := w.see(t, half); !bytes.Equal(got, content[:half]) {
		t.Error("the view shows something else")
	}
	release()
	<-w.done
	must(t, w.err)
	if !w.view.Same() || w.got.OriginBytes != half {
		t.Errorf("same %v, %d bytes of the origin", w.view.Same(), w.got.OriginBytes)
	}
	checkStored(t, r.d, w.got.File, content)
}
