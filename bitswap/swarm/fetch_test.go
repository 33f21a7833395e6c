package swarm

import (
	"context"
	"testing"
	"time"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/hypha-node/hypha-node/internal/dagpb"
)

// TestFetchOnce gets a DAG from one who has it: every block crosses the wire once.
func TestFetchOnce(t *testing.T) {
	a, b := newNode(t, nil), newNode(t, nil)
	tr := newTree(t, 300, 4<<10)
	a.add(t, tr)
	connect(t, b.host, a.host)
	f := b.fetch(t, tr)
	get(t, f, tr.root.Cid())
	f.Links(tr.root.Cid(), dagpb.Links(tr.root.Cid(), tr.root.RawData()))
	get(t, f, tr.cids()...)
	want := int64(300*4<<10 + len(tr.root.RawData()))
	if got := a.Traffic().Sent; got != want {
		t.Errorf("%d bytes were sent, want %d", got, want)
	}
	if got := b.Traffic(); got.Received != want || got.Duplicate != 0 {
		t.Errorf("received %+v, want %d bytes", got, want)
	}
}

// TestSmallFileComesWhole gets a root: what is below it is there when it is.
func TestSmallFileComesWhole(t *testing.T) {
	a, b := newNode(t, nil), newNode(t, nil)
	tr := newTree(t, 5, 10_000)
	a.add(t, tr)
	connect(t, b.host, a.host)
	f := b.fetch(t, tr)
	get(t, f, tr.root.Cid())
	f.mu.Lock()
	n := len(f.gifts)
	f.mu.Unlock()
	if n != len(tr.leaves) {
		t.Errorf("%d leaves came with the root, want %d", n, len(tr.leaves))
	}
	get(t, f, tr.cids()...)
	if got := b.Traffic(); got.Duplicate != 0 {
		t.Errorf("%d bytes came twice", got.Duplicate)
	}
}

// TestServesWhileFetching has the third node get from the second what that one has
// got so far, though it knows nobody else.
func TestServesWhileFetching(t *testing.T) {
	a, b, c := newNode(t, nil), newNode(t, nil), newNode(t, nil)
	tr := newTree(t, 40, 20_000)
	a.add(t, tr)
	connect(t, b.host, a.host)
	connect(t, c.host, b.host)
	first := b.fetch(t, tr)
	get(t, first, tr.root.Cid())
	first.Links(tr.root.Cid(), tr.cids())
	get(t, first, tr.cids()[:20]...)
	second := c.fetch(t, tr)
	get(t, second, tr.root.Cid())
	second.Links(tr.root.Cid(), tr.cids())
	if len(c.host.Network().ConnsToPeer(a.host.ID())) == 0 {
		get(t, second, tr.cids()[:20]...)
	}
	// The rest reaches the third as it comes to the second, or from the first, of whom
	// it may have heard.
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	rest, err := second.GetBlocks(ctx, tr.cids()[20:])
	if err != nil {
		t.Fatal(err)
	}
	get(t, first, tr.cids()[20:]...)
	n := 0
	for range rest {
		n++
	}
	if n != 20 {
		t.Errorf("%d of 20 blocks came", n)
	}
	if sent := b.Traffic().Sent; sent == 0 {
		t.Error("the second node sent nothing")
	}
}

