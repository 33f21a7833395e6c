package bitswap_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/hypha-node/hypha-node/bitswap"
)

// TestHiddenBlocksAreNotServed asks for a block that peers may not have: when it
// is there, and before it comes.
func TestHiddenBlocksAreNotServed(t *testing.T) {
	public, private, late := raw(t, []byte("for all")), raw(t, []byte("for some")), raw(t, []byte("comes later"))
	var asked atomic.Int64
	a, _ := start(t, func(c *bitswap.Config) {
		c.Served = func(_ context.Context, c cid.Cid) bool {
			asked.Add(1)
			return c.Equals(public.Cid())
		}
	})
	b, _ := start(t, nil)
	connect(t, b, a)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := a.store.Put(ctx, public); err != nil {
		t.Fatal(err)
	}
	if err := a.store.Put(ctx, private); err != nil {
		t.Fatal(err)
	}
	waiting, err := b.Session(ctx).GetBlocks(ctx, []cid.Cid{late.Cid(), private.Cid()})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the wants", func() bool {
		return a.Wanted(b.ID().PeerID, late.Cid()) && a.Wanted(b.ID().PeerID, private.Cid())
	})
	if err := a.store.Put(ctx, late); err != nil {
		t.Fatal(err)
	}
	before := asked.Load()
	a.Notify()
	eventually(t, "a look at what is wanted", func() bool { return asked.Load() > before })
	s := b.WatchedSession(ctx, bitswap.Watch{Stall: 50 * time.Millisecond, Timeout: 500 * time.Millisecond})
	_, err = s.Get(ctx, private.Cid())
	gaveUp(t, err, private.Cid())
	blk, err := b.Session(ctx).Get(ctx, public.Cid())
	if err != nil || !blk.Cid().Equals(public.Cid()) {
		t.Errorf("the public block: %v, %v", blk, err)
	}
	select {
	case blk := <-waiting:
		t.Errorf("got %q", blk.RawData())
	default:
	}
	// The node itself is not held back.
	local, err := a.Session(ctx).GetBlocks(ctx, []cid.Cid{late.Cid()})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the node's own session", func() bool {
		a.Notify()
		select {
		case got := <-local:
			return got != nil && got.Cid().Equals(late.Cid())
		default:
			return false
		}
	})
}
