package bitswap

import (
	"fmt"
	"testing"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

// TestFoundPeers holds what an answer from the local network can do.
func TestFoundPeers(t *testing.T) {
	self, other := newPeer(t), newPeer(t)
	l := &localPeers{self: self, found: make(chan peer.AddrInfo, 2)}
	find := func(id peer.ID, addrs ...string) {
		t.Helper()
		info := peer.AddrInfo{ID: id}
		for _, s := range addrs {
			a, err := ma.NewMultiaddr(s)
			if err != nil {
				t.Fatal(err)
			}
			info.Addrs = append(info.Addrs, a)
		}
		l.HandlePeerFound(info)
	}
	find(self, "/ip4/10.0.0.1/tcp/1")
	find(other)
	find(other, "/ip4/8.8.8.8/tcp/1", "/ip6/2001:db8::1/tcp/1", "/dns4/example.org/tcp/1",
		"/ip4/10.0.0.1/tcp/1/p2p/"+self.String()+"/p2p-circuit")
	if len(l.found) != 0 {
		t.Errorf("dials %v", <-l.found)
	}
	find(other, "/ip4/8.8.8.8/tcp/1", "/ip4/192.168.1.2/tcp/1", "/ip6/fe80::1/tcp/1")
	if got := <-l.found; fmt.Sprint(got.Addrs) != "[/ip4/192.168.1.2/tcp/1 /ip6/fe80::1/tcp/1]" {
		t.Errorf("dials %v", got.Addrs)
	}
	for range 10 { // more than anybody takes
		find(other, "/ip4/10.0.0.1/tcp/1")
	}
	var many []string
	for port := range 1000 {
		many = append(many, fmt.Sprintf("/ip4/10.0.0.1/tcp/%d", port+1))
	}
	<-l.found
	find(other, many...)
	<-l.found
	if got := <-l.found; len(got.Addrs) != maxFoundAddrs {
		t.Errorf("%d addresses", len(got.Addrs))
	}
}

// TestLocalName keeps networks apart.
func TestLocalName(t *testing.T) {
	key := SwarmKey("0123456789abcdef0123456789abcdef")
	a, b, c := localName(networkName(DefaultPrefix, nil)), localName(networkName(DefaultPrefix, key)), localName(networkName("/other", key))
	if a != "_hypha._udp" || a == b || b == c || len(b) > 21 { // RFC 6335: 15 bytes, without "_" and "._udp"
		t.Errorf("%q, %q, %q", a, b, c)
	}
}
