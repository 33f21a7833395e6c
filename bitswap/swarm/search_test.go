package swarm

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	boxoblockstore "github.com/ipfs/boxo/blockstore"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
)

// named looks for peers and finds those; searches counts how often.
func named(searches *atomic.Int64, nodes ...*testNode) func(context.Context) <-chan peer.AddrInfo {
	return func(context.Context) <-chan peer.AddrInfo {
		searches.Add(1)
		ch := make(chan peer.AddrInfo, len(nodes))
		for _, n := range nodes {
			ch <- peer.AddrInfo{ID: n.host.ID(), Addrs: n.host.Addrs()}
		}
		close(ch)
		return ch
	}
}

// TestSearchWhenNobodyHas gets a DAG that nobody who is connected has from who is
// found, though the fall-back never answers.
func TestSearchWhenNobodyHas(t *testing.T) {
	tr := newTree(t, 20, 10_000)
	has, lacks, asks := newNode(t, nil), newNode(t, nil), newNode(t, nil)
	has.add(t, tr)
	connect(t, asks.host, lacks.host)
	var searches atomic.Int64
	f := asks.Fetch(t.Context(), tr.root.Cid(), Options{Fallback: never, Providers: named(&searches, has)})
	defer f.Close()
	get(t, f, tr.root.Cid())
	f.Links(tr.root.Cid(), tr.cids())
	get(t, f, tr.cids()...)
	if n := searches.Load(); n != 1 {
		t.Errorf("%d searches, want 1", n)
	}
}

// gated is a store from which leaves can be read when the gate is open.
type gated struct {
	boxoblockstore.Blockstore
	gate <-chan struct{}
}

func (g gated) Get(ctx context.Context, c cid.Cid) (blocks.Block, error) {
	if c.Type() == cid.Raw {
		select {
		case <-g.gate:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return g.Blockstore.Get(ctx, c)
}

// TestSearchWhenSlow gets a DAG whose only known holder sends nothing but its root
// from another one, who is found because of that.
func TestSearchWhenSlow(t *testing.T) {
	tr := newTree(t, 100, 10_000)
	slow, fast, asks := newNode(t, nil), newNode(t, nil), newNode(t, nil)
	gate := make(chan struct{})
	defer close(gate)
	slow.add(t, tr)
	slow.cfg.Store = gated{slow.store, gate}
	fast.add(t, tr)
	connect(t, asks.host, slow.host)
	var searches atomic.Int64
	f := asks.Fetch(t.Context(), tr.root.Cid(), Options{Fallback: never, Providers: named(&searches, fast)})
	defer f.Close()
	get(t, f, tr.root.Cid())
	if n := searches.Load(); n != 0 {
		t.Errorf("%d searches before anything was slow", n)
	}
	f.mu.Lock()
	f.slow = 0
	f.mu.Unlock()
	f.Links(tr.root.Cid(), tr.cids())
	get(t, f, tr.cids()...)
	if n := searches.Load(); n != 1 {
		t.Errorf("%d searches, want 1", n)
	}
	if got := slow.Traffic().Sent; got != int64(len(tr.root.RawData())) {
		t.Errorf("the slow one has sent %d bytes, want the root alone", got)
	}
}

// TestSearches is a table of when others are looked for.
func TestSearches(t *testing.T) {
	now := time.Now()
	none := func(context.Context) <-chan peer.AddrInfo { return nil }
	state := func(states ...int) (all []*source) {
		for _, s := range states {
			all = append(all, &source{state: s})
		}
		return all
	}
	for _, tc := range []struct {
		name     string
		age      time.Duration
		sources  []*source // not ready, and ready if they have something
		left     float64   // seconds of work
		searched time.Duration
		want     bool
	}{
		{"nobody, at once", 0, nil, 0, 0, true},
		{"who is asked may have it", 0, state(-1), 0, 0, false},
		{"who is asked does not say", searchSoon, state(-1), 0, 0, true},
		{"somebody has it", time.Hour, state(stateWhole), 1, 0, false},
		{"somebody has it, and is slow", searchSlow, state(stateWhole), 60, 0, true},
		{"slow, at the beginning", searchSlow / 2, state(stateWhole), 60, 0, false},
		{"searched before", time.Hour, nil, 0, searchAgain / 2, false},
		{"searched long ago", time.Hour, nil, 0, searchAgain, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := &Fetch{o: Options{Providers: none}, order: make([]*want, 1), begun: now.Add(-tc.age), slow: searchSlow, sources: make(map[peer.ID]*source)}
			if tc.searched > 0 {
				f.searched = now.Add(-tc.searched)
			}
			p := &planner{f: f, now: now, left: tc.left}
			for _, s := range tc.sources {
				f.sources[peer.ID(rune(len(f.sources)))] = s
				if s.state > stateNone {
					p.ready = append(p.ready, s)
				}
			}
			if got := p.searches(); got != tc.want || f.searching != got {
				t.Errorf("got %v, want %v", got, tc.want)
			}
			if f.searched.Equal(now) && p.searches() {
				t.Error("two at a time")
			}
		})
	}
}

// TestNewcomer asks who came after the fall-back was asked, and nobody else, for what
// that one is to bring.
func TestNewcomer(t *testing.T) {
	fallen := time.Now()
	w := &want{key: "w", fallen: fallen}
	for _, tc := range []struct {
		name  string
		made  time.Duration // after fallen
		state int
		want  bool
	}{
		{"was there", -1, stateWhole, false},
		{"came, and has it", 1, stateWhole, true},
		{"came, and has not said", 1, -1, true},
		{"came, and has nothing", 1, stateNone, false},
	} {
		s := &source{state: tc.state, made: fallen.Add(tc.made)}
		p := &planner{f: &Fetch{sources: map[peer.ID]*source{"s": s}}, now: fallen.Add(1)}
		if s.state > stateNone {
			p.ready = append(p.ready, s)
		}
		if got := p.newcomer(w); got != tc.want {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
	}
}
