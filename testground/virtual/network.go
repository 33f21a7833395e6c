package virtual

import (
	cryptorand "crypto/rand"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/p2p/transport/quicreuse"
	"github.com/marcopolo/simnet"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/quic-go/quic-go"

	"github.com/hypha-node/hypha-node/testground/bound"
	"github.com/hypha-node/hypha-node/testground/cases"
)

// links is a network in which every host has a link of the same kind.
type links struct {
	net   *simnet.Simnet
	link  cases.Link
	trace *slog.Logger // of what nodes do; nil: none

	origin *origin // nil: none

	mu sync.Mutex // of adding to net
}

// newLinks starts a network; close it after its hosts.
func newLinks(l cases.Link, trace *slog.Logger) *links {
	n := &links{link: l, trace: trace, net: &simnet.Simnet{LatencyFunc: simnet.StaticLatency(l.RTT / 2)}}
	n.net.Start()
	return n
}

// close ends the network, and lets the timers of libraries run out.
func (n *links) close() {
	n.net.Close()
	<-time.After(10 * time.Second)
}

// wire is the end of a link that a host sends and receives on.
type wire struct {
	*simnet.SimConn
	loss float64
	cut  atomic.Bool // nothing leaves any more

	mu    sync.Mutex
	noise *rand.Rand
}

// WriteTo sends a packet, or loses it.
func (w *wire) WriteTo(p []byte, to net.Addr) (int, error) {
	if w.cut.Load() {
		return len(p), nil
	}
	if w.loss > 0 {
		w.mu.Lock()
		lost := w.noise.Float64() < w.loss
		w.mu.Unlock()
		if lost {
			return len(p), nil
		}
	}
	return w.SimConn.WriteTo(p, to)
}

// moved tells what has gone over the link, in bytes.
func (w *wire) moved() (sent, received int64) {
	s := w.Stats()
	return int64(s.BytesSent), int64(s.BytesRcvd)
}

// newHost makes the host of an instance. What it sends and receives is counted
// by the wire. up is its rate in Mbit/s. close ends it.
func (n *links) newHost(index int, key crypto.PrivKey, up float64) (h host.Host, w *wire, closeHost func() error, err error) {
	settings := simnet.NodeBiDiLinkSettings{
		Uplink:   simnet.LinkSettings{BitsPerSecond: int(up * bound.Mbit)},
		Downlink: simnet.LinkSettings{BitsPerSecond: int(n.link.Down * bound.Mbit)},
	}
	address := &net.UDPAddr{IP: simnet.IntToPublicIPv4(index), Port: 8000}
	listen, err := ma.NewMultiaddr("/ip4/" + address.IP.String() + "/udp/8000/quic-v1")
	if err != nil {
		return nil, nil, nil, err
	}
	var manager *quicreuse.ConnManager
	h, err = libp2p.New(
		libp2p.Identity(key),
		libp2p.ListenAddrs(listen),
		libp2p.QUICReuse(func(reset quic.StatelessResetKey, token quic.TokenGeneratorKey, opts ...quicreuse.Option) (_ *quicreuse.ConnManager, err error) {
			manager, err = quicreuse.NewConnManager(reset, token, opts...)
			return manager, err
		},
			quicreuse.OverrideSourceIPSelector(func() (quicreuse.SourceIPSelector, error) { return source(address.IP), nil }),
			quicreuse.OverrideListenUDP(func(string, *net.UDPAddr) (net.PacketConn, error) {
				n.mu.Lock()
				defer n.mu.Unlock()
				w = &wire{SimConn: n.net.NewEndpoint(address, settings), loss: n.link.Loss, noise: rand.New(rand.NewPCG(1, uint64(index)))}
				return w, nil
			})),
		libp2p.DisableIdentifyAddressDiscovery(), // it stands still in virtual time
		libp2p.ResourceManager(&network.NullResourceManager{}),
	)
	if err != nil {
		return nil, nil, nil, err
	}
	return h, w, func() error { return errors.Join(h.Close(), manager.Close()) }, nil
}

// up is the rate at which a node with a fault sends, in Mbit/s.
func (n *links) up(f cases.Fault) float64 {
	if f == cases.Slow {
		return cases.SlowUp
	}
	return n.link.Up
}

// newKey makes an identity.
func newKey() (crypto.PrivKey, error) {
	key, _, err := crypto.GenerateEd25519Key(cryptorand.Reader)
	return key, err
}

// source is the address that a host sends from.
type source net.IP

// PreferredSourceIPForDestination implements quicreuse.SourceIPSelector.
func (s source) PreferredSourceIPForDestination(*net.UDPAddr) (net.IP, error) { return net.IP(s), nil }
