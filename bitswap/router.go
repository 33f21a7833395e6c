package bitswap

import (
	"context"
	"sync"
	"time"

	dht "github.com/libp2p/go-libp2p-kad-dht"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/routing"
)

// patientRouter is the DHT as the provider sees it: a lookup waits until there
// is somebody to ask. Without that the provider probes an empty routing table
// at growing intervals, and the first peer would get its records up to a
// minute late. It does not wait for the dead, though.
type patientRouter struct {
	*dht.IpfsDHT
}

const (
	// patientTick is how often the routing table is looked at while it is empty.
	patientTick = 250 * time.Millisecond
	// hurryAfter is how many peers must have answered a lookup before the others are
	// not waited for: as many as are asked at a time. A lookup that asks nobody any
	// more needs fewer.
	hurryAfter = 10
	// hurryLeast is the least time without an answer after which they are not.
	hurryLeast = 50 * time.Millisecond
)

// GetClosestPeers returns the peers closest to a key.
//
// A lookup would wait for each of them, and for a dead one as long as a dial or a
// message may take: 5 to 20 s, in which the records go nowhere. So it is ended when
// many have answered, or as many as it needs, and then nobody for as long as the
// slowest of those took. Who has been heard of by then counts, whether he has answered
// or not.
func (r patientRouter) GetClosestPeers(ctx context.Context, key string) ([]peer.ID, error) {
	if r.RoutingTable().Size() == 0 {
		tick := time.NewTicker(patientTick)
		defer tick.Stop()
		for r.RoutingTable().Size() == 0 {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
	}
	lctx, cut := context.WithCancel(ctx)
	defer cut()
	lctx, events := routing.RegisterForQueryEvents(lctx)
	lctx, steps := dht.RegisterForLookupEvents(lctx)
	var watch sync.WaitGroup
	watch.Go(func() { hurry(events, steps, cut) })
	peers, err := r.IpfsDHT.GetClosestPeers(lctx, key)
	ended := lctx.Err() != nil && ctx.Err() == nil
	cut()
	watch.Wait()
	if ended && len(peers) > 0 {
		return peers, nil
	}
	return peers, err
}

// hurry calls cut when a lookup waits for nobody but those who may be dead. It
// returns when the events end, as they do after cut; the steps end with them.
func hurry(events <-chan *routing.QueryEvent, steps <-chan *dht.LookupEvent, cut func()) {
	asked := make(map[peer.ID]time.Time)
	answers, slowest := 0, hurryLeast
	enough := false // have answered: the lookup has what it needs
	silence := time.NewTimer(0)
	defer silence.Stop()
	for {
		select {
		case e, ok := <-events:
			if !ok {
				return
			}
			now := time.Now()
			switch e.Type {
			case routing.SendingQuery:
				asked[e.ID] = now
			case routing.PeerResponse:
				slowest = max(slowest, now.Sub(asked[e.ID]))
				answers++
				silence.Reset(slowest)
			}
		case step, ok := <-steps:
			if !ok {
				steps = nil // and the events are about to end
			} else if step.Terminate != nil {
				enough = true
				silence.Reset(slowest)
			}
		case <-silence.C:
			if enough || answers >= hurryAfter {
				cut()
			}
		}
	}
}
