package ingest

import (
	"context"
	"log/slog"

	"github.com/hypha-node/hypha-node/connectors"
	"github.com/hypha-node/hypha-node/dag"
)

// Plan is what a Fetch of an item would do.
type Plan struct {
	From     From
	File     dag.File // if it is in the store
	Transfer int64    // bytes that would come over a network; -1 if unknown
}

// Plan tells where a Fetch would take an item from, without asking for content. A
// file of the cache that has the size that is announced is taken for right; what a
// key stands for that can change is taken for changed.
func (e *Engine) Plan(ctx context.Context, it connectors.Item) (Plan, error) {
	got, ok, err := e.lookup(ctx, it)
	if !ok && err == nil {
		got, ok, err = e.vouched(ctx, it)
	}
	switch {
	case err != nil:
		return Plan{}, err
	case ok:
		return Plan{From: FromStore, File: got.File}, nil
	case it.Root.Defined():
		return Plan{From: FromPeer, Transfer: it.Size}, nil
	case e.holds(ctx, it):
		return Plan{From: FromCache}, nil
	case it.Local:
		return Plan{From: FromOrigin}, nil
	}
	return Plan{From: FromOrigin, Transfer: it.Size}, nil
}

// holds tells whether the cache has an item, as far as its size tells, and whoever
// asks may have it.
func (e *Engine) holds(ctx context.Context, it connectors.Item) bool {
	if e.cfg.Cache == nil || it.May == nil || !expect(it).digest() {
		return false
	}
	file, err := e.cfg.Cache.Open(it)
	if err != nil {
		e.cfg.Logger.WarnContext(ctx, "cache is not used", slog.Any("error", err))
	}
	if err != nil || file == nil {
		return false
	}
	defer file.Close() // was not even read
	info, err := file.Stat()
	return err == nil && (it.Size < 0 || info.Size() == it.Size) && it.May(ctx) == nil
}
