package peerstest

import (
	"testing"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peerstore"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/connectors/peers"
)

// Services starts a service for each store. Every one can reach every other; all
// end with the test, before stores that were made earlier.
func Services(t testing.TB, stores ...blockstore.Store) []*peers.Service {
	t.Helper()
	hosts := make([]host.Host, len(stores))
	all := make([]*peers.Service, len(stores))
	for i, store := range stores {
		h, err := libp2p.New(
			libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0"),
			libp2p.Transport(tcp.NewTCPTransport),
			libp2p.ResourceManager(nil),
			libp2p.DisableRelay(), libp2p.DisableMetrics())
		if err != nil {
			t.Fatal(err)
		}
		hosts[i] = h
		s, err := peers.New(peers.Config{Host: h, Store: store})
		if err != nil {
			t.Fatal(err)
		}
		all[i] = s
		t.Cleanup(func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			if err := h.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	for _, a := range hosts {
		for _, b := range hosts {
			if a != b {
				a.Peerstore().AddAddrs(b.ID(), b.Addrs(), peerstore.PermanentAddrTTL)
			}
		}
	}
	return all
}
