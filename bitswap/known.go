package bitswap

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/ipfs/go-datastore"
	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/host/eventbus"
	ma "github.com/multiformats/go-multiaddr"
)

// Limits of what is remembered of peers.
const (
	maxKnown      = 64                  // peers
	maxKnownAddrs = 4                   // addresses of one
	knownFor      = 30 * 24 * time.Hour // since one was reached last
	// seenStep is how old a time has to be before a newer one is written: a write is
	// a sync of the disk.
	seenStep = time.Hour
)

// known is the list of peers that this node has dialled and reached, the latest
// first: through them it enters the network again after a restart. It is one
// record of at most maxKnown peers, so nothing has to be cleared away. Who dialled
// this node is not in it: a node that was told of nobody dials nobody, ever. It is
// safe for concurrent use.
type known struct {
	ds  datastore.Datastore
	key datastore.Key
	now func() time.Time

	mu    sync.Mutex
	peers []knownPeer
}

// knownPeer is one of them, as it is recorded.
type knownPeer struct {
	ID    peer.ID   `json:"id"`
	Addrs []string  `json:"addrs"` // multiaddrs without /p2p/, the latest first
	Seen  time.Time `json:"seen"`
}

// newKnown reads what earlier runs have recorded of a network. A record that can't
// be read is an error beside an empty list, with which a node can do.
func newKnown(ctx context.Context, ds datastore.Datastore, network string, now func() time.Time) (*known, error) {
	sum := sha256.Sum256([]byte(network))
	k := &known{ds: ds, key: datastore.NewKey("peers").ChildString(hex.EncodeToString(sum[:8])), now: now}
	text, err := ds.Get(ctx, k.key)
	if errors.Is(err, datastore.ErrNotFound) {
		return k, nil
	}
	if err == nil {
		k.peers, err = parseKnown(text, now())
	}
	if err != nil {
		err = fmt.Errorf("peers of earlier runs: %w", err)
	}
	return k, err
}

// parseKnown decodes a record, without who was reached too long ago.
func parseKnown(text []byte, now time.Time) ([]knownPeer, error) {
	var peers []knownPeer
	if err := json.Unmarshal(text, &peers); err != nil {
		return nil, err
	}
	peers = slices.DeleteFunc(peers, func(p knownPeer) bool {
		return p.ID.Validate() != nil || now.Sub(p.Seen) > knownFor || len(p.Addrs) == 0
	})
	return peers[:min(len(peers), maxKnown)], nil
}

// list returns the peers, the latest first.
func (k *known) list() []peer.AddrInfo {
	k.mu.Lock()
	defer k.mu.Unlock()
	var infos []peer.AddrInfo
	for _, p := range k.peers {
		info := peer.AddrInfo{ID: p.ID}
		for _, s := range p.Addrs {
			if a, err := ma.NewMultiaddr(s); err == nil {
				info.Addrs = append(info.Addrs, a)
			}
		}
		infos = append(infos, info)
	}
	return infos
}

// reached records that a peer was reached at an address, unless that is recorded
// already. When the list is full, a new peer takes the place of one that was not
// reached for seenStep, or is not recorded: a node that meets thousands writes
// little.
func (k *known) reached(ctx context.Context, id peer.ID, addr string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.now()
	p := knownPeer{ID: id, Addrs: []string{addr}, Seen: now}
	at := slices.IndexFunc(k.peers, func(p knownPeer) bool { return p.ID == id })
	switch {
	case at >= 0:
		old := k.peers[at]
		if old.Addrs[0] == addr && now.Sub(old.Seen) < seenStep {
			return nil
		}
		for _, a := range old.Addrs {
			if a != addr && len(p.Addrs) < maxKnownAddrs {
				p.Addrs = append(p.Addrs, a)
			}
		}
	case len(k.peers) >= maxKnown:
		at = len(k.peers) - 1
		if now.Sub(k.peers[at].Seen) < seenStep {
			return nil
		}
	}
	peers := slices.Clone(k.peers)
	if at >= 0 {
		peers = slices.Delete(peers, at, at+1)
	}
	peers = slices.Insert(peers, 0, p)
	text, err := json.Marshal(peers)
	if err != nil {
		return err
	}
	k.peers = peers
	return k.ds.Put(ctx, k.key, text)
}

// network names the network that this node takes part in.
func (e *Exchange) network() string { return networkName(e.cfg.ProtocolPrefix, e.cfg.SwarmKey) }

// networkName names the network of those with a prefix and a key.
func networkName(prefix string, key SwarmKey) string { return prefix + " " + key.Fingerprint() }

// dhtProtocol is what nodes of a DHT with that prefix speak.
func dhtProtocol(prefix string) protocol.ID { return protocol.ID(prefix + "/kad/1.0.0") }

// rememberPeers records whom this node has dialled and who turned out to be a node
// of its network, until ctx ends.
func (e *Exchange) rememberPeers(ctx context.Context) {
	events, err := e.host.EventBus().Subscribe(new(event.EvtPeerIdentificationCompleted), eventbus.Name("hypha/known"))
	if err != nil {
		e.log.Warn("remember peers", slog.Any("error", err))
		return
	}
	defer events.Close() // nobody listens any more
	for {
		select {
		case <-ctx.Done():
			return
		case ev, ok := <-events.Out():
			if !ok {
				return
			}
			met, ok := ev.(event.EvtPeerIdentificationCompleted)
			if !ok || met.Conn == nil || met.Conn.Stat().Direction != network.DirOutbound || met.Conn.Stat().Limited ||
				!slices.Contains(met.Protocols, dhtProtocol(e.cfg.ProtocolPrefix)) {
				continue
			}
			if err := e.known.reached(ctx, met.Peer, met.Conn.RemoteMultiaddr().String()); err != nil {
				e.log.Warn("remember peer", slog.String("peer", met.Peer.String()), slog.Any("error", err))
			}
		}
	}
}
