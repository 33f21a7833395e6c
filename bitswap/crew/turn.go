package crew

import (
	"cmp"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// claimer is a node that may claim a range.
type claimer struct {
	id      peer.ID
	load    int // ranges near by that it has claimed
	pending int // of them, what the origin has not sent yet
}

// turn tells whether this node is to claim a range that nobody has claimed.
func (sh *Share) turn(i int, now time.Time) bool {
	own := claimer{id: sh.s.cfg.Host.ID(), load: sh.load(sh.mine)}
	var others []claimer
	for _, m := range sh.members {
		if m.present(now) && !m.told && now.Sub(m.since) < hearTime {
			return false // what it has claimed is on its way
		}
		// The others may be a little behind.
		if m.present(now) && !m.no && !m.whole && m.at <= i && i < m.at+2*sh.near() {
			load := sh.load(m.claims)
			others = append(others, claimer{m.id, load, load - sh.load(m.got)})
		}
	}
	since, ok := sh.r.seen[i]
	if !ok {
		since = now
		sh.r.seen[i] = now
	}
	return now.Sub(since) >= time.Duration(before(i, own, others))*graceTime
}

// load is how many ranges of a set are near the reader.
func (sh *Share) load(m marks) int {
	first := int(sh.r.pos / sh.step)
	return m.count(max(0, first-sh.near()), min(sh.count, first+sh.near()))
}

// evenly is how many ranges somebody may have claimed more than others and still be
// taken to have claimed as many.
const evenly = 1

// before is how many others claim a range before a node does: those who have claimed
// less, since who claims a range sends it to all others, and of those who have claimed
// about the same who comes first when they go round. Who has claimed as much as it may
// before the origin has sent it is not waited for.
func before(i int, own claimer, others []claimer) (n int) {
	all := append([]claimer{own}, others...)
	slices.SortFunc(all, func(a, b claimer) int { return cmp.Compare(a.id, b.id) })
	place := func(c claimer) int { return (slices.Index(all, c) - i%len(all) + len(all)) % len(all) }
	mine := place(own)
	for _, c := range others {
		switch {
		case c.pending >= maxAhead+maxAsked, own.load+evenly < c.load:
		case c.load+evenly < own.load || place(c) < mine:
			n++
		}
	}
	return n
}
