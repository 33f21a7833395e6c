package bitswap

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strings"
	"syscall"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/pnet"
	"github.com/libp2p/go-libp2p/p2p/host/autorelay"
	rcmgr "github.com/libp2p/go-libp2p/p2p/host/resource-manager"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/libp2p/go-libp2p/p2p/net/connmgr"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	ma "github.com/multiformats/go-multiaddr"
)

// newHost makes a host that listens on cfg.Listen and dials nobody. It speaks
// TCP and, unless the network is private, QUIC, and over TCP TLS (preferred,
// cheaper) and Noise. No relay is used but those of cfg, and no port mapping; peers
// that are connected are asked whether this node can be reached (AutoNAT v2), and
// asked over a relay for a connection of their own (hole punching).
func newHost(cfg Config) (host.Host, error) {
	if cfg.Identity == nil {
		return nil, errors.New("no identity")
	}
	conns, err := connmgr.NewConnManager(lowPeers, highPeers, connmgr.WithGracePeriod(peerGrace))
	if err != nil {
		return nil, err
	}
	resources, err := newResources()
	if err != nil {
		return nil, errors.Join(err, conns.Close())
	}
	options, err := membership(&cfg)
	if err == nil {
		var more []libp2p.Option
		more, err = relaying(cfg.Relays)
		options = append(options, more...)
	}
	if err != nil {
		return nil, errors.Join(err, conns.Close(), resources.Close())
	}
	h, err := libp2p.New(append(options,
		libp2p.Identity(cfg.Identity),
		libp2p.NoListenAddrs,
		// Without SO_REUSEPORT, which would let two nodes of one user listen on the
		// same port and get each other's peers.
		libp2p.Transport(tcp.NewTCPTransport, tcp.DisableReuseport()),
		libp2p.Security(libp2ptls.ID, newBatchedTLS),
		libp2p.Security(noise.ID, noise.New),
		libp2p.Muxer(yamux.ID, yamux.DefaultTransport),
		libp2p.ConnectionManager(conns),
		libp2p.ResourceManager(resources),
		libp2p.SwarmOpts(swarm.WithDialRanker(rankTCPFirst)),
		libp2p.UserAgent(userAgent(cfg.Version)),
		libp2p.EnableRelay(), // to dial and be dialled over one; the service is nobody's here
		libp2p.EnableHolePunching(),
		libp2p.EnableAutoNATv2(),
		libp2p.DisableMetrics(),
	)...)
	if err != nil {
		return nil, errors.Join(err, conns.Close(), resources.Close())
	}
	if err := listen(h, cfg.Listen); err != nil {
		return nil, errors.Join(err, h.Close())
	}
	return h, nil
}

// membership returns the options that say with whom the host talks at all; it
// changes cfg.Listen to what a private network can do.
func membership(cfg *Config) (options []libp2p.Option, err error) {
	allowed, err := newGater(cfg.Allow)
	if err != nil {
		return nil, err
	}
	if allowed != nil {
		options = append(options, libp2p.ConnectionGater(allowed))
	}
	if len(cfg.SwarmKey) == 0 {
		return append(options, libp2p.Transport(libp2pquic.NewTransport)), nil
	}
	if cfg.Listen, err = privateListen(cfg.Listen); err != nil {
		return nil, err
	}
	return append(options, libp2p.PrivateNetwork(pnet.PSK(cfg.SwarmKey))), nil
}

// relaying returns the options of a node that others reach over relays: its
// operator says that they can't reach it otherwise.
func relaying(addrs []string) ([]libp2p.Option, error) {
	if len(addrs) == 0 {
		return nil, nil
	}
	targets, err := parseTargets(addrs, nil)
	if err != nil {
		return nil, fmt.Errorf("relay: %w", err)
	}
	var relays []peer.AddrInfo
	for _, t := range targets {
		relays = append(relays, t.info)
	}
	return []libp2p.Option{
		libp2p.ForceReachabilityPrivate(),
		libp2p.EnableAutoRelayWithStaticRelays(relays, autorelay.WithBootDelay(0), autorelay.WithBackoff(maxRedial), autorelay.WithMinInterval(minRedial)),
	}, nil
}

// userAgent is how the node names itself to peers.
func userAgent(version string) string {
	if version == "" {
		return "hypha-node"
	}
	return "hypha-node/" + version
}

