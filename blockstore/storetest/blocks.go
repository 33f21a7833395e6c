package storetest

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"testing"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
	mh "github.com/multiformats/go-multihash"

	"github.com/hypha-node/hypha-node/blockstore"
)

func blockTests() group {
	return group{
		"absent":             testAbsent,
		"put":                testPut,
		"put many":           testPutMany,
		"put twice":          testPutTwice,
		"v0 and v1 meet":     testVersionsMeet,
		"codecs meet":        testCodecsMeet,
		"other hashes":       testOtherHashes,
		"wrong bytes":        testWrongBytes,
		"size limit":         testSizeLimit,
		"delete":             testDelete,
		"identity":           testIdentity,
		"view passes errors": testViewError,
		"own bytes":          testOwnBytes,
		"sync":               testSync,
	}
}

func testAbsent(t *testing.T, s blockstore.Store) {
	checkAbsent(t, s, blocks.NewBlock([]byte("nobody put me")).Cid())
	checkAbsent(t, s, rawCID(t, []byte("nor me")))
	checkAbsent(t, s, cid.Undef)
}

func testPut(t *testing.T, s blockstore.Store) {
	for _, n := range []int{0, 1, 31, 32, 4096, 65535, 65536, 1 << 20} {
		data := randomBytes(uint64(n), n)
		blk := withCID(t, data, rawCID(t, data))
		must(t, s.Put(t.Context(), blk))
		checkGet(t, s, blk)
	}
}

func testPutMany(t *testing.T, s blockstore.Store) {
	must(t, s.PutMany(t.Context(), nil))
	all := someBlocks(t, 1, 300)
	must(t, s.Put(t.Context(), all[7]))
	must(t, s.PutMany(t.Context(), append(all, all[0], all[299])))
	for _, blk := range all {
		checkGet(t, s, blk)
	}
	if n := len(listed(t, s)); n != len(all) {
		t.Errorf("%d keys, want %d", n, len(all))
	}
}

func testPutTwice(t *testing.T, s blockstore.Store) {
	blk := blocks.NewBlock([]byte("twice"))
	for range 2 {
		must(t, s.Put(t.Context(), blk))
		checkGet(t, s, blk)
	}
	must(t, s.DeleteBlock(t.Context(), blk.Cid()))
	checkAbsent(t, s, blk.Cid())
}

func testVersionsMeet(t *testing.T, s blockstore.Store) {
	v0 := blocks.NewBlock([]byte("one multihash"))
	v1 := withCID(t, v0.RawData(), cid.NewCidV1(cid.DagProtobuf, v0.Cid().Hash()))
	must(t, s.Put(t.Context(), v0))
	checkGet(t, s, v1)
	must(t, s.DeleteBlock(t.Context(), v1.Cid()))
	checkAbsent(t, s, v0.Cid())
	must(t, s.Put(t.Context(), v1))
	checkGet(t, s, v0)
	if keys := listed(t, s); len(keys) != 1 || !keys[string(v0.Cid().Hash())] {
		t.Errorf("%d keys, want the multihash once", len(keys))
	}
}

func testCodecsMeet(t *testing.T, s blockstore.Store) {
	blk := blocks.NewBlock([]byte(`{"one":"multihash"}`))
	must(t, s.Put(t.Context(), blk))
	for _, codec := range []uint64{cid.Raw, cid.DagCBOR, cid.DagJSON} {
		checkGet(t, s, withCID(t, blk.RawData(), cid.NewCidV1(codec, blk.Cid().Hash())))
	}
}

func testOtherHashes(t *testing.T, s blockstore.Store) {
	data := []byte("hashed some other way")
	for _, code := range []uint64{mh.SHA2_512, mh.BLAKE2B_MIN + 31, mh.BLAKE3, mh.SHA3_256, mh.DBL_SHA2_256} {
		c, err := cid.V1Builder{Codec: cid.Raw, MhType: code}.Sum(data)
		must(t, err)
		blk := withCID(t, data, c)
		must(t, s.Put(t.Context(), blk))
		checkGet(t, s, blk)
		bad := withCID(t, []byte("not this way"), c)
		must(t, s.DeleteBlock(t.Context(), c))
		if s.Put(t.Context(), bad) == nil {
			t.Errorf("%s: Put took other bytes", mh.Codes[code])
		}
		checkAbsent(t, s, c)
	}
}

