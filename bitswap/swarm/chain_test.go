package swarm

import (
	"context"
	"crypto/sha256"
	"testing"

	"github.com/ipfs/go-cid"

	"github.com/hypha-node/hypha-node/internal/dagpb"
	"github.com/hypha-node/hypha-node/internal/sha256pair"
)

// TestStepsGiveTheContentsHash gets a file in order, and its hash from the steps that
// the leaves came with.
func TestStepsGiveTheContentsHash(t *testing.T) {
	a, b := newNode(t, nil), newNode(t, nil)
	tr := newTree(t, 12, chainLeast)
	a.add(t, tr)
	connect(t, b.host, a.host)
	f := b.fetch(t, tr)
	get(t, f, tr.root.Cid())
	f.Links(tr.root.Cid(), dagpb.Links(tr.root.Cid(), tr.root.RawData()))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ch, err := f.GetBlocks(ctx, tr.cids())
	if err != nil {
		t.Fatal(err)
	}
	came := make(map[cid.Cid]sha256pair.Step)
	for blk := range ch {
		if s, ok := blk.(steppedBlock); ok {
			came[blk.Cid()] = s.HashStep()
		}
	}
	content, whole := sha256pair.New(), sha256.New()
	_, steps := sha256pair.New().LeafStep(tr.leaves[0].RawData())
	for i, leaf := range tr.leaves {
		whole.Write(leaf.RawData())
		// Without SHA-NI there are none.
		if took := content.Take(came[leaf.Cid()], len(leaf.RawData())); took != (steps != sha256pair.Step{}) {
			t.Fatalf("leaf %d: its step was taken: %v", i, took)
		} else if !took {
			content.Add(leaf.RawData())
		}
	}
	if content.Sum() != [sha256.Size]byte(whole.Sum(nil)) {
		t.Error("wrong hash of the content")
	}
}

// TestChainFollows says which leaves go on with a content.
func TestChainFollows(t *testing.T) {
	full, next := &table{links: make([]cid.Cid, 174)}, &table{links: make([]cid.Cid, 3)}
	small, other := &table{links: make([]cid.Cid, 2)}, &table{links: make([]cid.Cid, 2)}
	type step struct {
		t    *table
		i    int
		goes bool
	}
	for _, c := range []struct {
		name  string
		steps []step
	}{
		{"in order", []step{{next, 0, true}, {next, 1, true}, {next, 2, true}}},
		{"not from the front", []step{{next, 1, false}, {next, 2, false}}},
		{"one is missing, and comes late", []step{{next, 0, true}, {next, 2, false}, {next, 1, false}, {next, 2, false}}},
		{"another file", []step{{small, 0, true}, {small, 1, true}, {other, 0, true}, {other, 1, true}}},
		{"another file, while one comes", []step{{next, 0, true}, {small, 0, true}, {next, 1, false}, {small, 1, false}, {other, 0, true}}},
		{"behind a full node that is not through", []step{{full, 0, true}, {full, 1, true}, {next, 0, false}, {next, 1, false}}},
		{"the same twice", []step{{next, 0, true}, {next, 0, false}, {next, 1, false}}},
	} {
		var ch chain
		for n, s := range c.steps {
			if ch.follow(s.t, s.i); (ch.sum != nil) != s.goes {
				t.Errorf("%s: leaf %d goes on: %v", c.name, n, ch.sum != nil)
			}
		}
	}
	var ch chain
	for i := range full.links {
		ch.follow(full, i)
	}
	before := ch.sum
	if ch.follow(next, 0); before == nil || ch.sum != before {
		t.Error("the node behind a full one does not go on with its content")
	}
}

// TestChainRefuses takes no other bytes for a leaf, in order or not.
func TestChainRefuses(t *testing.T) {
	tr := newTree(t, 3, chainLeast)
	nodes := &table{links: tr.cids()}
	for _, first := range []int{0, 1} {
		var ch chain
		if _, ok := ch.verify(tr.leaves[first].Cid(), tr.leaves[first].RawData(), place{t: nodes, i: first}); !ok {
			t.Errorf("leaf %d is refused", first)
		}
		if _, ok := ch.verify(tr.leaves[first+1].Cid(), tr.leaves[0].RawData(), place{t: nodes, i: first + 1}); ok {
			t.Errorf("leaf %d may have other bytes", first+1)
		}
	}
}
