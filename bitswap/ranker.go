package bitswap

import (
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

// Delays of the dial ranker after the first address, which is dialled at once.
const (
	// publicDelay holds public addresses back while a private one of the same
	// peer may answer: a peer on the same LAN answers in far less.
	publicDelay = 100 * time.Millisecond
	// quicDelay holds QUIC back behind the last TCP address. Over TCP a transfer
	// costs 1.4 to 1.8 cpu-s/GiB, over QUIC 5.6 to 6.4, so QUIC is for peers that
	// TCP does not reach.
	quicDelay = 500 * time.Millisecond
	// relayDelay holds relays back behind everything else: they carry no data.
	relayDelay = 500 * time.Millisecond
)

// rankTCPFirst orders the addresses of one peer for dialling: TCP before
// everything else, private before public.
func rankTCPFirst(addrs []ma.Multiaddr) []network.AddrDelay {
	ranked := make([]network.AddrDelay, 0, len(addrs))
	private := slices.ContainsFunc(addrs, func(a ma.Multiaddr) bool { return overTCP(a) && manet.IsPrivateAddr(a) })
	var last time.Duration
	var rest []ma.Multiaddr
	for _, a := range addrs {
		if !overTCP(a) {
			rest = append(rest, a)
			continue
		}
		var delay time.Duration
		if private && !manet.IsPrivateAddr(a) {
			delay = publicDelay
		}
		last = max(last, delay)
		ranked = append(ranked, network.AddrDelay{Addr: a, Delay: delay})
	}
	if len(ranked) > 0 {
		last += quicDelay
	}
	for _, a := range rest {
		delay := last
		if overRelay(a) && len(addrs) > 1 {
			delay += relayDelay
		}
		ranked = append(ranked, network.AddrDelay{Addr: a, Delay: delay})
	}
	return ranked
}

// overTCP tells whether an address is dialled over TCP, to the peer itself.
func overTCP(a ma.Multiaddr) bool {
	_, err := a.ValueForProtocol(ma.P_TCP)
	return err == nil && !overRelay(a)
}

// overRelay tells whether an address leads over a relay.
func overRelay(a ma.Multiaddr) bool {
	_, err := a.ValueForProtocol(ma.P_CIRCUIT)
	return err == nil
}
