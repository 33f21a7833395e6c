package storetest

import (
	"context"
	"errors"
	"maps"
	"sync"
	"testing"

	"github.com/hypha-node/hypha-node/blockstore"
)

func writerTests() group {
	return group{
		"in order":       testWriterInOrder,
		"any order":      testWriterAnyOrder,
		"unknown size":   testWriterUnknownSize,
		"empty":          testWriterEmpty,
		"same leaves":    testWriterSameLeaves,
		"invisible":      testWriterInvisible,
		"aborted":        testWriterAborted,
		"spent":          testWriterSpent,
		"existing":       testWriterExisting,
		"shares leaves":  testWriterSharesLeaves,
		"refused leaves": testWriterRefuses,
		"own bytes":      testWriterOwnBytes,
		"dead context":   testWriterDeadContext,
		"many at once":   testWriterManyAtOnce,
	}
}

func testWriterInOrder(t *testing.T, s blockstore.Store) {
	f := newSample(t, 20, 5<<20+17, 1<<20)
	f.commit(t, s, map[string][]byte{"gitsha1:x": []byte("{}")})
	f.check(t, s)
	checkAlias(t, s, "gitsha1:x", f.Root, "{}")
}

// testWriterAnyOrder writes leaves from the end, several at once.
func testWriterAnyOrder(t *testing.T, s blockstore.Store) {
	f := newSample(t, 21, 4<<20+1, 256<<10)
	w, err := s.NewFile(t.Context(), f.Size)
	must(t, err)
	must(t, w.PutNode(f.node))
	var group sync.WaitGroup
	for i := range 4 {
		group.Go(func() {
			for j := len(f.leaves) - 1 - i; j >= 0; j -= 4 {
				if err := w.WriteLeaf(f.leaves[j].off, f.leaves[j].cid, f.leaves[j].data); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	must(t, w.Commit(t.Context(), f.File, nil))
	f.check(t, s)
}

func testWriterUnknownSize(t *testing.T, s blockstore.Store) {
	f := newSample(t, 22, 10_001, 1000)
	w, err := s.NewFile(t.Context(), -1)
	must(t, err)
	f.write(t, w)
	must(t, w.Commit(t.Context(), f.File, nil))
	f.check(t, s)
}

func testWriterEmpty(t *testing.T, s blockstore.Store) {
	f := newSample(t, 23, 0, 1000)
	f.commit(t, s, nil)
	f.check(t, s)
}

// testWriterSameLeaves stores a file of zeros: one block at many offsets.
func testWriterSameLeaves(t *testing.T, s blockstore.Store) {
	data := make([]byte, 1000)
	f := newSample(t, 24, 4000, 1000)
	for i := range f.leaves {
		f.leaves[i] = leaf{int64(i) * 1000, rawCID(t, data), data}
	}
	clear(f.content)
	f.commit(t, s, nil)
	f.check(t, s)
}

func testWriterInvisible(t *testing.T, s blockstore.Store) {
	f := newSample(t, 25, 5000, 1000)
	w, err := s.NewFile(t.Context(), f.Size)
	must(t, err)
	f.write(t, w)
	f.checkGone(t, s)
	if n := len(listed(t, s)); n != 0 {
		t.Errorf("%d keys before Commit, want none", n)
	}
	must(t, w.Commit(t.Context(), f.File, nil))
	f.check(t, s)
}

func testWriterAborted(t *testing.T, s blockstore.Store) {
	f := newSample(t, 26, 5000, 1000)
	w, err := s.NewFile(t.Context(), f.Size)
	must(t, err)
	f.write(t, w)
	must(t, w.Abort())
	f.checkGone(t, s)
	if n := len(listed(t, s)); n != 0 {
		t.Errorf("%d keys after Abort, want none", n)
	}
	empty, err := s.NewFile(t.Context(), 10)
	must(t, err)
	must(t, empty.Abort())
	f.commit(t, s, nil)
	f.check(t, s)
}

func testWriterSpent(t *testing.T, s blockstore.Store) {
	f := newSample(t, 27, 5000, 1000)
	for _, committed := range []bool{false, true} {
		w, err := s.NewFile(t.Context(), f.Size)
		must(t, err)
		f.write(t, w)
		if committed {
			must(t, w.Commit(t.Context(), f.File, nil))
		} else {
			must(t, w.Abort())
		}
		if w.WriteLeaf(0, f.leaves[0].cid, f.leaves[0].data) == nil {
			t.Errorf("WriteLeaf works on a spent writer (committed: %v)", committed)
		}
		if w.PutNode(f.node) == nil {
			t.Errorf("PutNode works on a spent writer (committed: %v)", committed)
		}
		if w.Commit(t.Context(), f.File, nil) == nil {
			t.Errorf("Commit works on a spent writer (committed: %v)", committed)
		}
		must(t, w.Abort())
		must(t, w.Abort())
	}
	f.check(t, s)
}

func testWriterExisting(t *testing.T, s blockstore.Store) {
	f := newSample(t, 28, 5000, 1000)
	f.commit(t, s, map[string][]byte{"url:first": []byte("1")})
	f.commit(t, s, map[string][]byte{"url:second": []byte("2")})
	f.check(t, s)
	checkAlias(t, s, "url:first", f.Root, "1")
	checkAlias(t, s, "url:second", f.Root, "2")
	if n := len(listed(t, s)); n != len(f.blocks(t)) {
		t.Errorf("%d keys, want %d", n, len(f.blocks(t)))
	}
}

// testWriterSharesLeaves stores two files with common leaves, and loose blocks
// before one of them: each file stays whole.
func testWriterSharesLeaves(t *testing.T, s blockstore.Store) {
	a := newSample(t, 29, 8000, 1000)
	b := newSample(t, 29, 4000, 1000) // its leaves are the first four of a
	must(t, s.PutMany(t.Context(), b.blocks(t)[:2]))
	a.commit(t, s, nil)
	b.commit(t, s, nil)
	a.check(t, s)
	b.check(t, s)
	if n := len(listed(t, s)); n != 8+2 {
		t.Errorf("%d keys, want 10", n)
	}
}

func testWriterRefuses(t *testing.T, s blockstore.Store) {
	w, err := s.NewFile(t.Context(), -1)
	must(t, err)
	huge := randomBytes(30, maxBlock+1)
	if w.WriteLeaf(0, rawCID(t, huge), huge) == nil {
		t.Errorf("WriteLeaf took %d bytes", len(huge))
	}
	if w.PutNode(withCID(t, huge, rawCID(t, huge))) == nil {
		t.Errorf("PutNode took %d bytes", len(huge))
	}
	if w.WriteLeaf(-1, rawCID(t, []byte("x")), []byte("x")) == nil {
		t.Error("WriteLeaf took a negative offset")
	}
	must(t, w.Abort())
	if n := len(listed(t, s)); n != 0 {
		t.Errorf("%d keys, want none", n)
	}
}

// testWriterOwnBytes reuses one buffer for all leaves, as an importer does.
func testWriterOwnBytes(t *testing.T, s blockstore.Store) {
	f := newSample(t, 31, 5000, 1000)
	w, err := s.NewFile(t.Context(), f.Size)
	must(t, err)
	buf := make([]byte, 1000)
	for _, l := range f.leaves {
		copy(buf, l.data)
		must(t, w.WriteLeaf(l.off, l.cid, buf))
	}
	clear(buf)
	must(t, w.PutNode(f.node))
	must(t, w.Commit(t.Context(), f.File, nil))
	f.check(t, s)
}

func testWriterDeadContext(t *testing.T, s blockstore.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	f := newSample(t, 32, 5000, 1000)
	w, err := s.NewFile(ctx, f.Size)
	must(t, err)
	f.write(t, w)
	cancel()
	if err := w.Commit(ctx, f.File, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("Commit = %v, want context.Canceled", err)
	}
	must(t, w.Abort())
	f.checkGone(t, s)
	if _, err := s.NewFile(ctx, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("NewFile = %v, want context.Canceled", err)
	}
}

// testWriterManyAtOnce takes in the same file and others at once; a third of
// the writers give up.
func testWriterManyAtOnce(t *testing.T, s blockstore.Store) {
	same := newSample(t, 33, 50_000, 10_000)
	own := make([]sample, 12)
	for i := range own {
		own[i] = newSample(t, 100+uint64(i), 50_000, 10_000)
	}
	var group sync.WaitGroup
	for i := range own {
		group.Go(func() {
			for _, f := range []sample{same, own[i]} {
				w, err := s.NewFile(t.Context(), f.Size)
				if err != nil {
					t.Error(err)
					return
				}
				for _, l := range f.leaves {
					err = errors.Join(err, w.WriteLeaf(l.off, l.cid, l.data))
				}
				if err = errors.Join(err, w.PutNode(f.node)); i%3 == 0 {
					err = errors.Join(err, w.Abort())
				} else {
					err = errors.Join(err, w.Commit(t.Context(), f.File, nil))
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	same.check(t, s)
	want := make(map[string]bool)
	for i, f := range append(own, same) {
		if i < len(own) && i%3 == 0 {
			f.checkGone(t, s)
			continue
		}
		f.check(t, s)
		for _, blk := range f.blocks(t) {
			want[string(blk.Cid().Hash())] = true
		}
	}
	if got := listed(t, s); !maps.Equal(got, want) {
		t.Errorf("%d keys, want those %d of the files", len(got), len(want))
	}
}
