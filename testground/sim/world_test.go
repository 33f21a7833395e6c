package sim

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/x/simlibp2p"
	"github.com/marcopolo/simnet"

	"github.com/hypha-node/hypha-node/bitswap"
	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/connectors/ipfs"
	"github.com/hypha-node/hypha-node/dag"
)

const mbit = 1_000_000 // bits per second: link rates are in bits

// links says what every node of a case is connected by.
type links struct {
	up, down float64       // Mbit/s
	oneWay   time.Duration // latency from any node to any other
}

// node is one node of a case.
type node struct {
	host  host.Host
	store *blockstore.Disk
	ex    *bitswap.Exchange
	conn  *ipfs.Connector
}

// inWorld runs a case with count nodes, all connected to each other, in virtual
// time that begins when they have settled.
func inWorld(t *testing.T, count int, l links, run func(t *testing.T, nodes []*node)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { // whatever lives in the bubble is made in it
		nodes := make([]*node, count)
		for i, h := range hosts(t, count, l) {
			nodes[i] = newNode(t, h)
		}
		for i, a := range nodes {
			for _, b := range nodes[:i] {
				if err := a.host.Connect(t.Context(), peer.AddrInfo{ID: b.host.ID(), Addrs: b.host.Addrs()}); err != nil {
					t.Fatal(err)
				}
			}
		}
		pass(2 * time.Second) // identify and the services settle
		run(t, nodes)
	})
}

// pass lets virtual time go by.
func pass(d time.Duration) { <-time.After(d) }

// hosts makes libp2p hosts on a simulated network.
func hosts(t *testing.T, count int, l links) []host.Host {
	t.Helper()
	rate := simnet.NodeBiDiLinkSettings{
		Uplink:   simnet.LinkSettings{BitsPerSecond: int(l.up * mbit)},
		Downlink: simnet.LinkSettings{BitsPerSecond: int(l.down * mbit)},
	}
	net, meta, err := simlibp2p.SimpleLibp2pNetwork(
		[]simlibp2p.NodeLinkSettingsAndCount{{LinkSettings: rate, Count: count}},
		simnet.StaticLatency(l.oneWay), simlibp2p.NetworkSettings{})
	if err != nil {
		t.Fatal(err)
	}
	net.Start()
	t.Cleanup(func() { // after the nodes' own cleanups
		for _, h := range meta.Nodes {
			if err := h.Close(); err != nil {
				t.Error(err)
			}
		}
		net.Close()
		pass(10 * time.Second) // the last timers of the libraries end
	})
	return meta.Nodes
}

// newNode starts a node on a host.
func newNode(t *testing.T, h host.Host) *node {
	t.Helper()
	store, err := blockstore.Open(t.Context(), t.TempDir(), blockstore.Options{Reserve: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	ex, err := bitswap.New(t.Context(), bitswap.Config{Host: h, Store: store, Datastore: store.Datastore("dht")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := ex.Close(); err != nil {
			t.Error(err)
		}
	})
	return &node{host: h, store: store, ex: ex, conn: ipfs.New(store, ex)}
}

// add takes a case's file of noise into a node's store.
func (n *node) add(t *testing.T, c crowd) dag.File {
	t.Helper()
	content := make([]byte, c.size)
	noise := rand.NewChaCha8([32]byte{1})
	if _, err := noise.Read(content); err != nil {
		t.Fatal(err)
	}
	profile, err := dag.V1_2025().WithChunker(fmt.Sprintf("size-%d", c.leaf))
	if err != nil {
		t.Fatal(err)
	}
	f, err := dag.Import(t.Context(), n.store, bytes.NewReader(content), dag.ImportOptions{Size: int64(c.size), Profile: profile})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// fetch gets a file to a node, checks it against the original and counts its
// bytes as they come.
func (n *node) fetch(t *testing.T, f dag.File, came *atomic.Int64) {
	e, err := n.conn.Fetch(t.Context(), f.Root, dag.CopyOptions{Progress: func(b int64) { came.Add(b) }})
	if err != nil {
		t.Error(err)
		return
	}
	if e.Size != f.Size || *e.SHA256 != f.SHA256 {
		t.Errorf("fetched %+v, want %+v", e, f)
	}
	r, err := dag.Open(t.Context(), n.store, f.Root)
	if err != nil {
		t.Error(err)
		return
	}
	sum := sha256.New()
	if _, err := r.CopyRange(t.Context(), sum, 0, -1); err != nil {
		t.Error(err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if [32]byte(sum.Sum(nil)) != f.SHA256 {
		t.Error("stored content differs")
	}
}
