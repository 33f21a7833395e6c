package storetest

import (
	"errors"
	"slices"
	"sync"
	"testing"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"

	"github.com/hypha-node/hypha-node/blockstore"
)

func faultTests() group {
	return group{
		"bad block": withCorrupter(testBadBlock),
		"bad leaf":  withCorrupter(testBadLeaf),
		"bad node":  withCorrupter(testBadNode),
		"full":      testFull,
	}
}

func withCorrupter(test func(t *testing.T, s blockstore.Store, spoil func(cid.Cid))) func(*testing.T, blockstore.Store) {
	return func(t *testing.T, s blockstore.Store) {
		t.Helper()
		bad, ok := s.(Corrupter)
		if !ok {
			t.Skip("this store can't be spoilt")
		}
		test(t, s, func(c cid.Cid) {
			if !bad.Corrupt(c) {
				t.Fatalf("%s was not spoilt", c)
			}
		})
	}
}

// checkCorrupt fails unless err says both what happened and that the block is gone.
func checkCorrupt(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, blockstore.ErrCorrupt) || !ipld.IsNotFound(err) {
		t.Errorf("%v, want ErrCorrupt that is a not found as well", err)
	}
}

func testBadBlock(t *testing.T, s blockstore.Store, spoil func(cid.Cid)) {
	all := someBlocks(t, 50, 3)
	must(t, s.PutMany(t.Context(), all))
	must(t, s.Sync(t.Context()))
	for name, read := range map[string]func(c cid.Cid) error{
		"Get": func(c cid.Cid) error { _, err := s.Get(t.Context(), c); return err },
		"View": func(c cid.Cid) error {
			return s.View(t.Context(), c, func([]byte) error { t.Error("View shows bad bytes"); return nil })
		},
	} {
		t.Run(name, func(t *testing.T) {
			spoil(all[1].Cid())
			checkCorrupt(t, read(all[1].Cid()))
			checkAbsent(t, s, all[1].Cid())
			checkGet(t, s, all[0])
			checkGet(t, s, all[2])
			must(t, s.Put(t.Context(), all[1]))
			checkGet(t, s, all[1])
		})
	}
}

// testBadLeaf holds that a file with a bad leaf is no file any more once it was
// seen, and that taking it in again heals it.
func testBadLeaf(t *testing.T, s blockstore.Store, spoil func(cid.Cid)) {
	f := newSample(t, 51, 5000, 1000)
	for range 2 {
		f.commit(t, s, nil)
		spoil(f.leaves[2].cid)
		_, err := s.Get(t.Context(), f.leaves[2].cid)
		checkCorrupt(t, err)
		if got, err := s.File(t.Context(), f.Root); !ipld.IsNotFound(err) {
			t.Errorf("File = %+v, %v with a bad leaf, want not found", got, err)
		}
	}
	f.commit(t, s, nil)
	f.check(t, s)
}

func testBadNode(t *testing.T, s blockstore.Store, spoil func(cid.Cid)) {
	f := newSample(t, 52, 5000, 1000)
	f.commit(t, s, nil)
	spoil(f.Root)
	_, err := s.Get(t.Context(), f.Root)
	checkCorrupt(t, err)
	if got, err := s.File(t.Context(), f.Root); !ipld.IsNotFound(err) {
		t.Errorf("File = %+v, %v with a bad root, want not found", got, err)
	}
	f.commit(t, s, nil)
	f.check(t, s)
}

// testFull holds that a full store says so before the first byte, and stays usable.
func testFull(t *testing.T, s blockstore.Store) {
	l, ok := s.(Limiter)
	if !ok {
		t.Skip("this store can't be filled")
	}
	before := newSample(t, 53, 5000, 1000)
	before.commit(t, s, nil)
	l.SetLimit(1 << 20)
	if _, err := s.NewFile(t.Context(), 1<<40); !errors.Is(err, blockstore.ErrNoSpace) {
		t.Errorf("NewFile of 1 TiB = %v, want ErrNoSpace", err)
	}
	after := newSample(t, 54, 5000, 1000)
	after.commit(t, s, nil)
	before.check(t, s)
	after.check(t, s)
}

func reopenTests() group {
	return group{"everything acknowledged": testReopen, "scopes": testScopeReopen, "nothing unfinished": testReopenUnfinished}
}

