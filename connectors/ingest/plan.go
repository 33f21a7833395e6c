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
	Size     int64    // bytes of the content; -1 if unknown
	Transfer int64    // bytes that would come over a network; -1 if unknown
}

// Plan tells where a Fetch would take an item from. A file of the cache that has the
// size that is announced is taken for right. Where only the content's origin knows its
// size, or whether it has changed, that is asked for the first byte.
func (e *Engine) Plan(ctx context.Context, it connectors.Item) (Plan, error) {
	got, ok, err := e.lookup(ctx, it)
	if !ok && err == nil {
		got, ok, err = e.vouched(ctx, it)
	}
	switch {
	case err != nil:
		return Plan{}, err
	case ok:
		return Plan{From: FromStore, File: got.File, Size: got.File.Size}, nil
	case it.Root.Defined():
		return Plan{From: FromPeer, Size: it.Size, Transfer: it.Size}, nil
	case e.holds(ctx, it):
		return Plan{From: FromCache, Size: it.Size}, nil
	case it.Local:
		return Plan{From: FromOrigin, Size: it.Size}, nil
	case it.Size < 0:
		return e.ask(ctx, it)
	}
	return Plan{From: FromOrigin, Size: it.Size, Transfer: it.Size}, nil
}

// ask plans with what the origin says when it is asked for the first byte.
func (e *Engine) ask(ctx context.Context, it connectors.Item) (Plan, error) {
	body, hit, err := e.openChanged(ctx, it, 1)
	if err != nil {
		return Plan{}, err
	}
	if body == nil {
		return Plan{From: FromStore, File: hit.File, Size: hit.File.Size}, nil
	}
	defer body.Close() // at most a byte was wanted
	if body.SHA256 != nil {
		got, ok, err := e.lookupSHA256(ctx, it, *body.SHA256)
		if err != nil {
			return Plan{}, err
		}
		if ok {
			return Plan{From: FromStore, File: got.File, Size: got.File.Size}, nil
		}
	}
	return Plan{From: FromOrigin, Size: body.Size, Transfer: body.Size}, nil
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
