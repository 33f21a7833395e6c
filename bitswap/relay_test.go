package bitswap_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"

	"github.com/hypha-node/hypha-node/bitswap"
	"github.com/hypha-node/hypha-node/bitswap/swarm"
)

// newStranger makes a host of stock libp2p.
func newStranger(t *testing.T, options ...libp2p.Option) host.Host {
	t.Helper()
	h, err := libp2p.New(append(options, libp2p.DisableMetrics())...)
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

// behindRelay starts a relay and a node that listens nowhere and is found over it,
// and returns the node with its only address.
func behindRelay(t *testing.T, change func(*bitswap.Config)) (n *node, addr string) {
	t.Helper()
	relay := newStranger(t, libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0"), libp2p.EnableRelayService(), libp2p.ForceReachabilityPublic())
	at := relay.Addrs()[0].String() + "/p2p/" + relay.ID().String()
	n, _ = start(t, func(c *bitswap.Config) {
		c.Listen, c.Relays = []string{}, []string{at}
		if change != nil {
			change(c)
		}
	})
	return n, at + "/p2p-circuit/p2p/" + n.ID().PeerID
}

// TestNoDataOverRelays connects two nodes that are reached over a relay only. They
// know of each other, and no block, question or answer goes over it, whoever asks.
func TestNoDataOverRelays(t *testing.T) {
	sum := sha256.Sum256([]byte("content"))
	a, addr := behindRelay(t, func(c *bitswap.Config) {
		c.Holding = func(context.Context, [sha256.Size]byte) (bitswap.Holding, bool, error) {
			t.Error("a question came over the relay")
			return bitswap.Holding{}, false, nil
		}
	})
	blk := a.random(t, 1, 1000)[0]
	b, _ := start(t, func(c *bitswap.Config) { c.Listen = []string{} })
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	eventually(t, "a connection over the relay", func() bool {
		_, err := b.Connect(ctx, addr)
		return err == nil
	})
	if i := slices.IndexFunc(b.Peers(), func(p bitswap.PeerInfo) bool { return p.ID == a.ID().PeerID }); i < 0 || b.Peers()[i].Transport != "relay" {
		t.Errorf("peers are %+v", b.Peers())
	}
	_, err := b.WatchedSession(ctx, short()).Get(ctx, blk.Cid())
	gaveUp(t, err, blk.Cid())
	if !errors.Is(err, bitswap.ErrRelayed) {
		t.Errorf("the error does not say why: %v", err)
	}
	id, err := peer.Decode(a.ID().PeerID)
	if err != nil {
		t.Fatal(err)
	}
	soon, stop := context.WithTimeout(ctx, 200*time.Millisecond)
	defer stop()
	if _, err := b.Host().NewStream(network.WithNoDial(soon, "connected"), id, swarm.ID); !errors.Is(err, bitswap.ErrRelayed) {
		t.Errorf("a stream over the relay: %v", err)
	}
	for h := range b.Holders(soon, sum) {
		t.Errorf("found %v", h)
	}

	// Who does not mind limits is reset, under every protocol of ours.
	rude := newStranger(t, libp2p.NoListenAddrs, libp2p.EnableRelay())
	info, err := peer.AddrInfoFromString(addr)
	if err != nil {
		t.Fatal(err)
	}
	if err := rude.Connect(ctx, *info); err != nil {
		t.Fatal(err)
	}
	tried := 0
	for _, proto := range a.Host().Mux().Protocols() {
		if strings.HasPrefix(string(proto), "/hypha/") || strings.HasPrefix(string(proto), "/ipfs/bitswap") {
			tried++
			if got, err := exchange(ctx, rude, id, proto, sum[:]); err == nil || len(got) > 0 {
				t.Errorf("%s answers %q over the relay (%v)", proto, got, err)
			}
		}
	}
	if tried < 6 { // four of bitswap, the DHT, files by digest, DAGs
		t.Errorf("%d protocols", tried)
	}
	// The way is open: what libp2p itself needs there goes over it.
	if got, err := exchange(ctx, rude, id, "/ipfs/ping/1.0.0", sum[:]); err != nil || !slices.Equal(got, sum[:]) {
		t.Errorf("ping over the relay: %q, %v", got, err)
	}
	stats, err := a.Stats(ctx)
	if err != nil || stats.BlocksSent != 0 || a.Swarm().Traffic().Sent != 0 {
		t.Errorf("sent %+v, %+v, %v", stats, a.Swarm().Traffic(), err)
	}
}

// exchange writes to a stream that may go over a relay, and returns what comes back,
// up to as much as it has written.
func exchange(ctx context.Context, h host.Host, to peer.ID, proto protocol.ID, text []byte) ([]byte, error) {
	st, err := h.NewStream(network.WithAllowLimitedConn(ctx, "test"), to, proto)
	if err != nil {
		return nil, err
	}
	defer st.Reset()
	if _, err := st.Write(text); err != nil {
		return nil, err
	}
	answer := make([]byte, len(text))
	n, err := io.ReadFull(st, answer)
	return answer[:n], err
}

// TestRelayedPeersGetAConnection has two nodes meet over a relay of which one can be
// reached: they get a connection of their own, and blocks go over that.
func TestRelayedPeersGetAConnection(t *testing.T) {
	a, addr := behindRelay(t, nil)
	b, _ := start(t, nil)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	eventually(t, "a connection over the relay", func() bool {
		_, err := b.Connect(ctx, addr)
		return err == nil
	})
	connect(t, a, b) // what hole punching does with addresses that are not loopback's
	get(t, b, a.random(t, 3, 1000))
	get(t, a, b.random(t, 3, 1000))
}