func testReopen(t *testing.T, s blockstore.Store) {
	r, ok := s.(Reopener)
	if !ok {
		t.Skip("this store does not outlive its process")
	}
	ctx, loose := t.Context(), someBlocks(t, 60, 50)
	must(t, s.PutMany(ctx, loose))
	must(t, s.DeleteBlock(ctx, loose[0].Cid()))
	must(t, s.Sync(ctx))
	written, put := newSample(t, 61, 5000, 1000), newSample(t, 62, 5000, 1000)
	written.commit(t, s, map[string][]byte{"url:w": []byte("w")})
	must(t, s.PutMany(ctx, put.blocks(t)))
	must(t, s.PutFile(ctx, put.File, map[string][]byte{"url:p": []byte("p")}))
	must(t, s.PutAlias(ctx, "url:w2", blockstore.Alias{Root: written.Root, Meta: []byte("w2")}))
	must(t, s.Pin(ctx, blockstore.Pin{Root: put.Root, Name: "keep"}))
	must(t, s.Pin(ctx, blockstore.Pin{Root: put.Root, Name: "drop"}))
	must(t, s.Unpin(ctx, put.Root, "drop"))
	if rec, ok := s.(recorder); ok {
		must(t, rec.Records("jobs").Put(ctx, "1", []byte("v1")))
		must(t, rec.Records("jobs").Put(ctx, "2", []byte("v2")))
		must(t, rec.Records("jobs").Delete(ctx, "2"))
	}

	s = r.Reopen(t)
	defer s.Close()
	checkAbsent(t, s, loose[0].Cid())
	for _, blk := range loose[1:] {
		checkGet(t, s, blk)
	}
	written.check(t, s)
	put.check(t, s)
	checkAlias(t, s, "url:w", written.Root, "w")
	checkAlias(t, s, "url:w2", written.Root, "w2")
	checkAlias(t, s, "url:p", put.Root, "p")
	if got := pins(t, s); !slices.Equal(got[put.Root], []string{"keep"}) || len(got) != 1 {
		t.Errorf("pins %q, want keep", got)
	}
	if rec, ok := s.(recorder); ok {
		if keys := recordKeys(t, rec.Records("jobs"), ""); !slices.Equal(keys, []string{"1"}) {
			t.Errorf("records %q, want 1", keys)
		}
	}
}

func testReopenUnfinished(t *testing.T, s blockstore.Store) {
	r, ok := s.(Reopener)
	if !ok {
		t.Skip("this store does not outlive its process")
	}
	f := newSample(t, 63, 5000, 1000)
	w, err := s.NewFile(t.Context(), f.Size)
	must(t, err)
	f.write(t, w)
	s = r.Reopen(t)
	defer s.Close()
	must(t, w.Abort())
	f.checkGone(t, s)
	if n := len(listed(t, s)); n != 0 {
		t.Errorf("%d keys, want none", n)
	}
	f.commit(t, s, nil)
	f.check(t, s)
}

func closedTests() group {
	return group{"every call": testClosed, "twice": testClosedTwice}
}

