package swarm

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// TestRankIsMutual holds that two peers rank each other alike, and others differently.
func TestRankIsMutual(t *testing.T) {
	a, b, c := newNode(t, nil), newNode(t, nil), newNode(t, nil)
	rankOf := func(n, other *testNode) uint64 { return (&Fetch{s: n.Service, rootKey: "root"}).rank(other.host.ID()) }
	if rankOf(a, b) != rankOf(b, a) || rankOf(a, b) == rankOf(a, c) {
		t.Errorf("a ranks b %d and c %d, b ranks a %d", rankOf(a, b), rankOf(a, c), rankOf(b, a))
	}
}

// TestRecruit has a fetch that asks as many as it may try who rank before one of
// them, and leave the last of those who have a part for who turns out to have one.
func TestRecruit(t *testing.T) {
	s := newNode(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // nobody is there to be asked
	f := &Fetch{
		s: s.Service, rootKey: "root", wake: make(chan struct{}, 1),
		sources: make(map[peer.ID]*source), refused: make(map[peer.ID]time.Time),
	}
	defer f.work.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range 2 * maxSources {
		f.queue = append(f.queue, peer.AddrInfo{ID: peer.ID(fmt.Sprintf("peer %d", i))})
	}
	now := time.Now()
	for range 100 {
		f.recruit(ctx, now)
		asked := 0
		for p, src := range f.sources {
			src.state = statePart
			switch {
			case src.ended:
				delete(f.sources, p)
			case !src.leaves:
				asked++
			}
		}
		if asked > maxParts+maxTried {
			t.Fatalf("%d are asked at a time", asked)
		}
		now = now.Add(tryEvery)
	}
	if len(f.sources) != maxParts {
		t.Errorf("%d are asked, want %d", len(f.sources), maxParts)
	}
	for _, info := range f.queue {
		for p, src := range f.sources {
			if f.rank(info.ID) < src.rank {
				t.Errorf("%s is asked, and %s, who ranks before, is not", p, info.ID)
			}
		}
	}
	for i := range 2 * maxSources {
		f.queue = append(f.queue, peer.AddrInfo{ID: peer.ID(fmt.Sprintf("seed %d", i))})
	}
	for range 100 {
		for _, src := range f.sources {
			src.state = stateWhole
		}
		now = now.Add(tryEvery)
		f.recruit(ctx, now)
	}
	if len(f.sources) != maxSources {
		t.Errorf("%d who have all are asked, want %d", len(f.sources), maxSources)
	}
}

// TestLeaves has a source that is left give what it was asked for, and nothing more.
func TestLeaves(t *testing.T) {
	f := &Fetch{s: newNode(t, nil).Service, places: make(map[string]*place), typical: 1000}
	src := &source{f: f, state: statePart, leaves: true, listed: make(map[uint32]*want)}
	f.sources = map[peer.ID]*source{"left": src}
	w := &want{key: "asked"}
	src.list(w, time.Now(), f.typical)
	if f.recruit(t.Context(), time.Now()); src.ended || src.offers(&want{key: "other"}) {
		t.Error("it ends before it has given what it was asked for, or is asked for more")
	}
	src.forget(w)
	if f.recruit(t.Context(), time.Now()); !src.ended {
		t.Error("it stays when it has given everything")
	}
}

// TestHopeless says when the fall-back is asked for what no source has.
func TestHopeless(t *testing.T) {
	const patience = 10 * time.Second
	now := time.Now()
	for _, tc := range []struct {
		name      string
		fed       bool // the source says so
		own       bool // this one asks somebody who has all itself
		age, gave time.Duration
		want      bool
	}{
		{"it may get it", false, false, shareGrace / 2, 0, false},
		{"it does not get it", false, false, 2 * shareGrace, 0, true},
		{"it is fed", true, false, 2 * shareGrace, time.Hour, false},
		{"it is fed, and much comes", true, false, time.Hour, 0, false},
		{"it is fed, and nothing comes", true, false, 2 * patience, 2 * patience, true},
		{"both are fed, with something else", true, true, 2 * shareGrace, 0, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := &Fetch{o: Options{Patience: patience}, fed: tc.own, gave: now.Add(-tc.gave), places: make(map[string]*place), tables: make(map[string]*table)}
			node := &table{key: "node"}
			f.places["leaf"] = &place{t: node}
			f.sources = map[peer.ID]*source{"other": {f: f, state: statePart, fed: tc.fed}}
			p := &planner{f: f, now: now}
			if got := p.hopeless(&want{key: "leaf", at: now.Add(-tc.age)}); got != tc.want {
				t.Errorf("hopeless: %v, want %v", got, tc.want)
			}
		})
	}
}

// TestTellsThatItIsFed has a node that asks for a root learn that the other one who
// does asks somebody who has all, and that he does not any more.
func TestTellsThatItIsFed(t *testing.T) {
	tr := newTree(t, 10, 30_000)
	seed, near, far := newNode(t, nil), newNode(t, nil), newNode(t, nil)
	seed.add(t, tr)
	connect(t, near.host, seed.host)
	f := near.Fetch(t.Context(), tr.root.Cid(), Options{Fallback: never})
	defer f.Close()
	get(t, f, tr.root.Cid())
	connect(t, far.host, near.host)
	g := far.Fetch(t.Context(), tr.root.Cid(), Options{Fallback: never})
	defer g.Close()
	fed := func() bool {
		g.mu.Lock()
		defer g.mu.Unlock()
		src := g.sources[near.host.ID()]
		return src != nil && src.fed
	}
	eventually(t, "the other one is fed", fed)
	if err := near.host.Network().ClosePeer(seed.host.ID()); err != nil {
		t.Fatal(err)
	}
	if err := seed.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the other one is fed no more", func() bool { return !fed() })
}
