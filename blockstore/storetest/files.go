package storetest

import (
	"testing"

	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"

	"github.com/hypha-node/hypha-node/blockstore"
)

func fileTests() group {
	return group{
		"absent":        testFileAbsent,
		"put file":      testPutFile,
		"without root":  testFileWithoutRoot,
		"raw root":      testRawRoot,
		"v0 root":       testVersionZeroRoot,
		"inline root":   testInlineRoot,
		"lost a block":  testFileLosesBlock,
		"two of a kind": testTwoRootsOneContent,
	}
}

func testFileAbsent(t *testing.T, s blockstore.Store) {
	for _, c := range []cid.Cid{rawCID(t, []byte("no file")), newSample(t, 1, 20, 10).Root} {
		if f, err := s.File(t.Context(), c); !ipld.IsNotFound(err) {
			t.Errorf("File(%s) = %v, %v, want not found", c, f, err)
		}
		if _, err := s.OpenFile(t.Context(), c); !ipld.IsNotFound(err) {
			t.Errorf("OpenFile(%s) = %v, want not found", c, err)
		}
	}
	// A stored node is no file before it is recorded as one.
	f := newSample(t, 2, 20, 10)
	must(t, s.PutMany(t.Context(), f.blocks(t)))
	if _, err := s.File(t.Context(), f.Root); !ipld.IsNotFound(err) {
		t.Errorf("File of loose blocks = %v, want not found", err)
	}
}

func testPutFile(t *testing.T, s blockstore.Store) {
	f := newSample(t, 3, 5000, 1000)
	must(t, s.PutMany(t.Context(), f.blocks(t)))
	for range 2 {
		must(t, s.PutFile(t.Context(), f.File, map[string][]byte{"url:a": []byte(`{"n":1}`), "url:b": nil}))
		f.check(t, s)
	}
	checkAlias(t, s, "url:a", f.Root, `{"n":1}`)
	checkAlias(t, s, "url:b", f.Root, "")
}

func testFileWithoutRoot(t *testing.T, s blockstore.Store) {
	f := newSample(t, 4, 5000, 1000)
	if err := s.PutFile(t.Context(), f.File, map[string][]byte{"url:a": nil}); err == nil {
		t.Error("PutFile recorded a root that is not stored")
	}
	f.checkGone(t, s)
	if _, err := s.Alias(t.Context(), "url:a"); !ipld.IsNotFound(err) {
		t.Errorf("Alias = %v, want not found", err)
	}
	w, err := s.NewFile(t.Context(), f.Size)
	must(t, err)
	must(t, w.WriteLeaf(0, f.leaves[0].cid, f.leaves[0].data))
	if err := w.Commit(t.Context(), f.File, map[string][]byte{"url:a": nil}); err == nil {
		t.Error("Commit recorded a root that was not written")
	}
	must(t, w.Abort())
	f.checkGone(t, s)
}

func testRawRoot(t *testing.T, s blockstore.Store) {
	for _, size := range []int{0, 1, 100_000} {
		f := newSample(t, 5, size, 1<<20)
		must(t, s.PutMany(t.Context(), f.blocks(t)))
		f.check(t, s)
		must(t, s.DeleteBlock(t.Context(), f.Root))
		f.checkGone(t, s)
		f.commit(t, s, nil)
		f.check(t, s)
	}
}

// testVersionZeroRoot holds that a root's CIDv0 and CIDv1 are one file, but that
// the raw CID of the same block is the file whose content is the node.
func testVersionZeroRoot(t *testing.T, s blockstore.Store) {
	f := newSample(t, 6, 5000, 1000)
	v1 := f.Root
	f.Root = cid.NewCidV0(v1.Hash())
	f.commit(t, s, nil)
	f.check(t, s)
	got, err := s.File(t.Context(), v1)
	if err != nil || got.SHA256 != f.SHA256 || got.Size != f.Size {
		t.Errorf("File by CIDv1 = %+v, %v, want that of CIDv0", got, err)
	}
	node, err := s.File(t.Context(), cid.NewCidV1(cid.Raw, v1.Hash()))
	if err != nil || node.Size != int64(len(f.node.RawData())) || node.SHA256 == f.SHA256 {
		t.Errorf("File of the node as raw = %+v, %v, want its %d bytes", node, err, len(f.node.RawData()))
	}
}

func testInlineRoot(t *testing.T, s blockstore.Store) {
	f := newSample(t, 7, 20, 20)
	f.Root = identity(t, string(f.content)).Cid()
	must(t, s.PutFile(t.Context(), f.File, nil))
	got, err := s.File(t.Context(), f.Root)
	if err != nil || got != f.File {
		t.Errorf("File = %+v, %v, want %+v", got, err, f.File)
	}
	if n := len(listed(t, s)); n != 0 {
		t.Errorf("%d keys, want none", n)
	}
}

// testFileLosesBlock holds that a recorded root never lacks what came with it,
// and that taking the file in again heals it.
func testFileLosesBlock(t *testing.T, s blockstore.Store) {
	f := newSample(t, 8, 5000, 1000)
	f.commit(t, s, nil)
	for _, c := range []cid.Cid{f.leaves[3].cid, f.Root} {
		must(t, s.DeleteBlock(t.Context(), c))
		if got, err := s.File(t.Context(), f.Root); !ipld.IsNotFound(err) {
			t.Errorf("File = %+v, %v without %s, want not found", got, err, c)
		}
		if content, err := s.OpenFile(t.Context(), f.Root); err == nil {
			t.Errorf("OpenFile opens a file without %s", c)
			content.Close()
		}
		f.commit(t, s, nil)
		f.check(t, s)
	}
}

// testTwoRootsOneContent stores one content as two DAGs: both stay files.
func testTwoRootsOneContent(t *testing.T, s blockstore.Store) {
	a, b := newSample(t, 9, 6000, 1000), newSample(t, 9, 6000, 2000)
	a.commit(t, s, nil)
	b.commit(t, s, nil)
	for _, f := range []sample{a, b} {
		got, err := s.File(t.Context(), f.Root)
		if err != nil || got != f.File {
			t.Errorf("File = %+v, %v, want %+v", got, err, f.File)
		}
	}
	got, err := s.Alias(t.Context(), sha256Key(a.File))
	if err != nil || got.Root != a.Root && got.Root != b.Root {
		t.Errorf("Alias = %v, %v, want one of the roots", got.Root, err)
	}
}
