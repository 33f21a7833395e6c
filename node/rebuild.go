package node

import (
	"context"
	"log/slog"

	"github.com/hypha-node/hypha-node/blockstore"
)

// Rebuild makes the index of a repository anew from its segments. Nobody may
// have the repository open: blockstore.ErrInUse.
func Rebuild(ctx context.Context, c Config) (blockstore.RebuildReport, error) {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return blockstore.Rebuild(ctx, c.Repo, blockstore.Options{Holder: c.Holder, Reserve: c.Reserve, Logger: c.Logger})
}
