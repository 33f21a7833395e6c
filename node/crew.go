package node

import (
	"context"
	"crypto/sha256"
	"io"

	"github.com/hypha-node/hypha-node/bitswap/crew"
	"github.com/hypha-node/hypha-node/connectors/ingest"
	"github.com/hypha-node/hypha-node/dag"
)

// openCrew returns what tells downloads of peers who have a content, or fetch it, too:
// nil both when offline, the second where it is not asked for. The crew is closed before
// the exchange, whose host it uses.
func (n *Node) openCrew(memory *dag.Budget) (ingest.Finder, *crew.Service, error) {
	if n.exchange == nil {
		return nil, nil, nil
	}
	if !n.cfg.Crew {
		return finder{n.exchange, n.log}, nil, nil
	}
	s, err := crew.New(crew.Config{Host: n.exchange.Host(), Stored: n.sendStored, Memory: memory, Logger: n.log})
	if err != nil {
		return nil, nil, err
	}
	n.onClose(s.Close)
	return finder{n.exchange, n.log}, s, nil
}

// sendStored sends a range of a public file to who has fetched it together with us.
func (n *Node) sendStored(ctx context.Context, w io.Writer, sum [sha256.Size]byte, off, count int64) error {
	return ingest.Send(ctx, n.store, w, sum, [2]int64{off, count})
}
