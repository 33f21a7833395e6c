package bitswap

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/ipfs/boxo/bitswap/message"
	pb "github.com/ipfs/boxo/bitswap/message/pb"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/routing"
)

// reachable returns ErrNoPeers when there is nobody to ask. While configured
// peers, or those of earlier runs, are being dialled for the first time, it waits for that, at most as long
// as one dial may take.
func (e *Exchange) reachable(ctx context.Context) error {
	select {
	case <-e.closing:
		return ErrClosed
	default:
	}
	if e.connected() {
		return nil
	}
	switch {
	case e.relayed() > 0 || e.public != nil: // whose nodes are being dialled
		return e.untilDirect(ctx)
	case len(e.static) == 0 && len(e.known.list()) == 0:
		return ErrNoPeers
	}
	timer := time.NewTimer(dialTimeout)
	defer timer.Stop()
	select {
	case <-e.dialled:
	case <-timer.C: // Run was not called
	case <-e.closing:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	if e.connected() {
		return nil
	}
	return e.explain(ErrNoPeers)
}

// untilDirect waits, as long as one dial may take, for a connection that carries
// data: one that two nodes arrange over a relay, or the public network's first.
// ErrNoPeers and why when there is none.
func (e *Exchange) untilDirect(ctx context.Context) error {
	made := make(chan struct{}, 1)
	bundle := &network.NotifyBundle{ConnectedF: func(_ network.Network, c network.Conn) {
		if !c.Stat().Limited {
			select {
			case made <- struct{}{}:
			default:
			}
		}
	}}
	e.host.Network().Notify(bundle)
	defer e.host.Network().StopNotify(bundle)
	if e.connected() {
		return nil
	}
	timer := time.NewTimer(dialTimeout)
	defer timer.Stop()
	select {
	case <-made:
		return nil
	case <-timer.C:
		return e.explain(ErrNoPeers)
	case <-e.closing:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// connected tells whether there is anybody to ask.
func (e *Exchange) connected() bool {
	return len(e.directPeers()) > 0 || e.routed()
}

// FindProviders looks for peers that announce a CID and yields them as soon as they are
// named, connected or not, until ctx or the search ends; nobody when there is no DHT to
// ask.
func (e *Exchange) FindProviders(ctx context.Context, c cid.Cid) <-chan peer.AddrInfo {
	if !e.routed() {
		none := make(chan peer.AddrInfo)
		close(none)
		return none
	}
	return dhts{e}.FindProvidersAsync(ctx, c, maxNamed)
}

// askAll asks some of the connected peers for a block.
func (e *Exchange) askAll(ctx context.Context, c cid.Cid) {
	peers := e.directPeers()
	rand.Shuffle(len(peers), func(i, j int) { peers[i], peers[j] = peers[j], peers[i] })
	var asking sync.WaitGroup
	for _, p := range peers[:min(len(peers), maxAsked)] {
		asking.Go(func() { e.ask(ctx, p, c) })
	}
	asking.Wait()
}

// ask sends a want for one block to one peer. An error means that the peer
// can't be asked, which is no news to a session that stalls.
func (e *Exchange) ask(ctx context.Context, p peer.ID, c cid.Cid) {
	want := message.New(false)
	want.AddEntry(c, 1, pb.Message_Wantlist_Block, false)
	if err := e.net.SendMessage(ctx, p, want); err != nil {
		e.log.Debug("ask peer", slog.String("peer", p.String()), slog.String("cid", c.String()), slog.Any("error", err))
	}
}

// sessionKey is the context key under which a session's lookups find it.
type sessionKey struct{}

// finder looks for providers of a block and, when the lookup is a session's, of
// that session's root too.
type finder struct {
	lookup routing.ContentDiscovery
}

var _ routing.ContentDiscovery = finder{}

// FindProvidersAsync yields providers to which a connection exists, each once.
func (f finder) FindProvidersAsync(ctx context.Context, c cid.Cid, limit int) <-chan peer.AddrInfo {
	s, ok := ctx.Value(sessionKey{}).(*Session)
	if !ok {
		return f.lookup.FindProvidersAsync(ctx, c, limit)
	}
	root := s.root.Load()
	if root == nil || root.Equals(c) {
		return f.lookup.FindProvidersAsync(ctx, c, limit)
	}
	out := make(chan peer.AddrInfo)
	a, b := f.lookup.FindProvidersAsync(ctx, *root, limit), f.lookup.FindProvidersAsync(ctx, c, limit)
	err := s.ex.spawn(func() {
		defer close(out)
		seen := make(map[peer.ID]bool)
		for a != nil || b != nil {
			var p peer.AddrInfo
			select {
			case p, ok = <-a:
				if !ok {
					a = nil
				}
			case p, ok = <-b:
				if !ok {
					b = nil
				}
			}
			if !ok || seen[p.ID] {
				continue
			}
			seen[p.ID] = true
			select {
			case out <- p:
			case <-ctx.Done():
			case <-s.ex.closing:
			}
		}
	})
	if err != nil {
		close(out)
	}
	return out
}
