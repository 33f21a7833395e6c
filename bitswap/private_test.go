package bitswap_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	boxoblockstore "github.com/ipfs/boxo/blockstore"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"

	"github.com/hypha-node/hypha-node/bitswap"
	"github.com/hypha-node/hypha-node/blockstore"
)

// watched is a store that counts how often it is asked for one of its blocks.
type watched struct {
	boxoblockstore.Blockstore
	block cid.Cid
	asked *atomic.Int64
}

// Has tells whether a block is there.
func (w watched) Has(ctx context.Context, c cid.Cid) (bool, error) {
	if c.Equals(w.block) {
		defer w.asked.Add(1)
	}
	return w.Blockstore.Has(ctx, c)
}

// TestPrivateBlocksAreNotServed asks for blocks that are private, under every
// codec: when they are there, and before they come. They are served, to those who
// have been waiting too, when they are put for everybody.
func TestPrivateBlocksAreNotServed(t *testing.T) {
	store := blockstore.NewMemory()
	job := store.Scope("job")
	public, private, late := raw(t, []byte("for all")), raw(t, []byte("for some")), raw(t, []byte("comes later"))
	var asked atomic.Int64
	a, _ := start(t, func(c *bitswap.Config) { c.Store = watched{store.Scope(""), late.Cid(), &asked} })
	b, _ := start(t, nil)
	connect(t, b, a)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for blk, s := range map[blocks.Block]blockstore.Store{public: store, private: job} {
		if err := s.Put(ctx, blk); err != nil {
			t.Fatal(err)
		}
	}
	other := cid.NewCidV1(cid.DagProtobuf, private.Cid().Hash())
	var waiting []<-chan blocks.Block
	for _, n := range []*node{b, a} { // a's own sessions are nobody's but the network's
		ch, err := n.Session(ctx).GetBlocks(ctx, []cid.Cid{late.Cid(), private.Cid(), other})
		if err != nil {
			t.Fatal(err)
		}
		waiting = append(waiting, ch)
	}
	eventually(t, "the wants", func() bool {
		return a.Wanted(b.ID().PeerID, late.Cid()) && a.Wanted(b.ID().PeerID, private.Cid()) && a.Wanted(b.ID().PeerID, other)
	})
	if err := job.Put(ctx, late); err != nil {
		t.Fatal(err)
	}
	before := asked.Load()
	a.Notify()
	eventually(t, "two looks at what is wanted", func() bool { return asked.Load() > before+1 })
	for _, c := range []cid.Cid{private.Cid(), other, late.Cid(), cid.NewCidV1(cid.DagCBOR, private.Cid().Hash())} {
		s := b.WatchedSession(ctx, bitswap.Watch{Stall: 50 * time.Millisecond, Timeout: 300 * time.Millisecond})
		_, err := s.Get(ctx, c)
		gaveUp(t, err, c)
	}
	blk, err := b.Session(ctx).Get(ctx, public.Cid())
	if err != nil || !blk.Cid().Equals(public.Cid()) {
		t.Errorf("the public block: %v, %v", blk, err)
	}
	for i, ch := range waiting {
		select {
		case blk := <-ch:
			t.Errorf("session %d got %q", i, blk.RawData())
		default:
		}
	}
	if err := store.Put(ctx, late); err != nil {
		t.Fatal(err)
	}
	for i, ch := range waiting {
		eventually(t, "the block that is public now", func() bool {
			a.Notify()
			select {
			case got := <-ch:
				return got != nil && got.Cid().Equals(late.Cid())
			default:
				return false
			}
		})
		if t.Failed() {
			t.Fatalf("session %d", i)
		}
	}
}
