package bitswap_test

import (
	"context"
	"crypto/rand"
	"testing"
	"time"

	boxoblockstore "github.com/ipfs/boxo/blockstore"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/ipfs/go-datastore"
	dssync "github.com/ipfs/go-datastore/sync"
	"github.com/libp2p/go-libp2p/core/crypto"
	mh "github.com/multiformats/go-multihash"
	"go.uber.org/goleak"

	"github.com/hypha-node/hypha-node/bitswap"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// patience bounds every wait of the tests; it is a safety net, not a measure.
const patience = 60 * time.Second

// eventually polls until ok or fails the test.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
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

// memory is an empty block store.
func memory() boxoblockstore.Blockstore {
	return boxoblockstore.NewBlockstore(dssync.MutexWrap(datastore.NewMapDatastore()))
}

// newKey makes an identity.
func newKey(t testing.TB) crypto.PrivKey {
	t.Helper()
	key, _, err := crypto.GenerateEd25519Key(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// node is an exchange under test.
type node struct {
	*bitswap.Exchange
	store boxoblockstore.Blockstore
}

// start opens a node on loopback and runs it until the test ends or stop is
// called. change may alter the configuration.
func start(t *testing.T, change func(*bitswap.Config)) (n *node, stop func()) {
	t.Helper()
	cfg := bitswap.Config{
		Identity: newKey(t),
		Listen:   []string{"/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/0/quic-v1"},
		Store:    memory(),
		Version:  "test",
	}
	if change != nil {
		change(&cfg)
	}
	ex, err := bitswap.New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- ex.Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if err := ex.Close(); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(stop)
	return &node{ex, cfg.Store}, stop
}

// addr returns a TCP address of the node.
func (n *node) addr(t *testing.T) string {
	t.Helper()
	return n.addrOver(t, "tcp")
}

// connect dials b from a.
func connect(t *testing.T, a, b *node) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := a.Connect(ctx, b.addr(t)); err != nil {
		t.Fatal(err)
	}
}

// raw makes a block of the default profile.
func raw(t testing.TB, data []byte) blocks.Block {
	t.Helper()
	sum, err := mh.Sum(data, mh.SHA2_256, -1)
	if err != nil {
		t.Fatal(err)
	}
	blk, err := blocks.NewBlockWithCid(data, cid.NewCidV1(cid.Raw, sum))
	if err != nil {
		t.Fatal(err)
	}
	return blk
}

// random makes n blocks of random bytes and stores them.
func (n *node) random(t testing.TB, count, size int) []blocks.Block {
	t.Helper()
	blks := make([]blocks.Block, count)
	for i := range blks {
		data := make([]byte, size)
		if _, err := rand.Read(data); err != nil {
			t.Fatal(err)
		}
		blks[i] = raw(t, data)
	}
	if err := n.store.PutMany(t.Context(), blks); err != nil {
		t.Fatal(err)
	}
	return blks
}

// cids lists the CIDs of blocks.
func cids(blks []blocks.Block) []cid.Cid {
	cs := make([]cid.Cid, len(blks))
	for i, b := range blks {
		cs[i] = b.Cid()
	}
	return cs
}
