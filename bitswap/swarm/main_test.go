package swarm

import (
	"context"
	"crypto/sha256"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	boxoblockstore "github.com/ipfs/boxo/blockstore"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/ipfs/go-datastore"
	dssync "github.com/ipfs/go-datastore/sync"
	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	mh "github.com/multiformats/go-multihash"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/encoding/protowire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait of the tests; it is a safety net, not a measure.
const patience = 60 * time.Second

// errNobody is what the fall-back of tests says.
var errNobody = errors.New("nobody else")

// noFallback is a fall-back that has nothing.
func noFallback(context.Context, []cid.Cid) (<-chan blocks.Block, error) { return nil, errNobody }

// testNode is a service on loopback.
type testNode struct {
	*Service
	host  host.Host
	store boxoblockstore.Blockstore
}

// newHost makes a host that lives as long as the test.
func newHost(t testing.TB) host.Host {
	t.Helper()
	h, err := libp2p.New(libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0"), libp2p.DisableMetrics(), libp2p.DisableRelay(),
		libp2p.ResourceManager(&network.NullResourceManager{}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

// newNode makes a service; served may be nil.
func newNode(t testing.TB, served func(context.Context, cid.Cid) bool) *testNode {
	t.Helper()
	h := newHost(t)
	store := boxoblockstore.NewBlockstore(dssync.MutexWrap(datastore.NewMapDatastore()))
	s, err := New(Config{Host: h, Store: store, Served: served})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return &testNode{s, h, store}
}

// connect dials b from a.
func connect(t testing.TB, a, b host.Host) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := a.Connect(ctx, peer.AddrInfo{ID: b.ID(), Addrs: b.Addrs()}); err != nil {
		t.Fatal(err)
	}
	knows := func(h, of host.Host) bool {
		all, err := h.Peerstore().GetProtocols(of.ID())
		return err == nil && len(all) > 0 && (slices.Contains(all, ID) || !slices.Contains(of.Mux().Protocols(), ID))
	}
	// A protocol that was registered a moment ago may be told of later.
	eventually(t, "both know the other's protocols", func() bool { return knows(a, b) && knows(b, a) })
}

// eventually polls until ok or fails the test.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not within %s: %s", patience, what)
		}
	}
}

// tree is a DAG of one node with leaves.
type tree struct {
	root   blocks.Block
	leaves []blocks.Block
}

// newTree makes a DAG with count leaves of size bytes of noise.
func newTree(t testing.TB, count, size int) tree {
	t.Helper()
	noise := rand.NewChaCha8([32]byte{byte(count), byte(size >> 8)})
	var tr tree
	var node []byte
	for range count {
		data := make([]byte, size)
		noise.Read(data)
		leaf := blockOf(t, cid.Raw, data)
		tr.leaves = append(tr.leaves, leaf)
		link := protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), leaf.Cid().Bytes())
		node = protowire.AppendBytes(protowire.AppendTag(node, 2, protowire.BytesType), link)
	}
	tr.root = blockOf(t, cid.DagProtobuf, node)
	return tr
}

func blockOf(t testing.TB, codec uint64, data []byte) blocks.Block {
	t.Helper()
	sum := sha256.Sum256(data)
	hash, err := mh.Encode(sum[:], mh.SHA2_256)
	if err != nil {
		t.Fatal(err)
	}
	return newBlock(cid.NewCidV1(codec, hash), data)
}

// add puts a DAG into a node's store.
func (n *testNode) add(t testing.TB, tr tree) {
	t.Helper()
	if err := n.store.PutMany(t.Context(), append(slices.Clip(tr.leaves), tr.root)); err != nil {
		t.Fatal(err)
	}
}

func (tr tree) cids() []cid.Cid {
	cs := make([]cid.Cid, len(tr.leaves))
	for i, l := range tr.leaves {
		cs[i] = l.Cid()
	}
	return cs
}

// get waits for blocks and checks them.
func get(t testing.TB, f *Fetch, cs ...cid.Cid) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ch, err := f.GetBlocks(ctx, cs)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for blk := range ch {
		if !matches(blk.Cid(), blk.RawData()) {
			t.Errorf("block %s has other bytes", blk.Cid())
		}
		n++
	}
	if n != len(cs) {
		t.Fatalf("%d blocks came of %d: %v, %v", n, len(cs), f.Err(), ctx.Err())
	}
}

// fetch begins to get a DAG and ends with the test.
func (n *testNode) fetch(t testing.TB, tr tree) *Fetch {
	t.Helper()
	f := n.Fetch(t.Context(), tr.root.Cid(), Options{Fallback: noFallback})
	t.Cleanup(f.Close)
	return f
}
