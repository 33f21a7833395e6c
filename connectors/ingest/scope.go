package ingest

import (
	"context"
	"errors"
	"log/slog"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/connectors"
)

// storeFor returns the store as it is filled for an item: what comes with a
// credential is private from its first byte on.
func (e *Engine) storeFor(it connectors.Item) blockstore.Store {
	if it.Scope == "" {
		return e.cfg.Store
	}
	return e.cfg.Store.Scope(it.Scope)
}

// admitted notes that a file, which is stored, came for an item, and whether it is
// private.
func (e *Engine) admitted(ctx context.Context, it connectors.Item, got *Fetched) (err error) {
	if it.Scope != "" {
		if err := e.cfg.Store.Admit(ctx, got.File.Root, it.Scope); err != nil {
			return err
		}
	}
	got.Private, err = blockstore.IsPrivate(ctx, e.cfg.Store, got.File.Root)
	return err
}

// vouched finds what is stored for others alone, and asks the item's source whether
// those on whose behalf the item was made may have it as well: a request, and no
// content. The item's identity must be what the source says, and not its asker. An
// error is the source's refusal.
func (e *Engine) vouched(ctx context.Context, it connectors.Item) (got Fetched, ok bool, err error) {
	if it.Scope == "" || it.Root.Defined() {
		return Fetched{}, false, nil
	}
	hidden := it
	hidden.Scope = blockstore.Operator
	var meta []byte
	switch {
	case it.May != nil:
		if got, ok, err = e.lookup(ctx, hidden); !ok || err != nil {
			return Fetched{}, false, err
		}
		err = it.May(ctx)
	case it.Same != nil:
		if got, meta, ok, err = e.lookupMeta(ctx, hidden, it.SharedKey); !ok || err != nil {
			return Fetched{}, false, err
		}
		err = it.Same(ctx, meta)
	default:
		return Fetched{}, false, nil
	}
	switch {
	case errors.Is(err, connectors.ErrUnauthorized), errors.Is(err, connectors.ErrNotFound):
		return Fetched{}, false, err
	case ctx.Err() != nil:
		return Fetched{}, false, context.Cause(ctx)
	case err != nil:
		e.cfg.Logger.InfoContext(ctx, "what is stored for others is fetched again", slog.String("url", it.URL), slog.Any("error", err))
		return Fetched{}, false, nil
	}
	if meta != nil {
		if err := e.cfg.Store.PutAlias(ctx, it.Key, blockstore.Alias{Root: got.File.Root, Meta: meta}); err != nil {
			return Fetched{}, false, err
		}
	}
	return got, true, e.admitted(ctx, it, &got)
}
