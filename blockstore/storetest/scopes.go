package storetest

import (
	"bytes"
	"errors"
	"testing"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"

	"github.com/hypha-node/hypha-node/blockstore"
)

func scopeTests() group {
	return group{
		"loose blocks": testScopeBlocks, "files": testScopeFiles, "one leaf": testScopeLeaf, "public stays": testScopePublicStays,
		"becomes public": testScopeBecomesPublic, "shared blocks": testScopeShared, "admit": testScopeAdmit,
		"absent": testScopeAbsent,
	}
}

// forms returns the CIDs under which the bytes of a block can be asked for.
func forms(c cid.Cid) []cid.Cid {
	var all []cid.Cid
	for _, codec := range []uint64{cid.Raw, cid.DagProtobuf, cid.DagCBOR} {
		all = append(all, cid.NewCidV1(codec, c.Hash()))
	}
	return append(all, cid.NewCidV0(c.Hash()))
}

// checkHidden fails unless a block is as good as absent.
func checkHidden(t *testing.T, s blockstore.Store, c cid.Cid) {
	t.Helper()
	for _, c := range forms(c) {
		checkAbsent(t, s, c)
		if err := s.View(t.Context(), c, func([]byte) error { return errors.New("seen") }); !ipld.IsNotFound(err) {
			t.Errorf("View(%s) = %v, want not found", c, err)
		}
		if _, err := s.OpenFile(t.Context(), c); !ipld.IsNotFound(err) {
			t.Errorf("OpenFile(%s) = %v, want not found", c, err)
		}
	}
}

// checkFor fails unless exactly these scopes have the blocks, under all CIDs, and
// the store itself.
func checkFor(t *testing.T, s blockstore.Store, blks []blocks.Block, scopes ...string) {
	t.Helper()
	for _, blk := range blks {
		checkGet(t, s, blk)
		private, err := blockstore.IsPrivate(t.Context(), s, blk.Cid())
		if err != nil || private == (len(scopes) > 0 && scopes[0] == "") {
			t.Errorf("IsPrivate(%s) = %v, %v", blk.Cid(), private, err)
		}
		for _, name := range []string{"", "a", "b"} {
			view, may := s.Scope(name), false
			for _, scope := range scopes {
				may = may || scope == name || scope == ""
			}
			if !may {
				checkHidden(t, view, blk.Cid())
				continue
			}
			checkGet(t, view, blk)
			for _, c := range forms(blk.Cid()) {
				if has, err := view.Has(t.Context(), c); !has || err != nil {
					t.Errorf("%q has %s: %v, %v", name, c, has, err)
				}
			}
		}
	}
}

// checkKeys fails unless the listing of a scope has these of the blocks alone.
func checkKeys(t *testing.T, s blockstore.Store, blks ...blocks.Block) {
	t.Helper()
	got := listed(t, s)
	for _, blk := range blks {
		if !got[string(blk.Cid().Hash())] {
			t.Errorf("%s is not listed", blk.Cid())
		}
	}
	if len(got) != len(blks) {
		t.Errorf("%d blocks are listed, want %d", len(got), len(blks))
	}
}

func testScopeBlocks(t *testing.T, s blockstore.Store) {
	blks := someBlocks(t, 80, 3)
	must(t, s.Scope("a").PutMany(t.Context(), blks[:2]))
	must(t, s.Scope("").Put(t.Context(), blks[2]))
	for range 2 { // waiting, then in the index
		checkFor(t, s, blks[:2])
		checkFor(t, s, blks[2:], "")
		checkKeys(t, s.Scope(""), blks[2])
		checkKeys(t, s, blks...)
		must(t, s.Sync(t.Context()))
	}
	must(t, s.Admit(t.Context(), blks[0].Cid(), "a"))
	checkFor(t, s, blks[:1], "a")
	checkKeys(t, s.Scope("a"), blks[0], blks[2])
	must(t, s.Put(t.Context(), blks[0]))
	must(t, s.Scope("a").Put(t.Context(), blks[0]))
	for range 2 {
		checkFor(t, s, blks[:1], "")
		must(t, s.Sync(t.Context()))
	}
}

func testScopeFiles(t *testing.T, s blockstore.Store) {
	f := newSample(t, 81, 5000, 1000)
	f.commit(t, s.Scope("a"), map[string][]byte{"url:a": nil})
	checkFor(t, s, f.blocks(t), "a")
	f.check(t, s)
	f.check(t, s.Scope("a"))
	f.checkGone(t, s.Scope(""))
	f.checkGone(t, s.Scope("b"))
	if a, err := s.Scope("b").Alias(t.Context(), "url:a"); !ipld.IsNotFound(err) {
		t.Errorf("alias: %+v, %v", a, err)
	}
	// The same content of another scope is that one's too.
	f.commit(t, s.Scope("b"), nil)
	checkFor(t, s, f.blocks(t), "a", "b")
	f.check(t, s.Scope("b"))
	// A file that is put together of blocks.
	g := newSample(t, 82, 3000, 1000)
	must(t, s.Scope("a").PutMany(t.Context(), g.blocks(t)))
	must(t, s.Scope("a").PutFile(t.Context(), g.File, nil))
	checkFor(t, s, []blocks.Block{g.node}, "a")
	for _, l := range g.leaves {
		checkHidden(t, s.Scope(""), l.cid)
		checkHidden(t, s.Scope("b"), l.cid)
	}
}

