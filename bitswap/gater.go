package bitswap

import (
	"fmt"

	"github.com/libp2p/go-libp2p/core/connmgr"
	"github.com/libp2p/go-libp2p/core/control"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

// gater lets connections to listed peers be, and no others.
type gater map[peer.ID]struct{}

var _ connmgr.ConnectionGater = gater(nil)

// newGater makes a gater of peer ids; nil, which is none, of an empty list.
func newGater(ids []string) (gater, error) {
	if len(ids) == 0 {
		return nil, nil //nolint:nilnil // as the comment says
	}
	g := make(gater)
	for _, id := range ids {
		p, err := peer.Decode(id)
		if err != nil {
			return nil, fmt.Errorf("allowed peer %q: %w", id, err)
		}
		g[p] = struct{}{}
	}
	return g, nil
}

// CheckPeerID tells what is wrong with the text of a peer id.
func CheckPeerID(id string) error {
	if _, err := peer.Decode(id); err != nil {
		return fmt.Errorf("%q is no peer id, as `hypha-node id` prints it", id)
	}
	return nil
}

// lists tells whether a peer is listed.
func (g gater) lists(p peer.ID) bool {
	_, ok := g[p]
	return ok
}

// InterceptPeerDial keeps this node from dialling who is not listed.
func (g gater) InterceptPeerDial(p peer.ID) bool { return g.lists(p) }

// InterceptAddrDial has been decided by InterceptPeerDial.
func (g gater) InterceptAddrDial(peer.ID, ma.Multiaddr) bool { return true }

// InterceptAccept lets a connection begin: who it is will be known soon.
func (g gater) InterceptAccept(network.ConnMultiaddrs) bool { return true }

// InterceptSecured ends a connection whose peer, now proved, is not listed.
func (g gater) InterceptSecured(_ network.Direction, p peer.ID, _ network.ConnMultiaddrs) bool {
	return g.lists(p)
}

// InterceptUpgraded lets a connection be that InterceptSecured let through.
func (g gater) InterceptUpgraded(network.Conn) (bool, control.DisconnectReason) { return true, 0 }
