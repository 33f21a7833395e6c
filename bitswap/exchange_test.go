package bitswap_test

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"slices"
	"strings"
	"testing"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/ipfs/go-datastore"
	dssync "github.com/ipfs/go-datastore/sync"

	"github.com/hypha-node/hypha-node/bitswap"
)

// addrOver returns an address of the node over a transport.
func (n *node) addrOver(t testing.TB, transport string) string {
	t.Helper()
	for _, a := range n.ID().Addresses {
		if strings.Contains(a, "/"+transport+"/") {
			return a
		}
	}
	t.Fatalf("no %s address in %q", transport, n.ID().Addresses)
	return ""
}

// get fetches blocks in one session and compares them.
func get(t *testing.T, n *node, want []blocks.Block) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	got, err := n.Session(ctx).GetBlocks(ctx, cids(want))
	if err != nil {
		t.Fatal(err)
	}
	data := make(map[cid.Cid][]byte)
	for blk := range got {
		if data[blk.Cid()] != nil {
			t.Errorf("block %s came twice", blk.Cid())
		}
		data[blk.Cid()] = blk.RawData()
	}
	for _, blk := range want {
		if !bytes.Equal(data[blk.Cid()], blk.RawData()) {
			t.Fatalf("block %s: got %d bytes, want %d; %d of %d blocks came", blk.Cid(), len(data[blk.Cid()]), len(blk.RawData()), len(data), len(want))
		}
	}
}

func TestGetOverEachTransport(t *testing.T) {
	for _, transport := range []string{"tcp", "udp"} {
		t.Run(transport, func(t *testing.T) {
			a, _ := start(t, nil)
			b, _ := start(t, nil)
			blks := a.random(t, 40, 1<<20)
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			id, err := b.Connect(ctx, a.addrOver(t, transport))
			if err != nil {
				t.Fatal(err)
			}
			if id != a.ID().PeerID {
				t.Errorf("Connect returned %s, want %s", id, a.ID().PeerID)
			}
			get(t, b, blks)
			for _, blk := range blks {
				if has, err := b.store.Has(ctx, blk.Cid()); err != nil || has {
					t.Fatalf("client stored %s by itself (%v)", blk.Cid(), err)
				}
			}
		})
	}
}

func TestManySmallBlocks(t *testing.T) {
	a, _ := start(t, nil)
	b, _ := start(t, nil)
	blks := a.random(t, 3000, 100)
	connect(t, b, a)
	get(t, b, blks)
}

func TestTCPIsPreferred(t *testing.T) {
	a, _ := start(t, nil)
	b, _ := start(t, func(c *bitswap.Config) { c.Peers = a.ID().Addresses })
	eventually(t, "connection", func() bool { return len(b.Peers()) == 1 })
	eventually(t, "agent", func() bool { return b.Peers()[0].Agent == "hypha-node/test" })
	p := b.Peers()[0]
	if p.Transport != "tcp" || p.Direction != "out" || p.ID != a.ID().PeerID || !strings.HasPrefix(p.Address, "/ip4/127.0.0.1/tcp/") {
		t.Errorf("peer is %+v", p)
	}
	eventually(t, "the other side", func() bool { return len(a.Peers()) == 1 })
	if p := a.Peers()[0]; p.Direction != "in" {
		t.Errorf("peer is %+v", p)
	}
}

// announced waits until a node learns from the DHT that p has c.
func announced(t *testing.T, n *node, c cid.Cid, p string) {
	t.Helper()
	eventually(t, "record of "+c.String(), func() bool {
		ids, err := n.Providers(t.Context(), c)
		return err == nil && slices.Contains(ids, p)
	})
}

func TestProviderIsFoundThroughDHT(t *testing.T) {
	b, _ := start(t, nil)
	boot := func(c *bitswap.Config) { c.Bootstrap = []string{b.addr(t)} }
	a, _ := start(t, boot)
	blks := a.random(t, 3, 1000)
	if err := a.Provide(t.Context(), blks[0].Cid()); err != nil {
		t.Fatal(err)
	}
	c, _ := start(t, boot)
	announced(t, c, blks[0].Cid(), a.ID().PeerID)
	get(t, c, blks)
}