func testScopeLeaf(t *testing.T, s blockstore.Store) {
	f := newSample(t, 83, 700, 1000)
	f.commit(t, s.Scope("a"), nil)
	checkFor(t, s, f.blocks(t), "a")
	f.checkGone(t, s.Scope(""))
	f.commit(t, s, nil)
	checkFor(t, s, f.blocks(t), "")
	f.check(t, s.Scope(""))
}

func testScopePublicStays(t *testing.T, s blockstore.Store) {
	for i, size := range []int{700, 5000} {
		f := newSample(t, uint64(84+i), size, 1000)
		f.commit(t, s, nil)
		f.commit(t, s.Scope("a"), map[string][]byte{"url:a": nil})
		must(t, s.Admit(t.Context(), f.Root, "a"))
		must(t, s.Scope("a").PutMany(t.Context(), f.blocks(t)))
		must(t, s.Scope("a").PutFile(t.Context(), f.File, nil))
		checkFor(t, s, f.blocks(t), "")
		if a, err := s.Audience(t.Context(), f.Root); err != nil || !a.Public || len(a.Scopes) > 0 {
			t.Errorf("%+v, %v", a, err)
		}
		f.check(t, s.Scope("b"))
	}
}

func testScopeBecomesPublic(t *testing.T, s blockstore.Store) {
	for i, publish := range []func(f sample){
		func(f sample) { f.commit(t, s, nil) },
		func(f sample) { f.commit(t, s.Scope(""), map[string][]byte{"url:open": nil}) },
		func(f sample) {
			must(t, s.PutMany(t.Context(), f.blocks(t)))
			must(t, s.PutFile(t.Context(), f.File, nil))
		},
	} {
		f := newSample(t, uint64(90+i), 5000, 1000)
		f.commit(t, s.Scope("a"), nil)
		f.commit(t, s.Scope("b"), nil)
		checkFor(t, s, f.blocks(t), "a", "b")
		publish(f)
		checkFor(t, s, f.blocks(t), "")
		f.check(t, s.Scope(""))
	}
}

func testScopeShared(t *testing.T, s blockstore.Store) {
	all := newSample(t, 95, 5000, 1000)
	part := newSample(t, 95, 3000, 1000) // the first leaves of it
	if !bytes.Equal(all.content[:3000], part.content) {
		t.Fatal("the samples share nothing")
	}
	all.commit(t, s.Scope("a"), nil)
	part.commit(t, s, nil)
	shared, rest := part.blocks(t), append(all.blocks(t)[3:5:5], all.node)
	checkFor(t, s, shared, "")
	checkFor(t, s, rest, "a")
	all.check(t, s.Scope("a"))
	part.check(t, s.Scope(""))
}

func testScopeAdmit(t *testing.T, s blockstore.Store) {
	f := newSample(t, 96, 5000, 1000)
	if err := s.Admit(t.Context(), f.Root, "b"); !ipld.IsNotFound(err) {
		t.Errorf("before it is stored: %v", err)
	}
	f.commit(t, s.Scope("a"), nil)
	must(t, s.Admit(t.Context(), f.Root, ""))
	checkFor(t, s, f.blocks(t), "a")
	must(t, s.Admit(t.Context(), f.Root, "b"))
	must(t, s.Admit(t.Context(), f.Root, "b"))
	checkFor(t, s, f.blocks(t), "a", "b")
	if a, err := s.Audience(t.Context(), f.leaves[0].cid); err != nil || a.Public || len(a.Scopes) != 2 {
		t.Errorf("%+v, %v", a, err)
	}
	f.check(t, s.Scope(blockstore.Operator))
}

// testScopeAbsent: what is nobody's is answered like what is somebody else's.
func testScopeAbsent(t *testing.T, s blockstore.Store) {
	blk := someBlocks(t, 97, 1)[0]
	checkHidden(t, s.Scope("a"), blk.Cid())
	if a, err := s.Audience(t.Context(), blk.Cid()); !ipld.IsNotFound(err) {
		t.Errorf("%+v, %v", a, err)
	}
	if private, err := blockstore.IsPrivate(t.Context(), s, blk.Cid()); private || err != nil {
		t.Errorf("%v, %v", private, err)
	}
	inline := identity(t, "in the CID")
	got, err := s.Scope("").Get(t.Context(), inline.Cid())
	if err != nil || !bytes.Equal(got.RawData(), inline.RawData()) {
		t.Errorf("%v, %v", got, err)
	}
}

func testScopeReopen(t *testing.T, s blockstore.Store) {
	r, ok := s.(Reopener)
	if !ok {
		t.Skip("this store does not outlive its process")
	}
	private, public, leaf := newSample(t, 98, 5000, 1000), newSample(t, 99, 5000, 1000), newSample(t, 100, 500, 1000)
	private.commit(t, s.Scope("a"), nil)
	public.commit(t, s.Scope("a"), nil)
	public.commit(t, s, nil)
	leaf.commit(t, s.Scope("a"), nil)
	must(t, s.Admit(t.Context(), leaf.Root, "b"))
	s = r.Reopen(t)
	defer s.Close()
	checkFor(t, s, private.blocks(t), "a")
	checkFor(t, s, public.blocks(t), "")
	checkFor(t, s, leaf.blocks(t), "a", "b")
}
