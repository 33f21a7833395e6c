package dag

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hypha-node/hypha-node/blockstore"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
)

// peer is an exchange whose peers have what a store holds. It sends the blocks
// of a request in any order, and those that it does not have never.
type peer struct {
	store   blockstore.Store
	asked   atomic.Int64 // blocks
	calls   atomic.Int64
	flying  atomic.Int64
	most    atomic.Int64 // of flying
	mute    func(cid.Cid) bool
	closing bool // close the channel when a block is missing
	wg      sync.WaitGroup
}

func (p *peer) GetBlocks(ctx context.Context, cs []cid.Cid) (<-chan blocks.Block, error) {
	p.asked.Add(int64(len(cs)))
	p.calls.Add(1)
	now := p.flying.Add(int64(len(cs)))
	for most := p.most.Load(); now > most && !p.most.CompareAndSwap(most, now); most = p.most.Load() {
	}
	ch := make(chan blocks.Block)
	p.wg.Go(func() {
		defer close(ch)
		for _, i := range rand.Perm(len(cs)) {
			blk, err := p.store.Get(ctx, cs[i])
			if err != nil || p.mute != nil && p.mute(cs[i]) {
				if !p.closing {
					defer func() { <-ctx.Done() }()
				}
				continue
			}
			p.flying.Add(-1)
			select {
			case ch <- blk:
			case <-ctx.Done():
				return
			}
		}
	})
	return ch, nil
}

func newPeer(t testing.TB, s blockstore.Store) *peer {
	p := &peer{store: s}
	t.Cleanup(p.wg.Wait)
	return p
}

func TestCopyFile(t *testing.T) {
	mixed := chunker(V1_2025(), 10_000)
	for _, p := range []Profile{V1_2025(), V0_2015(), mixed, chunker(V0_2015(), 1000)} {
		sizes := []int{0, 1, 9_999, 10_000, 10_001, 1 << 20, 3<<20 + 7}
		if p.chunk == 0 {
			sizes = append(sizes, 40<<20+1) // more than the window
		}
		for _, n := range sizes {
			t.Run(fmt.Sprintf("%s/%d", p, n), func(t *testing.T) {
				t.Parallel()
				b := content(n)
				theirs, ours := newStore(t), newStore(t)
				want := mustImport(t, theirs, b, ImportOptions{Profile: p})
				src := newPeer(t, theirs)
				for _, round := range []string{"first", "stored already"} {
					src.asked.Store(0)
					tee := make(memoryAt, n)
					var also bytes.Buffer
					var told atomic.Int64
					e, err := Copy(t.Context(), ours, src, want.Root, CopyOptions{
						Tee: tee, Also: []io.Writer{&also}, Progress: func(n int64) { told.Add(n) },
						Accept: func(f File) (map[string][]byte, error) {
							if f != want {
								t.Errorf("Accept was told %v, want %v", f, want)
							}
							return map[string][]byte{"url:" + round: nil}, nil
						},
					})
					if err != nil {
						t.Fatal(err)
					}
					if e.Cid != want.Root || e.Size != want.Size || *e.SHA256 != want.SHA256 || e.Type != TypeFile {
						t.Errorf("copied %v, want %v", e, want)
					}
					if !bytes.Equal(tee, b) || !bytes.Equal(also.Bytes(), b) {
						t.Errorf("%s: Tee or Also got something else", round)
					}
					if a, err := ours.Alias(t.Context(), "url:"+round); err != nil || a.Root != want.Root {
						t.Errorf("alias: %v, %v", a, err)
					}
					if round == "first" && told.Load() != int64(n) {
						t.Errorf("progress of %d bytes, want %d", told.Load(), n)
					}
					if round != "first" && src.asked.Load() > 0 {
						t.Errorf("%d blocks were asked for again", src.asked.Load())
					}
				}
				if got, err := readAll(t.Context(), ours, want); err != nil || !bytes.Equal(got, b) {
					t.Errorf("read back %d bytes, %v", len(got), err)
				}
				if rec, err := ours.File(t.Context(), want.Root); err != nil || rec != want {
					t.Errorf("record %v, %v", rec, err)
				}
			})
		}
	}
}

// TestCopyRepeats copies a file that is one leaf many times: it is asked for a
// few times, not once for each place.
func TestCopyRepeats(t *testing.T) {
	theirs, ours := newStore(t), newStore(t)
	b := make([]byte, 200<<20)
	want := mustImport(t, theirs, b, ImportOptions{})
	src := newPeer(t, theirs)
	e, err := Copy(t.Context(), ours, src, want.Root, CopyOptions{})
	if err != nil || e.Cid != want.Root || *e.SHA256 != sha256.Sum256(b) {
		t.Fatal(e, err)
	}
	if n := src.asked.Load(); n > 10 {
		t.Errorf("%d blocks were asked for, 2 are different", n)
	}
}

