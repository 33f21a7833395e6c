package bitswap

import (
	"context"
	"fmt"

	"github.com/libp2p/go-libp2p/core/network"
)

// Stats are numbers of an exchange; counters begin at 0 when it is made.
type Stats struct {
	Peers, Inbound int    // connected peers, and those of them that dialled
	Routing        int    // peers in the DHT's routing table
	Announced      int    // keys that are announced
	BlocksReceived uint64 // blocks of bitswap that came, with unwanted ones
	BytesReceived  uint64 // of them
	Duplicates     uint64 // blocks that were here already
	BlocksSent     uint64
	BytesSent      uint64
	Wanted         int // blocks that this node waits for
}

// Stats returns the numbers of this moment.
func (e *Exchange) Stats(ctx context.Context) (Stats, error) {
	bs, err := e.bitswap.Stat()
	if err != nil {
		return Stats{}, fmt.Errorf("bitswap: %w", err)
	}
	s := Stats{
		Routing: e.dht.RoutingTable().Size(), Wanted: len(bs.Wantlist),
		BlocksReceived: bs.BlocksReceived, BytesReceived: bs.DataReceived, Duplicates: bs.DupBlksReceived,
		BlocksSent: bs.BlocksSent, BytesSent: bs.DataSent,
	}
	if s.Announced, err = e.prov.keys.Size(ctx); err != nil {
		return Stats{}, fmt.Errorf("announced keys: %w", err)
	}
	for _, p := range e.host.Network().Peers() {
		s.Peers++
		for _, c := range e.host.Network().ConnsToPeer(p) {
			if c.Stat().Direction == network.DirInbound {
				s.Inbound++
				break
			}
		}
	}
	return s, nil
}