func testWrongBytes(t *testing.T, s blockstore.Store) {
	good := someBlocks(t, 2, 3)
	bad := withCID(t, []byte("not these"), good[1].Cid())
	if s.Put(t.Context(), bad) == nil {
		t.Error("Put took bytes of another hash")
	}
	if s.PutMany(t.Context(), []blocks.Block{good[0], bad, good[2]}) == nil {
		t.Error("PutMany took bytes of another hash")
	}
	checkAbsent(t, s, good[1].Cid())
	must(t, s.PutMany(t.Context(), good))
	for _, blk := range good {
		checkGet(t, s, blk)
	}
	// A store need not look at bytes that it has already, but it keeps its own.
	if err := s.Put(t.Context(), bad); err != nil {
		t.Logf("Put of other bytes for a stored block: %v", err)
	}
	checkGet(t, s, good[1])
	if s.Put(t.Context(), withCID(t, []byte("no name"), cid.Undef)) == nil {
		t.Error("Put took a block without CID")
	}
	if s.Put(t.Context(), withCID(t, []byte("long"), identity(t, "short").Cid())) == nil {
		t.Error("Put took an identity block with other bytes")
	}
}

func testSizeLimit(t *testing.T, s blockstore.Store) {
	data := randomBytes(3, maxBlock+1)
	most := withCID(t, data[:maxBlock], rawCID(t, data[:maxBlock]))
	must(t, s.Put(t.Context(), most))
	checkGet(t, s, most)
	huge := withCID(t, data, rawCID(t, data))
	if s.Put(t.Context(), huge) == nil {
		t.Errorf("Put took a block of %d bytes", len(data))
	}
	checkAbsent(t, s, huge.Cid())
}

func testDelete(t *testing.T, s blockstore.Store) {
	all := someBlocks(t, 4, 10)
	must(t, s.DeleteBlock(t.Context(), all[0].Cid()))
	must(t, s.DeleteBlock(t.Context(), cid.Undef))
	must(t, s.PutMany(t.Context(), all))
	for _, blk := range all[:5] {
		must(t, s.DeleteBlock(t.Context(), blk.Cid()))
		checkAbsent(t, s, blk.Cid())
	}
	for _, blk := range all[5:] {
		checkGet(t, s, blk)
	}
	if n := len(listed(t, s)); n != 5 {
		t.Errorf("%d keys, want 5", n)
	}
	must(t, s.PutMany(t.Context(), all))
	for _, blk := range all {
		checkGet(t, s, blk)
	}
}

func testIdentity(t *testing.T, s blockstore.Store) {
	for _, data := range []string{"", "x", "bytes that their CID carries"} {
		blk := identity(t, data)
		checkGet(t, s, blk)
		must(t, s.Put(t.Context(), blk))
		must(t, s.DeleteBlock(t.Context(), blk.Cid()))
		checkGet(t, s, blk)
	}
	real := someBlocks(t, 5, 1)[0]
	must(t, s.PutMany(t.Context(), []blocks.Block{identity(t, "a"), real, identity(t, "b")}))
	if keys := listed(t, s); len(keys) != 1 || !keys[string(real.Cid().Hash())] {
		t.Errorf("%d keys, want only the block that is no identity", len(keys))
	}
}

func testViewError(t *testing.T, s blockstore.Store) {
	blk := blocks.NewBlock([]byte("seen"))
	must(t, s.Put(t.Context(), blk))
	own := errors.New("from the caller")
	if err := s.View(t.Context(), blk.Cid(), func([]byte) error { return own }); !errors.Is(err, own) {
		t.Errorf("View = %v, want the callback's error", err)
	}
	checkGet(t, s, blk)
}

// testOwnBytes holds that neither side's bytes are the other's.
func testOwnBytes(t *testing.T, s blockstore.Store) {
	data := []byte("mine, and to be overwritten")
	want := withCID(t, bytes.Clone(data), rawCID(t, data))
	must(t, s.Put(t.Context(), withCID(t, data, want.Cid())))
	clear(data)
	checkGet(t, s, want)
	got, err := s.Get(t.Context(), want.Cid())
	must(t, err)
	must(t, s.View(t.Context(), want.Cid(), func([]byte) error { return nil }))
	if !bytes.Equal(got.RawData(), want.RawData()) {
		t.Error("bytes from Get changed when View returned")
	}
	// A reader may use the store while it looks at bytes of it.
	other := blocks.NewBlock([]byte("put inside View"))
	must(t, s.View(t.Context(), want.Cid(), func(b []byte) error {
		if err := s.Put(t.Context(), other); err != nil {
			return err
		}
		if !bytes.Equal(b, want.RawData()) {
			t.Error("bytes changed during View")
		}
		return nil
	}))
	checkGet(t, s, other)
}

