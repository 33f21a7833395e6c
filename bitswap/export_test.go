package bitswap

import (
	"context"
	"slices"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
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

// Wanted tells whether a peer has asked for a block.
func (e *Exchange) Wanted(p string, c cid.Cid) bool {
	id, err := peer.Decode(p)
	return err == nil && slices.Contains(e.bitswap.WantlistForPeer(id), c)
}

// Remembers tells whether a peer will be dialled after a restart.
func (e *Exchange) Remembers(p string) bool {
	return slices.ContainsFunc(e.known.list(), func(i peer.AddrInfo) bool { return i.ID.String() == p })
}

// OnLoopback lets the public network lie on loopback.
func OnLoopback(c *Config) { c.anyAddress = true }

// Limits that tests of floods look at.
const (
	MaxQueuedWants = maxQueuedWants
	MaxStreams     = maxStreams
)

// Wants returns how many blocks a peer waits for, as far as is kept.
func (e *Exchange) Wants(p string) int {
	id, err := peer.Decode(p)
	if err != nil {
		return 0
	}
	return len(e.bitswap.WantlistForPeer(id))
}
