package swarm

import (
	"context"
	"testing"
	"time"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
)

// never is a fall-back from which nothing comes before it is given up.
func never(ctx context.Context, _ []cid.Cid) (<-chan blocks.Block, error) {
	ch := make(chan blocks.Block)
	context.AfterFunc(ctx, func() { close(ch) })
	return ch, nil
}

// TestBegunTooLate has a node asked before it begins to fetch: it is asked again once
// it does.
func TestBegunTooLate(t *testing.T) {
	tr := newTree(t, 10, 30_000)
	seed, early, late := newNode(t, nil), newNode(t, nil), newNode(t, nil)
	seed.add(t, tr)
	connect(t, early.host, late.host)
	f := early.Fetch(t.Context(), tr.root.Cid(), Options{Fallback: never})
	defer f.Close()
	eventually(t, "the other one says that it has nothing", func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return !f.refused[late.host.ID()].IsZero()
	})
	connect(t, late.host, seed.host)
	get(t, late.fetch(t, tr), tr.root.Cid())
	eventually(t, "the other one is asked again", func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		src := f.sources[late.host.ID()]
		return src != nil && src.state == statePart
	})
	get(t, f, tr.root.Cid())
}

// TestPeek looks at the root of a small file: nothing else comes along, and nobody is
// served from a look.
func TestPeek(t *testing.T) {
	tr := newTree(t, 3, 1000)
	a, b := newNode(t, nil), newNode(t, nil)
	a.add(t, tr)
	connect(t, b.host, a.host)
	f := b.Fetch(t.Context(), tr.root.Cid(), Options{Fallback: noFallback, Peek: true})
	defer f.Close()
	get(t, f, tr.root.Cid())
	if b.fetching(keyOf(tr.root.Cid())) != nil {
		t.Error("a look is told as a fetch")
	}
	f.Close()
	if got, want := a.Traffic().Sent, int64(len(tr.root.RawData())); got != want {
		t.Errorf("%d bytes were sent for a node of %d", got, want)
	}
}

// TestTrim has a source that was asked for everything, while it was the only one,
// asked for what it can send in a moment.
func TestTrim(t *testing.T) {
	tr := newTree(t, 100, 100)
	f := &Fetch{
		root: tr.root.Cid(), rootKey: keyOf(tr.root.Cid()), wants: make(map[string]*want), places: make(map[string]*place),
		typical: 1000, wake: make(chan struct{}, 1), s: newNode(t, nil).Service,
	}
	now := time.Now()
	first, second := &source{f: f, p: "first"}, &source{f: f, p: "second"}
	for _, s := range []*source{first, second} {
		s.state, s.kick, s.heard, s.rate, s.mark = stateWhole, make(chan struct{}, 1), now, 20_000, now
		s.listed = make(map[uint32]*want)
	}
	for _, c := range tr.cids() {
		w := &want{c: c, key: keyOf(c), at: now}
		f.order = append(f.order, w)
		first.list(w, now, f.typical)
	}
	p := &planner{f: f, now: now, ready: []*source{first, second}, wholes: 2}
	p.trim(first)
	keeps := uint32(20_000 * queueTime / 1000)
	if len(first.cancels) != 1 || first.cancels[0] != (runOf{keeps, 100 - keeps}) || len(first.listed) != int(keeps) {
		t.Errorf("%d blocks are asked for, %v taken back, want the first %d", len(first.listed), first.cancels, keeps)
	}
}

// TestLacksAgain has a peer that fetches, too, asked again for what it did not have:
// that the root has come it does not tell.
func TestLacksAgain(t *testing.T) {
	w := &want{key: "root"}
	s := &source{f: &Fetch{}, state: statePart, lacks: map[string]time.Time{w.key: time.Now()}}
	if s.offers(w) {
		t.Error("asked again at once")
	}
	s.lacks[w.key] = time.Now().Add(-2 * againAfter)
	if !s.offers(w) {
		t.Error("not asked again")
	}
	if s.state = stateWhole; s.offers(w) {
		t.Error("who has all of it does not get what it lacks")
	}
}
