package cases

import (
	"context"
	"errors"
	"fmt"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

// Host is what a Node in this process does with its host alone.
type Host struct {
	Libp2p host.Host
}

// Address implements Node.
func (h Host) Address() string { return fmt.Sprintf("%s/p2p/%s", h.Libp2p.Addrs()[0], h.Libp2p.ID()) }

// Connect implements Node.
func (h Host) Connect(ctx context.Context, address string) error {
	m, err := ma.NewMultiaddr(address)
	if err != nil {
		return err
	}
	info, err := peer.AddrInfoFromP2pAddr(m)
	if err != nil {
		return err
	}
	return h.Libp2p.Connect(ctx, *info)
}

// Leave implements Node.
func (h Host) Leave(context.Context) error {
	var errs []error
	for _, p := range h.Libp2p.Network().Peers() {
		errs = append(errs, h.Libp2p.Network().ClosePeer(p))
	}
	return errors.Join(errs...)
}
