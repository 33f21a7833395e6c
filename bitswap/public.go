package bitswap

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/ipfs/go-cid"
	"github.com/ipfs/go-datastore"
	"github.com/ipfs/go-datastore/namespace"
	dht "github.com/libp2p/go-libp2p-kad-dht"
	"github.com/libp2p/go-libp2p-kad-dht/amino"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/routing"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

// ErrPrivate says that a node can't take part in the public network as well as in a
// private one.
var ErrPrivate = errors.New("a node of a private network can't join the public one")

// publicPrefix is the protocol prefix of the public IPFS network's DHT.
const publicPrefix = "/ipfs"

// PublicBootstrap returns the nodes through which the public IPFS network is
// entered, as go-libp2p-kad-dht lists them.
func PublicBootstrap() []string {
	var addrs []string
	for _, a := range dht.DefaultBootstrapPeers {
		addrs = append(addrs, a.String())
	}
	return addrs
}

// joinPublic takes part in the public DHT: as a client, and as a server once others
// have found that this node can be reached.
func (e *Exchange) joinPublic() error {
	if !e.cfg.Public {
		return nil
	}
	if len(e.cfg.SwarmKey) > 0 {
		return ErrPrivate
	}
	enter := e.cfg.PublicBootstrap
	if enter == nil {
		enter = PublicBootstrap()
	}
	targets, err := parseTargets(nil, enter)
	if err != nil {
		return err
	}
	var peers []peer.AddrInfo
	for _, t := range targets {
		peers = append(peers, t.info)
	}
	ds := namespace.Wrap(e.cfg.Datastore, datastore.NewKey("public"))
	options := []dht.Option{
		dht.ProtocolPrefix(publicPrefix),
		dht.Mode(dht.ModeAuto),
		dht.Datastore(namespace.Wrap(ds, datastore.NewKey("dht"))),
		dht.BootstrapPeers(peers...),
	}
	if !e.cfg.anyAddress {
		options = append(options,
			dht.QueryFilter(dht.PublicQueryFilter),
			dht.RoutingTableFilter(dht.PublicRoutingTableFilter),
			dht.RoutingTablePeerDiversityFilter(dht.NewRTPeerDiversityFilter(e.host, amino.DefaultMaxPeersPerIPGroupPerCpl, amino.DefaultMaxPeersPerIPGroup)),
			dht.AddressFilter(func(addrs []ma.Multiaddr) []ma.Multiaddr { return ma.FilterAddrs(addrs, manet.IsPublicAddr) }))
	}
	if e.public, err = dht.New(e.host, options...); err != nil {
		return fmt.Errorf("public DHT: %w", err)
	}
	e.publicProv, err = newProvider(e.host, e.public, ds)
	return err
}

// provs returns what announces: to the own DHT first.
func (e *Exchange) provs() []*provider {
	if e.publicProv == nil {
		return []*provider{e.prov}
	}
	return []*provider{e.prov, e.publicProv}
}

// routed tells whether a DHT knows anybody to ask.
func (e *Exchange) routed() bool {
	return e.dht.RoutingTable().Size() > 0 || e.public != nil && e.public.RoutingTable().Size() > 0
}

// dhts asks the own DHT and, when the node takes part in it, the public one.
type dhts struct {
	ex *Exchange
}

var (
	_ routing.ContentDiscovery = dhts{}
	_ routing.PeerRouting      = dhts{}
)

// FindProvidersAsync yields the providers that either DHT names, some of them twice.
func (d dhts) FindProvidersAsync(ctx context.Context, c cid.Cid, limit int) <-chan peer.AddrInfo {
	own := d.ex.dht.FindProvidersAsync(ctx, c, limit)
	if d.ex.public == nil {
		return own
	}
	out := make(chan peer.AddrInfo)
	both := []<-chan peer.AddrInfo{own, d.ex.public.FindProvidersAsync(ctx, c, limit)}
	err := d.ex.spawn(func() {
		defer close(out)
		var reading sync.WaitGroup
		defer reading.Wait()
		for _, found := range both {
			reading.Go(func() {
				for p := range found { // until the lookup has ended
					select {
					case out <- p:
					case <-ctx.Done():
					case <-d.ex.closing:
					}
				}
			})
		}
	})
	if err != nil {
		close(out)
	}
	return out
}

// FindPeer asks for the addresses of a peer.
func (d dhts) FindPeer(ctx context.Context, id peer.ID) (peer.AddrInfo, error) {
	info, err := d.ex.dht.FindPeer(ctx, id)
	if err != nil && d.ex.public != nil && ctx.Err() == nil {
		return d.ex.public.FindPeer(ctx, id)
	}
	return info, err
}
