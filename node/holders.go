package node

import (
	"context"
	"crypto/sha256"
	"iter"
	"log/slog"
	"time"

	"github.com/hypha-node/hypha-node/bitswap"
	"github.com/hypha-node/hypha-node/connectors/ingest"
)

// How long a peer is not asked for files: one that named a root of other content,
// and one whose file did not come.
const (
	shunLiars  = 24 * time.Hour
	shunSilent = 5 * time.Minute
)

// holding returns the file with a sha256 for peers who ask for it.
func (n *Node) holding(ctx context.Context, sum [sha256.Size]byte) (bitswap.Holding, bool, error) {
	f, ok, err := ingest.Public(ctx, n.store, sum)
	return bitswap.Holding{Root: f.Root, Size: f.Size}, ok, err
}

// finder is the exchange as the ingest engine sees it.
type finder struct {
	exchange *bitswap.Exchange
	log      *slog.Logger
}

var _ ingest.Finder = finder{}

// Holders yields who says that he has a file.
func (f finder) Holders(ctx context.Context, sum [sha256.Size]byte) iter.Seq[ingest.Holder] {
	return func(yield func(ingest.Holder) bool) {
		for h := range f.exchange.Holders(ctx, sum) {
			if !yield(ingest.Holder{Peer: h.Peer, Root: h.Root, Size: h.Size}) {
				return
			}
		}
	}
}

// Blame has a peer asked no longer for a while.
func (f finder) Blame(peer string, lied bool) {
	d := shunSilent
	if lied {
		d = shunLiars
		f.log.Warn("a peer lied about a file, it is not asked any more", slog.String("peer", peer), slog.Duration("for", d))
	}
	if err := f.exchange.Shun(peer, d); err != nil {
		f.log.Warn("shun a peer", slog.String("peer", peer), slog.Any("error", err))
	}
}