// listen opens every address, DefaultListen when there are none. An address that
// can't be opened is an error, except that a machine without IPv6 does without
// the IPv6 half of the default.
func listen(h host.Host, addrs []string) error {
	defaults := addrs == nil
	if defaults {
		addrs = DefaultListen()
	}
	for _, s := range addrs {
		a, err := ma.NewMultiaddr(s)
		if err != nil {
			return fmt.Errorf("listen address %q: %w", s, err)
		}
		err = h.Network().Listen(a)
		if err != nil && defaults && strings.HasPrefix(s, "/ip6/") && noIPv6(err) {
			continue
		}
		if err != nil {
			return fmt.Errorf("listen on %s: %w", s, err)
		}
	}
	return nil
}

// noIPv6 tells whether an error says that the machine has no IPv6.
func noIPv6(err error) bool {
	for _, target := range []error{syscall.EAFNOSUPPORT, syscall.EADDRNOTAVAIL, syscall.EPROTONOSUPPORT} {
		if errors.Is(err, target) {
			return true
		}
	}
	text := err.Error() // the swarm does not wrap every transport's error
	return strings.Contains(text, syscall.EAFNOSUPPORT.Error()) || strings.Contains(text, syscall.EADDRNOTAVAIL.Error())
}

// Limits of the resource manager. They bound what strangers can make this node
// hold: beyond them a connection or stream is refused, never queued.
const (
	maxConns       = 1024      // connections, all peers
	maxInbound     = 768       // connections that others opened
	maxStreams     = 16384     // streams, all peers
	maxMemory      = 512 << 20 // bytes of stream windows, all peers
	maxPeerConns   = 8         // connections of one peer
	maxPeerStreams = 2048      // streams of one peer
	maxPeerMemory  = 128 << 20 // bytes of stream windows of one peer
	maxPerAddress  = 64        // connections from one public address: a site behind a NAT
)

// newResources makes a resource manager with the limits above; what they don't
// name has libp2p's default for 1 GiB of memory.
func newResources() (network.ResourceManager, error) {
	scaling := rcmgr.DefaultLimits
	libp2p.SetDefaultServiceLimits(&scaling)
	streams := rcmgr.ResourceLimits{
		Streams: maxPeerStreams, StreamsInbound: maxPeerStreams, StreamsOutbound: maxPeerStreams, Memory: maxPeerMemory,
	}
	peer := streams
	peer.Conns, peer.ConnsInbound, peer.ConnsOutbound = maxPeerConns, maxPeerConns, maxPeerConns
	all := rcmgr.ResourceLimits{Streams: maxStreams, StreamsInbound: maxStreams, StreamsOutbound: maxStreams, Memory: maxMemory}
	system := all
	system.Conns, system.ConnsInbound, system.ConnsOutbound, system.FD = maxConns, maxInbound, maxConns, maxConns
	limits := rcmgr.PartialLimitConfig{
		System:              system,
		PeerDefault:         peer,
		ProtocolDefault:     all,
		ProtocolPeerDefault: streams,
	}.Build(scaling.Scale(1<<30, maxConns))
	// Networks that are not routed are a cluster's own: no limit per address.
	var v4, v6 []rcmgr.NetworkPrefixLimit
	for _, p := range []string{"127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "::1/128", "fc00::/7", "fe80::/10"} {
		prefix, err := netip.ParsePrefix(p)
		if err != nil {
			return nil, err
		}
		limit := rcmgr.NetworkPrefixLimit{Network: prefix, ConnCount: math.MaxInt}
		if prefix.Addr().Is4() {
			v4 = append(v4, limit)
		} else {
			v6 = append(v6, limit)
		}
	}
	return rcmgr.NewResourceManager(rcmgr.NewFixedLimiter(limits),
		rcmgr.WithMetricsDisabled(),
		rcmgr.WithNetworkPrefixLimit(v4, v6),
		rcmgr.WithLimitPerSubnet(
			[]rcmgr.ConnLimitPerSubnet{{PrefixLength: 32, ConnCount: maxPerAddress}},
			[]rcmgr.ConnLimitPerSubnet{{PrefixLength: 56, ConnCount: maxPerAddress}, {PrefixLength: 48, ConnCount: 8 * maxPerAddress}}))
}