func TestProvideBeforeAnyPeer(t *testing.T) {
	a, _ := start(t, nil)
	blks := a.random(t, 2, 1000)
	if err := a.Provide(t.Context(), blks[0].Cid()); err != nil {
		t.Fatal(err)
	}
	b, _ := start(t, nil)
	connect(t, a, b)
	announced(t, b, blks[0].Cid(), a.ID().PeerID)
	c, _ := start(t, func(c *bitswap.Config) { c.Bootstrap = []string{b.addr(t)} })
	get(t, c, blks)
}

func TestProvidingSurvivesRestart(t *testing.T) {
	b, _ := start(t, nil)
	key, store, ds := newKey(t), memory(), dssync.MutexWrap(datastore.NewMapDatastore())
	again := func(c *bitswap.Config) { c.Identity, c.Store, c.Datastore = key, store, ds }
	a, stop := start(t, again)
	blks := a.random(t, 2, 1000)
	if err := a.Provide(t.Context(), blks[0].Cid()); err != nil {
		t.Fatal(err)
	}
	id := a.ID().PeerID
	stop()
	a, _ = start(t, func(c *bitswap.Config) { again(c); c.Bootstrap = []string{b.addr(t)} })
	if a.ID().PeerID != id {
		t.Errorf("id changed from %s to %s", id, a.ID().PeerID)
	}
	announced(t, b, blks[0].Cid(), id)
	if err := a.Unprovide(t.Context(), blks[0].Cid()); err != nil {
		t.Fatal(err)
	}
}

func TestRootsAreAnnounced(t *testing.T) {
	b, _ := start(t, nil)
	store := memory()
	blk := raw(t, []byte("in the store since the last run"))
	if err := store.Put(t.Context(), blk); err != nil {
		t.Fatal(err)
	}
	a, _ := start(t, func(c *bitswap.Config) {
		c.Store, c.Bootstrap = store, []string{b.addr(t)}
		c.Roots = func(context.Context) iter.Seq2[cid.Cid, error] {
			return func(yield func(cid.Cid, error) bool) { yield(blk.Cid(), nil) }
		}
	})
	c, _ := start(t, func(c *bitswap.Config) { c.Bootstrap = []string{b.addr(t)} })
	announced(t, c, blk.Cid(), a.ID().PeerID)
	get(t, c, []blocks.Block{blk})
}

func TestNoPeers(t *testing.T) {
	a, _ := start(t, nil)
	c := raw(t, []byte("nobody has this")).Cid()
	_, err := a.Session(t.Context()).Get(t.Context(), c)
	if !errors.Is(err, bitswap.ErrNoPeers) || !strings.Contains(err.Error(), c.String()) {
		t.Errorf("error is %v", err)
	}
}

func TestUnreachableConfiguredPeer(t *testing.T) {
	gone, stop := start(t, nil)
	addr := gone.addr(t)
	stop()
	a, _ := start(t, func(c *bitswap.Config) { c.Peers = []string{addr} })
	_, err := a.Session(t.Context()).Get(t.Context(), raw(t, []byte("x")).Cid())
	if !errors.Is(err, bitswap.ErrNoPeers) {
		t.Errorf("error is %v", err)
	}
}

func TestEmptyBlockNeedsNobody(t *testing.T) {
	a, _ := start(t, nil)
	blk, err := a.Session(t.Context()).Get(t.Context(), raw(t, nil).Cid())
	if err != nil || len(blk.RawData()) != 0 {
		t.Errorf("got %v, %v", blk, err)
	}
}

func TestWaitingPeerIsServedAfterNotify(t *testing.T) {
	a, _ := start(t, nil)
	b, _ := start(t, nil)
	connect(t, b, a)
	blk := raw(t, []byte("comes later"))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	remote, err := b.Session(ctx).GetBlocks(ctx, []cid.Cid{blk.Cid()})
	if err != nil {
		t.Fatal(err)
	}
	local, err := a.Session(ctx).GetBlocks(ctx, []cid.Cid{blk.Cid()})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.store.Put(ctx, blk); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the node's own session", func() bool {
		a.Notify() // the session may not have begun to wait
		select {
		case got := <-local:
			return got.Cid() == blk.Cid()
		default:
			return false
		}
	})
	if got := <-remote; got == nil || got.Cid() != blk.Cid() {
		t.Errorf("the peer got %v", got)
	}
}

