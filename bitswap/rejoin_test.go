package bitswap_test

import (
	"testing"

	"github.com/ipfs/go-datastore"
	dssync "github.com/ipfs/go-datastore/sync"

	"github.com/hypha-node/hypha-node/bitswap"
)

// again returns what a node is to be restarted with: the same identity and
// datastore, and, once it has listened, the same address.
func again(t *testing.T, host string) (change func(*bitswap.Config), listens func(*node)) {
	t.Helper()
	key, ds := newKey(t), dssync.MutexWrap(datastore.NewMapDatastore())
	listen := "/ip4/" + host + "/tcp/0"
	return func(c *bitswap.Config) {
			c.Identity, c.Datastore, c.Listen = key, ds, []string{listen}
		}, func(n *node) {
			listen = n.addr(t)[:len(n.addr(t))-len("/p2p/")-len(n.ID().PeerID)]
		}
}

// connectedTo tells whether a node has a connection to another.
func connectedTo(n *node, id string) bool {
	for _, p := range n.Peers() {
		if p.ID == id {
			return true
		}
	}
	return false
}

// TestNetworkIsFoundAgain restarts nodes that are told of nobody any more.
func TestNetworkIsFoundAgain(t *testing.T) {
	forA, _ := again(t, "127.0.0.1")
	forB, listens := again(t, "127.0.41.1") // an address of its own: its port stays free meanwhile
	b, stopB := start(t, forB)
	listens(b)
	a, stopA := start(t, func(c *bitswap.Config) { forA(c); c.Bootstrap = []string{b.addr(t)} })
	eventually(t, "that a remembers b", func() bool { return a.Remembers(b.ID().PeerID) })
	if b.Remembers(a.ID().PeerID) {
		t.Error("b remembers who has dialled it: it would dial")
	}
	stopA()
	stopB()
	b, stopB = start(t, forB)
	a, _ = start(t, forA)
	eventually(t, "that a has found b again", func() bool { return connectedTo(a, b.ID().PeerID) })
	get(t, a, b.random(t, 1, 1000))
	stopB() // while the other runs, too
	eventually(t, "that b is gone", func() bool { return !connectedTo(a, b.ID().PeerID) })
}

// TestStaticPeerComesBack stops a peer that a connection is kept to, and starts it
// again.
func TestStaticPeerComesBack(t *testing.T) {
	forB, listens := again(t, "127.0.41.2")
	b, stop := start(t, forB)
	listens(b)
	a, _ := start(t, func(c *bitswap.Config) { c.Peers = []string{b.addr(t)} })
	eventually(t, "the first connection", func() bool { return connectedTo(a, b.ID().PeerID) })
	stop()
	eventually(t, "its end", func() bool { return !connectedTo(a, b.ID().PeerID) })
	b, _ = start(t, forB)
	eventually(t, "the second connection", func() bool { return connectedTo(a, b.ID().PeerID) })
}
