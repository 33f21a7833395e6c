package swarm

import (
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

func newAsker(id string, sp *spread, shared bool) *asker {
	a := &asker{p: peer.ID(id), sp: sp, wake: make(chan struct{}, 1), sent: make(map[string]struct{}), shared: shared}
	sp.join(a, peer.AddrInfo{ID: "self", Addrs: someAddrs()})
	return a
}

func someAddrs() []ma.Multiaddr { return []ma.Multiaddr{ma.StringCast("/ip4/192.0.2.1/tcp/4101")} }

// TestSpreadGivesEachBlockOnce follows two askers of one holder.
func TestSpreadGivesEachBlockOnce(t *testing.T) {
	sp := &spread{state: stateWhole, askers: make(map[*asker]struct{}), given: make(map[string]gift), pace: time.Second}
	a, b := newAsker("a", sp, true), newAsker("b", sp, true)
	leaf := testCID(t) // of which only the codec counts
	items := []item{{number: 0, key: "x", c: leaf}, {number: 1, key: "y", c: leaf}}
	sp.push(a, items...)
	sp.push(b, items...)
	now := time.Now()
	const idle, busy = 0.0, 1.0
	next := func(who *asker, load float64) string {
		it, wait, _ := sp.next(who, now, load, true)
		if wait == 0 && len(who.queue) > 0 {
			t.Error("waits for ever with something to send")
		}
		return it.key
	}
	if got := next(a, idle); got != "x" {
		t.Fatalf("a is given %q first", got)
	}
	if it, _, held := sp.next(b, now, idle, true); it.key != "y" || len(held) != 1 || held[0] != 0 {
		t.Fatalf("b is given %q, want what nobody has, and told of %v", it.key, held)
	}
	if got := next(b, idle); got != "" {
		t.Fatalf("b is given %q, which a has", got)
	}
	if _, _, held := sp.next(b, now, idle, true); len(held) != 0 {
		t.Fatalf("b is told of %v again", held)
	}
	sp.mode(b, false)
	if got := next(b, busy); got != "x" {
		t.Fatalf("b, who knows nobody, is given %q", got)
	}
	now = now.Add(minHold + time.Millisecond)
	if got := next(a, busy); got != "" {
		t.Fatalf("a is given %q while others wait", got)
	}
	if d := sp.hold(item{c: leaf}, busy); d > minHold+maxHold || d <= minHold {
		t.Fatalf("a block is held back for %v while others wait", d)
	}
	if got := next(a, idle); got != "y" {
		t.Fatalf("a is given %q when it was held back long enough", got)
	}
	sp.push(a, item{number: 2, key: "z", c: leaf}, item{number: 3, key: "w", c: leaf})
	if it, wait, _ := sp.next(a, now, busy, false); it.key != "z" || wait >= 0 || len(a.queue) != 2 {
		t.Fatalf("a is to be given %q, and %d are left before it may have it", it.key, len(a.queue))
	}
	sp.cancel(a, []runOf{{2, 1}})
	if got := next(a, busy); got != "w" {
		t.Fatalf("a is given %q after a cancel", got)
	}
	sp.mode(b, true)
	select { // what happened so far
	case <-b.wake:
	default:
	}
	sp.leave(a)
	if len(b.wake) == 0 {
		t.Error("b is not told that a, for whom something is held back, has left")
	}
	sp.push(b, item{number: 4, key: "w", c: leaf})
	if got := next(b, busy); got != "w" {
		t.Fatalf("b is given %q, which nobody who is there has", got)
	}
	if !sp.leave(b) || len(sp.given) != 0 {
		t.Errorf("%d blocks are remembered for nobody", len(sp.given))
	}
}

// TestSpreadTellsOfOthers has askers know of each other.
func TestSpreadTellsOfOthers(t *testing.T) {
	sp := &spread{askers: make(map[*asker]struct{}), given: make(map[string]gift)}
	a := newAsker("a", sp, false)
	a.info.ID = "a"
	b := newAsker("b", sp, false)
	_, told := sp.news(b)
	if len(told) != 1 || told[0].ID != "a" {
		t.Errorf("b is told of %v", told)
	}
	if _, told := sp.news(a); len(told) != 1 {
		t.Errorf("a is told of %v", told)
	}
	if _, told := sp.news(a); len(told) != 0 {
		t.Errorf("a is told twice, of %v", told)
	}
	c := &asker{p: "c", sp: sp, peek: true, wake: make(chan struct{}, 1), sent: make(map[string]struct{})}
	sp.join(c, c.info)
	if _, told := sp.news(a); len(told) != 0 {
		t.Errorf("a is told of %v, who only looks", told)
	}
	d := &asker{p: "d", sp: sp, wake: make(chan struct{}, 1), sent: make(map[string]struct{})}
	sp.join(d, peer.AddrInfo{ID: "d"})
	if _, told := sp.news(d); len(told) != 2 {
		t.Errorf("d is told of %v", told)
	}
	for _, tc := range []struct {
		name string
		info peer.AddrInfo
		want int
	}{
		{"who has not told his addresses", peer.AddrInfo{ID: "d"}, 0},
		{"who has told them", peer.AddrInfo{ID: "d", Addrs: someAddrs()}, 1},
		{"who tells them again", peer.AddrInfo{ID: "d", Addrs: someAddrs()}, 0},
		{"who does not ask", peer.AddrInfo{ID: "e", Addrs: someAddrs()}, 0},
		{"who only looks", peer.AddrInfo{ID: "c", Addrs: someAddrs()}, 0},
	} {
		sp.introduce(tc.info)
		if _, told := sp.news(a); len(told) != tc.want {
			t.Errorf("a is told of %v, %s", told, tc.name)
		}
		if _, told := sp.news(c); len(told) != 0 {
			t.Errorf("c, who only looks, is told of %v", told)
		}
	}
}

// TestSpreadTellsOfFew holds that what askers are told of each other does not grow with
// the square of their number, and that everybody is told of some.
func TestSpreadTellsOfFew(t *testing.T) {
	const crowd = 300
	sp := &spread{askers: make(map[*asker]struct{}), given: make(map[string]gift)}
	heard := make([]int, crowd)
	var all []*asker
	for i := range crowd {
		all = append(all, newAsker(string(rune('a'+i)), sp, true))
		for k, a := range all { // they are told at once
			_, told := sp.news(a)
			heard[k] += len(told)
		}
	}
	for i, n := range heard {
		if n <= maxParts || n > maxHeard {
			t.Errorf("asker %d of %d is told of %d others", i, crowd, n)
		}
	}
}
