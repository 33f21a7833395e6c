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
	BlocksReceived uint64 // blocks that came, over either protocol, with unwanted ones
	BytesReceived  uint64 // of them
	Duplicates     uint64 // blocks that were here already
	DuplicateBytes uint64 // of them; BytesReceived has them, too
	BlocksSent     uint64
	BytesSent      uint64
	SavedSent      int64 // bytes of BytesSent that did not go over the wire, packed
	SavedReceived  int64 // of BytesReceived
	ControlSent    int64 // bytes sent over the swarm's protocol that are no blocks
	Wanted         int   // blocks that this node waits for
}

// Stats returns the numbers of this moment.
func (e *Exchange) Stats(ctx context.Context) (Stats, error) {
	bs, err := e.bitswap.Stat()
	if err != nil {
		return Stats{}, fmt.Errorf("bitswap: %w", err)
	}
	own := e.swarm.Traffic()
	s := Stats{
		Routing: e.dht.RoutingTable().Size(), Wanted: len(bs.Wantlist),
		BlocksReceived: bs.BlocksReceived + uint64(own.BlocksReceived+own.BlocksDuplicate), BytesReceived: bs.DataReceived + uint64(own.Received+own.Duplicate),
		Duplicates: bs.DupBlksReceived + uint64(own.BlocksDuplicate), DuplicateBytes: bs.DupDataReceived + uint64(own.Duplicate),
		BlocksSent: bs.BlocksSent + uint64(own.BlocksSent), BytesSent: bs.DataSent + uint64(own.Sent),
		SavedSent: own.SentSaved, SavedReceived: own.ReceivedSaved, ControlSent: own.Control,
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
