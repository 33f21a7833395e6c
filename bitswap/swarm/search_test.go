package swarm

import (
	"context"
	"io"
	"sync/atomic"
	"testing"
	"time"

	boxoblockstore "github.com/ipfs/boxo/blockstore"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
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

// TestSearchReaches gets a DAG from a holder who is named together with somebody who is
// of no use.
func TestSearchReaches(t *testing.T) {
	tr := newTree(t, 20, 10_000)
	nowhere := []ma.Multiaddr{ma.StringCast("/ip4/127.0.0.1/tcp/1")}
	for _, tc := range []struct {
		name  string
		other func(h host.Host) peer.AddrInfo // makes it so
		moved bool                            // the holder is not where it is named
	}{
		{"nobody is there", func(h host.Host) peer.AddrInfo { return peer.AddrInfo{ID: h.ID(), Addrs: nowhere} }, false},
		{"does not speak the protocol", func(h host.Host) peer.AddrInfo { return *host.InfoFromHost(h) }, false},
		{"says nothing", func(h host.Host) peer.AddrInfo {
			h.SetStreamHandler(ID, func(st network.Stream) {
				if _, err := io.Copy(io.Discard, st); err != nil {
					reset(st)
				}
			})
			return *host.InfoFromHost(h)
		}, false},
		{"the holder has moved", func(h host.Host) peer.AddrInfo { return *host.InfoFromHost(h) }, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			has, asks := newNode(t, nil), newNode(t, nil)
			has.add(t, tr)
			holder := *host.InfoFromHost(has.host)
			if tc.moved {
				holder.Addrs = nowhere
			}
			ch := make(chan peer.AddrInfo, 2)
			ch <- tc.other(newHost(t))
			ch <- holder
			close(ch)
			lacks := newNode(t, nil)
			connect(t, asks.host, lacks.host)
			f := asks.Fetch(t.Context(), tr.root.Cid(), Options{
				Fallback: never, Providers: func(context.Context) <-chan peer.AddrInfo { return ch },
				Locate: func(_ context.Context, p peer.ID) (peer.AddrInfo, error) {
					if p != has.host.ID() {
						return peer.AddrInfo{}, errNobody
					}
					return *host.InfoFromHost(has.host), nil
				},
			})
			defer f.Close()
			get(t, f, tr.root.Cid())
			f.Links(tr.root.Cid(), tr.cids())
			get(t, f, tr.cids()...)
		})
	}
}

// TestRootMoves takes the root that a peer was asked for who has not said what it has to
// one that has it, at once.
func TestRootMoves(t *testing.T) {
	now := time.Now()
	for _, tc := range []struct {
		name   string
		silent int // state of who was asked
		other  int // of another one
		moves  bool
	}{
		{"another one has it", -1, stateWhole, true},
		{"another one may have it", -1, statePart, true},
		{"another one has not said", -1, -1, false},
		{"who was asked has it", stateWhole, stateWhole, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := &want{c: testCID(t), key: "root"}
			f := &Fetch{s: &Service{cfg: Config{Host: newHost(t)}}, rootKey: w.key, wants: map[string]*want{w.key: w}, typical: 1, sources: make(map[peer.ID]*source)}
			asked := &source{f: f, p: "asked", state: tc.silent, listed: make(map[uint32]*want), heard: now}
			other := &source{f: f, p: "other", state: tc.other, listed: make(map[uint32]*want), heard: now}
			asked.list(w, now, 1)
			p := &planner{f: f, now: now}
			for _, s := range []*source{asked, other} {
				if f.sources[s.p] = s; s.state > stateNone {
					p.ready = append(p.ready, s)
				}
			}
			p.review(w)
			if moved := w.src == other; moved != tc.moves {
				t.Errorf("it is asked of %s", w.src.p)
			}
		})
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