// TestRefused has the fall-back asked where peers may not have the root, and for
// single blocks that they may not have.
func TestRefused(t *testing.T) {
	tr := newTree(t, 10, 30_000)
	for _, tc := range []struct {
		name   string
		served func(context.Context, cid.Cid) bool
		fall   int // blocks
	}{
		{"root", func(_ context.Context, c cid.Cid) bool { return !c.Equals(tr.root.Cid()) }, 11},
		{"leaf", func(_ context.Context, c cid.Cid) bool { return !c.Equals(tr.leaves[3].Cid()) }, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a, b := newNode(t, tc.served), newNode(t, nil)
			a.add(t, tr)
			connect(t, b.host, a.host)
			fell := make(chan cid.Cid, 64)
			all := map[cid.Cid]blocks.Block{tr.root.Cid(): tr.root}
			for _, l := range tr.leaves {
				all[l.Cid()] = l
			}
			f := b.Fetch(t.Context(), tr.root.Cid(), Options{Fallback: func(_ context.Context, cs []cid.Cid) (<-chan blocks.Block, error) {
				ch := make(chan blocks.Block, len(cs))
				for _, c := range cs {
					fell <- c
					ch <- all[c]
				}
				close(ch)
				return ch, nil
			}})
			defer f.Close()
			f.mu.Lock()
			f.grace = time.Minute // however busy the machine is
			f.mu.Unlock()
			get(t, f, tr.root.Cid())
			f.Links(tr.root.Cid(), tr.cids())
			get(t, f, tr.cids()...)
			if len(fell) != tc.fall {
				t.Errorf("%d blocks came from the fall-back, want %d", len(fell), tc.fall)
			}
			if n := a.Traffic().Sent; n > int64(11-tc.fall)*40_000 {
				t.Errorf("%d bytes were sent", n)
			}
		})
	}
}

// TestNobody gives the fall-back's error back.
func TestNobody(t *testing.T) {
	a, b := newNode(t, nil), newNode(t, nil)
	tr := newTree(t, 1, 100)
	f := b.fetch(t, tr)
	if _, err := f.GetBlocks(t.Context(), tr.cids()); err != errNobody { //nolint:errorlint // it is passed on as it is
		t.Errorf("error %v, want %v", err, errNobody)
	}
	connect(t, b.host, a.host) // speaks the protocol and has nothing
	other := b.fetch(t, tr)
	ch, err := other.GetBlocks(t.Context(), tr.cids())
	if err == nil {
		for range ch {
			t.Error("a block came")
		}
		err = other.Err()
	}
	if err != errNobody { //nolint:errorlint // the same
		t.Errorf("error %v, want %v", err, errNobody)
	}
}

// TestSourceComesBack has a stream that broke replaced by another one.
func TestSourceComesBack(t *testing.T) {
	a, b := newNode(t, nil), newNode(t, nil)
	tr := newTree(t, 40, 10_000)
	a.add(t, tr)
	connect(t, b.host, a.host)
	f := b.Fetch(t.Context(), tr.root.Cid(), Options{Fallback: func(ctx context.Context, _ []cid.Cid) (<-chan blocks.Block, error) {
		ch := make(chan blocks.Block)
		context.AfterFunc(ctx, func() { close(ch) })
		return ch, nil
	}})
	defer f.Close()
	get(t, f, tr.cids()[:20]...)
	f.mu.Lock()
	src := f.sources[a.host.ID()]
	src.end()
	f.mu.Unlock()
	eventually(t, "another stream", func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		again := f.sources[a.host.ID()]
		return again != nil && again != src && again.state == stateWhole
	})
	get(t, f, tr.cids()[20:]...)
}

// TestFallbackGivesUp holds that a fall-back that has got nothing ends the fetch only
// when sources give nothing either.
func TestFallbackGivesUp(t *testing.T) {
	leaf := blockOf(t, cid.Raw, []byte("x"))
	for _, tc := range []struct {
		name string
		gave time.Duration // how long ago a source gave something
		gone bool          // there is no source any more
		ends bool
	}{
		{"a source gives", 0, false, false},
		{"it gives nothing", time.Hour, false, true},
		{"it is gone", 0, true, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := &Fetch{
				o: Options{Fallback: noFallback, Patience: time.Minute}, gave: time.Now().Add(-tc.gave),
				wake: make(chan struct{}, 1), wants: make(map[string]*want),
				sources: map[peer.ID]*source{"x": {state: statePart, ended: tc.gone}},
			}
			w := &want{c: leaf.Cid(), key: keyOf(leaf.Cid())}
			f.wants[w.key] = w
			f.fallBack(t.Context(), []*want{w})
			if ended := f.Err() != nil; ended != tc.ends || w.done != tc.ends {
				t.Errorf("the fetch has ended with %v, and the want: %v", f.Err(), w.done)
			}
			if !tc.ends && (w.batch != nil || len(f.wake) == 0) {
				t.Error("the want is not left to the sources")
			}
		})
	}
}