func testClosed(t *testing.T, s blockstore.Store) {
	ctx, blk, f := t.Context(), blocks.NewBlock([]byte("x")), newSample(t, 70, 5000, 1000)
	c := blk.Cid()
	must(t, s.Put(ctx, blk))
	w, err := s.NewFile(ctx, f.Size)
	must(t, err)
	f.write(t, w)
	must(t, s.Close())
	for name, call := range map[string]func() error{
		"Has":         func() error { _, err := s.Has(ctx, c); return err },
		"Get":         func() error { _, err := s.Get(ctx, c); return err },
		"GetSize":     func() error { _, err := s.GetSize(ctx, c); return err },
		"View":        func() error { return s.View(ctx, c, func([]byte) error { return nil }) },
		"Put":         func() error { return s.Put(ctx, blk) },
		"PutMany":     func() error { return s.PutMany(ctx, []blocks.Block{blk}) },
		"DeleteBlock": func() error { return s.DeleteBlock(ctx, c) },
		"AllKeysChan": func() error { _, err := s.AllKeysChan(ctx); return err },
		"Keys": func() (err error) {
			for _, err = range s.Keys(ctx) {
			}
			return err
		},
		"Sync":      func() error { return s.Sync(ctx) },
		"NewFile":   func() error { _, err := s.NewFile(ctx, 1); return err },
		"WriteLeaf": func() error { return w.WriteLeaf(0, f.leaves[0].cid, f.leaves[0].data) },
		"PutNode":   func() error { return w.PutNode(f.node) },
		"Commit":    func() error { return w.Commit(ctx, f.File, nil) },
		"File":      func() error { _, err := s.File(ctx, f.Root); return err },
		"PutFile":   func() error { return s.PutFile(ctx, f.File, nil) },
		"OpenFile":  func() error { _, err := s.OpenFile(ctx, f.Root); return err },
		"Alias":     func() error { _, err := s.Alias(ctx, "k"); return err },
		"PutAlias":  func() error { return s.PutAlias(ctx, "k", blockstore.Alias{Root: c}) },
		"Pin":       func() error { return s.Pin(ctx, blockstore.Pin{Root: c}) },
		"Unpin":     func() error { return s.Unpin(ctx, c, "") },
		"Pins": func() (err error) {
			for _, err = range s.Pins(ctx) {
			}
			return err
		},
	} {
		if err := call(); !errors.Is(err, blockstore.ErrClosed) {
			t.Errorf("%s = %v, want ErrClosed", name, err)
		}
	}
	if w.WriteLeaf(0, f.leaves[0].cid, f.leaves[0].data) == nil || w.PutNode(f.node) == nil {
		t.Error("a writer of a closed store takes blocks")
	}
	must(t, w.Abort())
	r, ok := s.(recorder)
	if !ok {
		return
	}
	rec := r.Records("jobs")
	for name, call := range map[string]func() error{
		"Get":    func() error { _, err := rec.Get(ctx, "k"); return err },
		"Put":    func() error { return rec.Put(ctx, "k", nil) },
		"Delete": func() error { return rec.Delete(ctx, "k") },
		"All": func() (err error) {
			for _, err = range rec.All(ctx, "") {
			}
			return err
		},
	} {
		if err := call(); !errors.Is(err, blockstore.ErrClosed) {
			t.Errorf("Records.%s = %v, want ErrClosed", name, err)
		}
	}
}

func testClosedTwice(t *testing.T, s blockstore.Store) {
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			if err := s.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		})
	}
	group.Wait()
}

func concurrentTests() group {
	return group{"everything": testConcurrent, "close": testConcurrentClose}
}

// testConcurrent uses everything at once: each goroutine has blocks of its own,
// which nobody else deletes, and all share some.
func testConcurrent(t *testing.T, s blockstore.Store) {
	ctx, shared := t.Context(), someBlocks(t, 80, 20)
	must(t, s.PutMany(ctx, shared))
	var group sync.WaitGroup
	for i := range 8 {
		own := someBlocks(t, 81+uint64(i), 40)
		group.Go(func() {
			for j, blk := range own {
				if err := errors.Join(s.Put(ctx, blk), s.PutMany(ctx, shared[j%10:])); err != nil {
					t.Error(err)
				}
				checkGet(t, s, blk)
				checkGet(t, s, shared[j%20])
				if j%2 == 0 {
					if err := s.DeleteBlock(ctx, blk.Cid()); err != nil {
						t.Error(err)
					}
					checkAbsent(t, s, blk.Cid())
				}
				a := blockstore.Alias{Root: blk.Cid()}
				err := errors.Join(s.PutAlias(ctx, "same", a), s.Pin(ctx, blockstore.Pin{Root: shared[j%20].Cid()}))
				if _, aliasErr := s.Alias(ctx, "same"); err != nil || aliasErr != nil {
					t.Error(err, aliasErr)
				}
			}
			for _, err := range s.Keys(ctx) {
				if err != nil {
					t.Error(err)
				}
			}
			if err := s.Sync(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if n := len(listed(t, s)); n != 20+8*20 {
		t.Errorf("%d keys, want %d", n, 20+8*20)
	}
	if n := len(pins(t, s)); n != 20 {
		t.Errorf("%d pins, want 20", n)
	}
}

// testConcurrentClose closes under load: calls succeed or answer ErrClosed.
func testConcurrentClose(t *testing.T, s blockstore.Store) {
	ctx, started := t.Context(), make(chan struct{}, 8)
	var group sync.WaitGroup
	for i := range 8 {
		f := newSample(t, 90+uint64(i), 5000, 1000)
		all := f.blocks(t)
		group.Go(func() {
			for first := true; ; first = false {
				err := s.PutMany(ctx, all)
				if err == nil {
					_, err = s.Get(ctx, f.Root)
				}
				if err == nil {
					err = s.PutFile(ctx, f.File, nil)
				}
				if err == nil {
					_, err = s.File(ctx, f.Root)
				}
				if first {
					started <- struct{}{}
				}
				if errors.Is(err, blockstore.ErrClosed) {
					return
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 8 {
		<-started
	}
	must(t, s.Close())
	group.Wait()
}
