package bitswap_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/libp2p/go-libp2p"
	dht "github.com/libp2p/go-libp2p-kad-dht"

	"github.com/hypha-node/hypha-node/bitswap"
)

// newPublic starts a stock node of the public network's DHT on loopback.
func newPublic(t *testing.T) (d *dht.IpfsDHT, addr string) {
	t.Helper()
	h := newStranger(t, libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0"))
	d, err := dht.New(h, dht.Mode(dht.ModeServer), dht.BootstrapPeers())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d, h.Addrs()[0].String() + "/p2p/" + h.ID().String()
}

// TestPublicNetwork has two nodes find each other through a stock node of the public
// network, whose DHT they join as clients, and no third that was not told to.
func TestPublicNetwork(t *testing.T) {
	stock, addr := newPublic(t)
	join := func(c *bitswap.Config) {
		c.Public, c.PublicBootstrap = true, []string{addr}
		bitswap.OnLoopback(c)
	}
	a, _ := start(t, join)
	blks := a.random(t, 2, 1000)
	if err := a.Provide(t.Context(), blks[0].Cid()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the announcement", func() bool {
		infos, err := stock.FindProviders(t.Context(), blks[0].Cid())
		return err == nil && len(infos) == 1 && infos[0].ID.String() == a.ID().PeerID
	})
	b, _ := start(t, join)
	eventually(t, "the public network", func() bool { return len(b.Peers()) > 0 })
	get(t, b, blks[:1])
	if !connectedTo(b, a.ID().PeerID) {
		t.Errorf("peers are %+v", b.Peers())
	}
	for _, n := range []*node{a, b} {
		if slices.Contains(n.Host().Mux().Protocols(), "/ipfs/kad/1.0.0") {
			t.Error("a node that nobody has found reachable serves the public DHT")
		}
	}
	if err := a.Unprovide(t.Context(), blks[0].Cid()); err != nil {
		t.Fatal(err)
	}
}

// TestPublicIsNotPrivate refuses to take a private network into the public one.
func TestPublicIsNotPrivate(t *testing.T) {
	_, err := bitswap.New(t.Context(), bitswap.Config{
		Identity: newKey(t), Listen: []string{}, Store: memory(), Public: true, SwarmKey: make(bitswap.SwarmKey, 32),
	})
	if !errors.Is(err, bitswap.ErrPrivate) {
		t.Errorf("error is %v", err)
	}
	if len(bitswap.PublicBootstrap()) < 4 {
		t.Errorf("the public network is entered through %q", bitswap.PublicBootstrap())
	}
}