func TestSecondProviderAfterStall(t *testing.T) {
	boot, _ := start(t, nil)
	join := func(c *bitswap.Config) { c.Bootstrap = []string{boot.addr(t)} }
	half, _ := start(t, join)
	blks := half.random(t, 2, 1000)
	root, leaf := blks[0], blks[1]
	if err := half.store.DeleteBlock(t.Context(), leaf.Cid()); err != nil {
		t.Fatal(err)
	}
	c, _ := start(t, join)
	connect(t, c, half)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	s := c.Session(ctx)
	if _, err := s.Get(ctx, root.Cid()); err != nil {
		t.Fatal(err)
	}
	pending, err := s.GetBlocks(ctx, []cid.Cid{leaf.Cid()})
	if err != nil {
		t.Fatal(err)
	}
	whole, _ := start(t, join)
	if err := whole.store.PutMany(ctx, blks); err != nil {
		t.Fatal(err)
	}
	if err := whole.Provide(ctx, root.Cid()); err != nil {
		t.Fatal(err)
	}
	came := make(chan blocks.Block, 1)
	go func() { came <- <-pending }()
	eventually(t, "the leaf", func() bool {
		s.Refresh(ctx, leaf.Cid())
		select {
		case blk := <-came:
			return blk != nil && blk.Cid() == leaf.Cid()
		default:
			return false
		}
	})
}

func TestProviderDiesAnotherGoesOn(t *testing.T) {
	a, stop := start(t, nil)
	b, _ := start(t, nil)
	c, _ := start(t, nil)
	blks := a.random(t, 64, 1<<20)
	if err := b.store.PutMany(t.Context(), blks); err != nil {
		t.Fatal(err)
	}
	connect(t, c, a)
	connect(t, c, b)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	s := c.Session(ctx)
	for i, blk := range blks {
		if i == 8 {
			stop()
		}
		if _, err := s.Get(ctx, blk.Cid()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestCloseEndsSessions(t *testing.T) {
	a, _ := start(t, nil)
	b, stop := start(t, nil)
	connect(t, b, a)
	s := b.Session(t.Context())
	got, err := s.GetBlocks(t.Context(), []cid.Cid{raw(t, []byte("never")).Cid()})
	if err != nil {
		t.Fatal(err)
	}
	stop()
	if blk, ok := <-got; ok {
		t.Errorf("got %s", blk.Cid())
	}
	if _, err := s.Get(t.Context(), raw(t, []byte("never")).Cid()); !errors.Is(err, bitswap.ErrClosed) {
		t.Errorf("error is %v", err)
	}
}

func TestBadConfigurations(t *testing.T) {
	taken, _ := start(t, nil)
	port, _, _ := strings.Cut(taken.addr(t), "/p2p/")
	for name, change := range map[string]func(*bitswap.Config){
		"no store":          func(c *bitswap.Config) { c.Store = nil },
		"no identity":       func(c *bitswap.Config) { c.Identity = nil },
		"listen on nothing": func(c *bitswap.Config) { c.Listen = []string{"/ip4/nowhere"} },
		"port is taken":     func(c *bitswap.Config) { c.Listen = []string{port} },
		"peer without id":   func(c *bitswap.Config) { c.Peers = []string{"/ip4/127.0.0.1/tcp/1"} },
		"bootstrap garbage": func(c *bitswap.Config) { c.Bootstrap = []string{"example.org"} },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := bitswap.Config{Identity: newKey(t), Listen: []string{}, Store: memory()}
			change(&cfg)
			if ex, err := bitswap.New(t.Context(), cfg); err == nil {
				t.Errorf("no error; close: %v", ex.Close())
			}
		})
	}
}
