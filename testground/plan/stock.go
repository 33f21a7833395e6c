package plan

import (
	"context"
	"errors"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"

	"github.com/hypha-node/hypha-node/testground/stock"
)

// stocked is a node of stock bitswap, in the process of its instance.
type stocked struct {
	*stock.Node
	host host.Host
}

// startStock starts it, for content in blocks of chunk bytes.
func startStock(ctx context.Context, chunk int64, at place) (*stocked, error) {
	h, err := libp2p.New(libp2p.ListenAddrStrings(at.listen()), libp2p.DisableRelay())
	if err != nil {
		return nil, err
	}
	moved := func() (sent, received int64) {
		sent, received, err := at.wire.moved()
		if err != nil {
			return 0, 0
		}
		return sent, received
	}
	return &stocked{stock.New(ctx, h, moved, chunk), h}, nil
}

// stop ends it.
func (s *stocked) stop() error { return errors.Join(s.Close(), s.host.Close()) }