// TestCopyPartly copies a file of which some blocks are stored.
func TestCopyPartly(t *testing.T) {
	theirs, ours := newStore(t), newStore(t)
	b := content(20 << 20)
	want := mustImport(t, theirs, b, ImportOptions{})
	n := 0
	for c, err := range theirs.Keys(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if n++; n%2 == 0 {
			blk, err := theirs.Get(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			if err := ours.Put(t.Context(), blk); err != nil {
				t.Fatal(err)
			}
		}
	}
	src := newPeer(t, theirs)
	if _, err := Copy(t.Context(), ours, src, want.Root, CopyOptions{}); err != nil {
		t.Fatal(err)
	}
	if got := src.asked.Load(); got != int64(n-n/2) {
		t.Errorf("%d blocks were asked for, %d were missing", got, n-n/2)
	}
	if got, err := readAll(t.Context(), ours, want); err != nil || !bytes.Equal(got, b) {
		t.Errorf("read back %d bytes, %v", len(got), err)
	}
}

func TestCopyStalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		theirs, ours := blockstore.NewMemory(), blockstore.NewMemory()
		f := mustImport(t, theirs, content(5<<20), ImportOptions{})
		links, err := Links(f.Root, mustGet(t, theirs, f.Root))
		if err != nil {
			t.Fatal(err)
		}
		src := newPeer(t, theirs)
		src.mute = func(c cid.Cid) bool { return c == links[3] }
		var stalls []cid.Cid
		began := time.Now()
		_, err = Copy(t.Context(), ours, src, f.Root, CopyOptions{OnStall: func(c cid.Cid) { stalls = append(stalls, c) }})
		if !errors.Is(err, ErrNoProgress) || !bytes.Contains([]byte(err.Error()), []byte(links[3].String())) {
			t.Errorf("Copy = %v, want ErrNoProgress that names %s", err, links[3])
		}
		if took := time.Since(began); took < 30*time.Second || took > 40*time.Second {
			t.Errorf("gave up after %v", took)
		}
		if len(stalls) == 0 || stalls[0] != links[3] {
			t.Errorf("stalls: %v", stalls)
		}
		if _, err := ours.File(t.Context(), f.Root); !ipld.IsNotFound(err) {
			t.Errorf("recorded all the same: %v", err)
		}
		src.wg.Wait()
	})
}

func TestCopyFails(t *testing.T) {
	theirs := newStore(t)
	f := mustImport(t, theirs, content(5<<20), ImportOptions{})
	missing := mustImport(t, newStore(t), content(5<<20+1), ImportOptions{})
	dir, err := ImportTree(t.Context(), theirs, openRoot(t, trees()["files"].write(t)), ".", TreeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	boom := errors.New("boom")
	for name, c := range map[string]struct {
		root cid.Cid
		o    CopyOptions
		ctx  func(context.Context) context.Context
		want func(error) bool
		full bool
	}{
		"not there":       {root: missing.Root, want: ipld.IsNotFound},
		"no CID":          {want: is(ErrMalformed)},
		"Accept refuses":  {root: f.Root, o: CopyOptions{Accept: func(File) (map[string][]byte, error) { return nil, boom }}, want: is(boom)},
		"Also fails":      {root: f.Root, o: CopyOptions{Also: []io.Writer{failing{boom}}}, want: is(boom)},
		"Tee fails":       {root: f.Root, o: CopyOptions{Tee: failing{boom}}, want: is(boom)},
		"too large":       {root: f.Root, o: CopyOptions{Limits: Limits{Bytes: 1 << 20}}, want: is(ErrTooLarge)},
		"tree too large":  {root: dir.Cid, o: CopyOptions{Limits: Limits{Bytes: 1 << 20}}, want: is(ErrTooLarge)},
		"tree too wide":   {root: dir.Cid, o: CopyOptions{Limits: Limits{Entries: 3}}, want: is(ErrTooLarge)},
		"cancelled":       {root: f.Root, ctx: cancelled, want: is(context.Canceled)},
		"tree, cancelled": {root: dir.Cid, ctx: cancelled, want: is(context.Canceled)},
		"store full":      {root: f.Root, full: true, want: is(blockstore.ErrNoSpace)},
		"tree, full":      {root: dir.Cid, full: true, want: is(blockstore.ErrNoSpace)},
	} {
		t.Run(name, func(t *testing.T) {
			ours := newStore(t)
			if c.full {
				ours.SetLimit(1000)
			}
			src := newPeer(t, theirs)
			src.closing = true
			ctx := t.Context()
			if c.ctx != nil {
				ctx = c.ctx(ctx)
			}
			if e, err := Copy(ctx, ours, src, c.root, c.o); err == nil || !c.want(err) {
				t.Errorf("Copy = %v, %v", e, err)
			}
			if c.root.Defined() {
				if _, err := ours.File(t.Context(), c.root); !ipld.IsNotFound(err) {
					t.Errorf("recorded all the same: %v", err)
				}
			}
		})
	}
}

func is(target error) func(error) bool { return func(err error) bool { return errors.Is(err, target) } }

func cancelled(ctx context.Context) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	cancel()
	return ctx
}

func mustGet(t testing.TB, s blockstore.Store, c cid.Cid) []byte {
	t.Helper()
	blk, err := s.Get(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return blk.RawData()
}