func testSync(t *testing.T, s blockstore.Store) {
	must(t, s.Sync(t.Context()))
	all := someBlocks(t, 6, 64)
	var group sync.WaitGroup
	for _, blk := range all {
		group.Go(func() {
			if err := errors.Join(s.Put(t.Context(), blk), s.Sync(t.Context())); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	for _, blk := range all {
		checkGet(t, s, blk)
	}
}

func keyTests() group {
	return group{
		"keys":          testKeys,
		"cancelled":     testKeysCancelled,
		"broken off":    testKeysBreak,
		"used inside":   testKeysUseInside,
		"channel":       testKeysChannel,
		"channel ended": testKeysChannelCancelled,
	}
}

func testKeys(t *testing.T, s blockstore.Store) {
	if n := len(listed(t, s)); n != 0 {
		t.Errorf("%d keys in an empty store", n)
	}
	all := someBlocks(t, 10, 100)
	must(t, s.PutMany(t.Context(), all))
	big := newSample(t, 11, 3<<10, 1<<10)
	big.commit(t, s, nil)
	all = append(all, big.blocks(t)...)
	keys := listed(t, s)
	for _, blk := range all {
		if !keys[string(blk.Cid().Hash())] {
			t.Errorf("no key of %s", blk.Cid())
		}
	}
	if len(keys) != len(all) {
		t.Errorf("%d keys, want %d", len(keys), len(all))
	}
}

func testKeysCancelled(t *testing.T, s blockstore.Store) {
	must(t, s.PutMany(t.Context(), someBlocks(t, 12, 5000)))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	seen, ended := 0, false
	for _, err := range s.Keys(ctx) {
		if ended {
			t.Fatal("Keys goes on after an error")
		}
		if err != nil {
			if ended = errors.Is(err, context.Canceled); !ended {
				t.Fatalf("Keys = %v, want context.Canceled", err)
			}
			continue
		}
		if seen++; seen == 2 {
			cancel()
		}
	}
	if !ended {
		t.Errorf("a cancelled listing looks whole after %d keys", seen)
	}
	for _, err := range s.Keys(ctx) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("Keys of a dead context = %v, want context.Canceled", err)
		}
	}
}

func testKeysBreak(t *testing.T, s blockstore.Store) {
	all := someBlocks(t, 13, 50)
	must(t, s.PutMany(t.Context(), all))
	for range 3 {
		for _, err := range s.Keys(t.Context()) {
			must(t, err)
			break
		}
	}
	must(t, s.DeleteBlock(t.Context(), all[0].Cid()))
	if n := len(listed(t, s)); n != 49 {
		t.Errorf("%d keys, want 49", n)
	}
}

func testKeysUseInside(t *testing.T, s blockstore.Store) {
	must(t, s.PutMany(t.Context(), someBlocks(t, 14, 50)))
	for c, err := range s.Keys(t.Context()) {
		must(t, err)
		_, err := s.Get(t.Context(), c)
		must(t, err)
		must(t, s.DeleteBlock(t.Context(), c))
	}
	if n := len(listed(t, s)); n != 0 {
		t.Errorf("%d keys left, want 0", n)
	}
}

func testKeysChannel(t *testing.T, s blockstore.Store) {
	all := someBlocks(t, 15, 100)
	must(t, s.PutMany(t.Context(), all))
	keys, err := s.AllKeysChan(t.Context())
	must(t, err)
	seen := make(map[string]bool)
	for c := range keys {
		if c.Version() != 1 || c.Type() != cid.Raw {
			t.Errorf("AllKeysChan gives %s, want CIDv1 raw", c)
		}
		seen[string(c.Hash())] = true
	}
	for _, blk := range all {
		if !seen[string(blk.Cid().Hash())] {
			t.Errorf("no key of %s", blk.Cid())
		}
	}
	if len(seen) != len(all) {
		t.Errorf("%d keys, want %d", len(seen), len(all))
	}
}

// testKeysChannelCancelled hangs when a listing that nobody reads keeps its
// goroutine, or keeps Close from returning.
func testKeysChannelCancelled(t *testing.T, s blockstore.Store) {
	must(t, s.PutMany(t.Context(), someBlocks(t, 16, 5000)))
	ctx, cancel := context.WithCancel(t.Context())
	keys, err := s.AllKeysChan(ctx)
	must(t, err)
	<-keys
	cancel()
	for range keys {
	}
	abandoned, err := s.AllKeysChan(t.Context())
	must(t, err)
	<-abandoned
	must(t, s.Close())
	for range abandoned {
	}
	if _, err := s.Get(t.Context(), someBlocks(t, 16, 1)[0].Cid()); ipld.IsNotFound(err) || err == nil {
		t.Errorf("Get after Close = %v, want ErrClosed", err)
	}
}
