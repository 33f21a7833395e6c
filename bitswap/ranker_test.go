package bitswap

import (
	"testing"
	"time"

	ma "github.com/multiformats/go-multiaddr"
)

func TestRankTCPFirst(t *testing.T) {
	const (
		privTCP  = "/ip4/10.0.0.1/tcp/4101"
		privQUIC = "/ip4/10.0.0.1/udp/4101/quic-v1"
		pubTCP   = "/ip4/8.8.8.8/tcp/4101"
		pubQUIC  = "/ip4/8.8.8.8/udp/4101/quic-v1"
	)
	for name, want := range map[string]map[string]time.Duration{
		"all":          {privTCP: 0, pubTCP: publicDelay, privQUIC: publicDelay + quicDelay, pubQUIC: publicDelay + quicDelay},
		"public":       {pubTCP: 0, pubQUIC: quicDelay},
		"QUIC only":    {pubQUIC: 0, privQUIC: 0},
		"TCP only":     {pubTCP: publicDelay, privTCP: 0},
		"no addresses": {},
	} {
		t.Run(name, func(t *testing.T) {
			var addrs []ma.Multiaddr
			for s := range want {
				addrs = append(addrs, ma.StringCast(s))
			}
			ranked := rankTCPFirst(addrs)
			if len(ranked) != len(want) {
				t.Errorf("%d addresses ranked, want %d", len(ranked), len(want))
			}
			for _, r := range ranked {
				if d, ok := want[r.Addr.String()]; !ok || d != r.Delay {
					t.Errorf("%s is dialled after %s, want %s", r.Addr, r.Delay, d)
				}
			}
		})
	}
}
