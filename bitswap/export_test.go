package bitswap

import (
	"context"

	"github.com/ipfs/go-cid"
)

// Providers returns the ids of those who are announced for a root.
func (e *Exchange) Providers(ctx context.Context, c cid.Cid) ([]string, error) {
	infos, err := e.dht.FindProviders(ctx, c)
	ids := make([]string, len(infos))
	for i, info := range infos {
		ids[i] = info.ID.String()
	}
	return ids, err
}
