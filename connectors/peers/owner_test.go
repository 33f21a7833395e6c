package peers

import (
	"context"
	"fmt"
	"testing"
	"time"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
)

// circles returns what n receivers of a file think of it, which has n·k leaves.
func circles(t *testing.T, n, k int) (all []*circle, leaves []cid.Cid) {
	t.Helper()
	var others []peer.AddrInfo
	for i := range n { // each is told in another order
		others = append(others, peer.AddrInfo{ID: peer.ID(fmt.Sprint("receiver ", i))})
	}
	for i := range n * k {
		leaves = append(leaves, blocks.NewBlock(fmt.Appendf(nil, "leaf %d", i)).Cid())
	}
	node := blocks.NewBlock([]byte("node")).Cid()
	for i := range n {
		s := &Service{self: others[i].ID}
		c := &circle{s: s, from: "sender", banned: make(map[peer.ID]*sentence), places: make(map[shortHash]int32)}
		c.others, _ = s.circle(c.from, append(others[i:], others[:i]...))
		c.Links(node, leaves)
		all = append(all, c)
	}
	return all, leaves
}

// TestOwners holds that those who receive a file agree on who asks the sender for
// each of its blocks, and that any part of the file is shared by all alike.
func TestOwners(t *testing.T) {
	const n, k = 5, 4
	all, leaves := circles(t, n, k)
	now := time.Now()
	count := make(map[peer.ID]int)
	for i, c := range leaves {
		var own []peer.ID
		for _, w := range all {
			if w.owner(c, now) == w.from {
				own = append(own, w.s.self)
			}
		}
		if len(own) != 1 {
			t.Fatalf("leaf %d belongs to %q", i, own)
		}
		for _, w := range all {
			if to := w.owner(c, now); to != own[0] && w.s.self != own[0] {
				t.Errorf("leaf %d belongs to %q, but %q asks %q", i, own[0], w.s.self, to)
			}
		}
		if count[own[0]]++; count[own[0]] > i/n+1 {
			t.Errorf("of the first %d leaves %d belong to %q", i+1, count[own[0]], own[0])
		}
	}
	gone := all[1].s.self
	all[0].punish(gone)
	for i, c := range leaves {
		if to := all[0].owner(c, now); to == gone {
			t.Errorf("leaf %d is asked of one that is not asked", i)
		}
	}
}

// TestPatience holds who is given up: who is silent for long, and who says for too
// long that it waits itself.
func TestPatience(t *testing.T) {
	const patience, stall = 3 * time.Second, 30 * time.Second
	for _, tc := range []struct {
		name          string
		to            peer.ID
		silent, idle  time.Duration
		waits, gaveUp bool
	}{
		{"it waits, too", "receiver", time.Second, stall / 2, true, false},
		{"it waits for too long", "receiver", time.Second, stall, true, true},
		{"it is silent", "receiver", patience, patience, true, true},
		{"nothing is asked", "receiver", time.Hour, time.Hour, false, false},
		{"the sender is slow", "sender", time.Second, time.Hour, true, false},
		{"the sender is silent", "sender", stall, stall, true, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ctx, stop := context.WithCancelCause(t.Context())
			l := newLine(tc.to, stop)
			now := time.Now().Add(24 * time.Hour)
			l.wire = &wire{}
			l.wire.heard.Store(now.Add(-tc.silent).UnixNano())
			l.gave = now.Add(-tc.idle)
			if tc.waits {
				l.asked[0] = cid.Undef
			}
			w := &circle{s: &Service{cfg: Config{Patience: patience, Stall: stall}}, from: "sender", lines: map[peer.ID]*line{tc.to: l}}
			if w.look(now); (ctx.Err() != nil) != tc.gaveUp {
				t.Errorf("given up: %v", ctx.Err() != nil)
			}
		})
	}
}
