package ingest

import (
	"context"

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
