package bitswap

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
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
	Transport string        // "tcp", "quic" or "other"
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

// Redialling of configured peers: from minRedial, doubling, to maxRedial.
const (
	minRedial = time.Second
	maxRedial = time.Minute
	// fewPeers is the size of the routing table under which bootstrap peers are
	// dialled again.
	fewPeers = 4
)

// keepPeers dials the configured peers and dials them again when they are gone,
// until ctx ends.
func (e *Exchange) keepPeers(ctx context.Context) {
	var all, first sync.WaitGroup
	defer all.Wait()
	for _, t := range e.static {
		if t.info.ID == e.host.ID() {
			continue // one list for a whole cluster names this node too
		}
		first.Add(1)
		all.Go(func() { e.keep(ctx, t, sync.OnceFunc(first.Done)) })
	}
	first.Wait()
	close(e.dialled)
}

// keep holds the connection to one peer; tried is called after the first dial.
func (e *Exchange) keep(ctx context.Context, t target, tried func()) {
	defer tried()
	gone := make(chan struct{}, 1)
	bundle := &network.NotifyBundle{DisconnectedF: func(_ network.Network, c network.Conn) {
		if c.RemotePeer() == t.info.ID {
			select {
			case gone <- struct{}{}:
			default:
			}
		}
	}}
	e.host.Network().Notify(bundle)
	defer e.host.Network().StopNotify(bundle)
	delay := minRedial
	for ctx.Err() == nil {
		wait := maxRedial
		if t.keep && e.host.Network().Connectedness(t.info.ID) != network.Connected || !t.keep && e.dht.RoutingTable().Size() < fewPeers {
			err := e.dialOnce(ctx, t.info)
			tried()
			if err != nil {
				e.log.Info("peer not reached", slog.String("peer", t.info.ID.String()), slog.Duration("again_in", delay), slog.Any("error", err))
				wait, delay = delay, min(2*delay, maxRedial)
			} else {
				delay = minRedial
			}
		}
		// Half to all of the wait, so that a cluster that starts at once does not
		// dial in step.
		timer := time.NewTimer(wait/2 + rand.N(wait/2)) //nolint:gosec // jitter, not a secret
		select {
		case <-timer.C:
		case <-gone:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// dialOnce is one bounded attempt.
func (e *Exchange) dialOnce(ctx context.Context, info peer.AddrInfo) error {
	dctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	err := e.dial(dctx, info)
	if err != nil && ctx.Err() != nil {
		return errors.Join(ctx.Err(), err)
	}
	return err
}

// Host returns the host of this node, for protocols beside bitswap. It is closed
// by Close, unless it came with the Config.
func (e *Exchange) Host() host.Host { return e.host }

// FindPeer asks the DHT for the addresses of a peer.
func (e *Exchange) FindPeer(ctx context.Context, id peer.ID) (peer.AddrInfo, error) {
	info, err := e.dht.FindPeer(ctx, id)
	if err != nil {
		return peer.AddrInfo{}, fmt.Errorf("find peer %s: %w", id, err)
	}
	return info, nil
}
