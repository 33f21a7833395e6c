package bitswap

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ipfs/boxo/peering"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	ma "github.com/multiformats/go-multiaddr"
)

// Identity is what other nodes know this one by.
type Identity struct {
	PeerID       string
	Addresses    []string // multiaddrs with /p2p/<peer id>, ready for Connect
	AgentVersion string
}

// PeerInfo is one connected peer.
type PeerInfo struct {
	ID        string
	Address   string        // multiaddr of the connection, without /p2p/
	Direction string        // "in" or "out": who dialled
	Transport string        // "tcp", "quic", "relay" (which carries no data) or "other"
	Agent     string        // as the peer names itself; "" until it has said so
	Latency   time.Duration // smoothed round trip; 0 if not measured yet
}

// ID returns the node's identity and the addresses under which it can be
// reached now.
func (e *Exchange) ID() Identity {
	id := e.host.ID().String()
	addrs := make([]string, 0, 4)
	for _, a := range e.host.Addrs() {
		addrs = append(addrs, a.String()+"/p2p/"+id)
	}
	slices.Sort(addrs)
	return Identity{PeerID: id, Addresses: addrs, AgentVersion: userAgent(e.cfg.Version)}
}

// Peers returns the connected peers in the order of their ids, each once.
func (e *Exchange) Peers() []PeerInfo {
	var infos []PeerInfo
	for _, p := range e.host.Network().Peers() {
		conns := e.host.Network().ConnsToPeer(p)
		if len(conns) == 0 {
			continue // gone meanwhile
		}
		info := PeerInfo{
			ID:        p.String(),
			Address:   conns[0].RemoteMultiaddr().String(),
			Direction: direction(conns[0].Stat().Direction),
			Transport: transport(conns[0].RemoteMultiaddr()),
			Latency:   e.host.Peerstore().LatencyEWMA(p),
		}
		if v, err := e.host.Peerstore().Get(p, "AgentVersion"); err == nil {
			info.Agent, _ = v.(string) //nolint:errcheck // absent or of another type: not known
		}
		infos = append(infos, info)
	}
	slices.SortFunc(infos, func(a, b PeerInfo) int { return strings.Compare(a.ID, b.ID) })
	return infos
}

// direction names who dialled.
func direction(d network.Direction) string {
	if d == network.DirInbound {
		return "in"
	}
	return "out"
}

// transport names what a connection runs over.
func transport(a ma.Multiaddr) string {
	if overRelay(a) {
		return "relay"
	}
	if overTCP(a) {
		return "tcp"
	}
	if _, err := a.ValueForProtocol(ma.P_QUIC_V1); err == nil {
		return "quic"
	}
	return "other"
}

// Connect dials a peer, given as a multiaddr that ends in /p2p/<peer id>, and
// returns its id. The connection is not trimmed, and the peer is asked for
// whatever is wanted from now on.
func (e *Exchange) Connect(ctx context.Context, addr string) (string, error) {
	info, err := peer.AddrInfoFromString(addr)
	if err != nil {
		return "", fmt.Errorf("peer address %q: %w", addr, err)
	}
	if info.ID == e.host.ID() {
		return "", fmt.Errorf("peer address %q: is this node itself", addr)
	}
	if err := e.dial(ctx, *info); err != nil {
		return "", fmt.Errorf("connect %s: %w", addr, err)
	}
	return info.ID.String(), nil
}

// dial connects to a peer even when an earlier attempt has just failed, and
// marks it as one that is always asked and never trimmed.
func (e *Exchange) dial(ctx context.Context, info peer.AddrInfo) error {
	if s, ok := e.host.Network().(*swarm.Swarm); ok {
		s.Backoff().Clear(info.ID)
	}
	if err := e.host.Connect(ctx, info); err != nil {
		return err
	}
	e.host.ConnManager().Protect(info.ID, peering.ConnmgrTag)
	return nil
}

// target is a configured peer.
type target struct {
	info peer.AddrInfo
	keep bool // a connection is kept; else it is for bootstrapping only
}

// parseTargets reads the addresses of static and bootstrap peers.
func parseTargets(peers, bootstrap []string) ([]target, error) {
	var targets []target
	for i, list := range [][]string{peers, bootstrap} {
		for _, s := range list {
			info, err := peer.AddrInfoFromString(s)
			if err != nil {
				return nil, fmt.Errorf("peer address %q: %w", s, err)
			}
			at := slices.IndexFunc(targets, func(t target) bool { return t.info.ID == info.ID })
			if at < 0 {
				targets = append(targets, target{info: *info, keep: i == 0})
				continue
			}
			targets[at].info.Addrs = append(targets[at].info.Addrs, info.Addrs...)
		}
	}
	return targets, nil
}

// Host returns the host of this node, for protocols beside bitswap. It is closed
// by Close, unless it came with the Config.
func (e *Exchange) Host() host.Host { return e.host }

// FindPeer asks the DHT for the addresses of a peer.
func (e *Exchange) FindPeer(ctx context.Context, id peer.ID) (peer.AddrInfo, error) {
	info, err := dhts{e}.FindPeer(ctx, id)
	if err != nil {
		return peer.AddrInfo{}, fmt.Errorf("find peer %s: %w", id, err)
	}
	return info, nil
}
