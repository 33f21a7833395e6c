package bitswap

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/discovery/mdns"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

// Limits of what the local network can make this node do.
const (
	maxFoundWaiting = 64              // found peers that wait to be dialled; more are dropped
	maxFoundKnown   = 256             // found peers that are remembered
	foundAgain      = 5 * time.Minute // in which a found peer is dialled once
	maxFoundAddrs   = 16              // addresses of one
	foundWidth      = 4               // dials at once
)

// localName is the name of the service under which nodes of a network find each
// other by multicast DNS. Nodes of other networks, and those with another swarm
// key, don't see it; it tells a key no more than a fingerprint does.
func localName(network string) string {
	if network == networkName(DefaultPrefix, nil) {
		return "_hypha._udp"
	}
	sum := sha256.Sum256([]byte("hypha mdns " + network))
	return "_hypha-" + hex.EncodeToString(sum[:4]) + "._udp"
}

// localPeers takes in what the local network tells of peers. Anybody there can
// say anything, at any speed.
type localPeers struct {
	self  peer.ID
	found chan peer.AddrInfo // never blocks who finds
}

var _ mdns.Notifee = (*localPeers)(nil)

// HandlePeerFound queues a peer with those of its addresses that can be on a local
// network: an answer makes nobody dial into the world.
func (l *localPeers) HandlePeerFound(info peer.AddrInfo) {
	addrs := slices.DeleteFunc(slices.Clone(info.Addrs), func(a ma.Multiaddr) bool {
		return overRelay(a) || !manet.IsPrivateAddr(a)
	})
	if info.ID == l.self || len(addrs) == 0 {
		return
	}
	select {
	case l.found <- peer.AddrInfo{ID: info.ID, Addrs: addrs[:min(len(addrs), maxFoundAddrs)]}:
	default:
	}
}

// meetLocally announces this node on the networks of its interfaces and dials those
// of its network that are announced there, until ctx ends. It begins anew every few
// minutes: for interfaces that have come, for peers that were not reached, and
// because the library remembers whatever is announced, as long as that says.
func (e *Exchange) meetLocally(ctx context.Context) {
	if !e.cfg.MDNS {
		return
	}
	local := &localPeers{self: e.host.ID(), found: make(chan peer.AddrInfo, maxFoundWaiting)}
	var service mdns.Service
	leave := func() error {
		s := service
		service = nil
		if s == nil {
			return nil
		}
		return s.Close()
	}
	var announcing sync.WaitGroup
	announcing.Go(func() {
		keeper{
			needed: func() bool { return true },
			dial: func(context.Context) error {
				if err := leave(); err != nil {
					return err
				}
				service = mdns.NewMdnsService(e.host, localName(e.network()), local)
				return service.Start()
			},
			failed: func(err error, again time.Duration) {
				e.log.Warn("announce on the local network", slog.Duration("again_in", again), slog.Any("error", err))
			},
			max: maxRecall,
		}.run(ctx, func() {})
	})
	e.dialFound(ctx, local.found)
	announcing.Wait()
	if err := leave(); err != nil {
		e.log.Warn("leave the local network", slog.Any("error", err))
	}
}

// dialFound dials who is found, until ctx ends.
func (e *Exchange) dialFound(ctx context.Context, found <-chan peer.AddrInfo) {
	var dialling sync.WaitGroup
	defer dialling.Wait()
	slots := make(chan struct{}, foundWidth)
	tried := make(map[peer.ID]time.Time)
	for {
		var info peer.AddrInfo
		select {
		case info = <-found:
		case <-ctx.Done():
			return
		}
		now := time.Now()
		for id, at := range tried {
			if now.Sub(at) > foundAgain {
				delete(tried, id)
			}
		}
		if _, again := tried[info.ID]; again || len(tried) >= maxFoundKnown || e.host.Network().Connectedness(info.ID) == network.Connected {
			continue
		}
		tried[info.ID] = now
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return
		}
		dialling.Go(func() {
			defer func() { <-slots }()
			if err := e.dialOnce(ctx, info); err != nil && ctx.Err() == nil {
				e.log.Debug("peer of the local network not reached", slog.String("peer", info.ID.String()), slog.Any("error", err))
			}
		})
	}
}
