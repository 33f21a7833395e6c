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
	load    int       // ranges near by that it has claimed
	pending int       // of them, what the origin has not sent yet
	moved   time.Time // when it claimed or got a range last, if it gets to the one in question
}

// full tells whether a node has claimed as much as it may before the origin has sent it.
func (c claimer) full() bool { return c.pending >= maxAhead+maxAsked }

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
			c := claimer{id: m.id, load: load, pending: load - sh.load(m.got)}
			if i < m.at+sh.near() {
				c.moved = m.moved
			}
			others = append(others, c)
		}
	}
	since, ok := sh.r.seen[i]
	if !ok {
		since = now
		sh.r.seen[i] = now
	}
	first := before(i, own, others)
	for _, c := range first {
		if c.moved.After(since) {
			since = c.moved
		}
	}
	return now.Sub(since) >= time.Duration(len(first))*(graceTime+2*sh.r.each)
}

// mayClaim is how many ranges are claimed before the origin can be asked for them: who
// is alone needs no time to tell others, and who comes is to find some left.
func (r *Reader) mayClaim(now time.Time) int {
	if r.sh.crowded(now) {
		return maxAhead
	}
	return max(0, maxSolo-r.asking)
}

// ahead is how many ranges before one are claimed that the origin is not asked for yet.
func (r *Reader) ahead(before int) (n int) {
	for i := range r.sh.claims {
		if i >= before {
			continue
		}
		if sl := r.slots[i]; r.sh.mine.has(i) && (sl == nil || !sl.busy && sl.filled < len(sl.buf)) {
			n++
		}
	}
	return n
}

// load is how many ranges of a set are near the reader.
func (sh *Share) load(m marks) int {
	first := int(sh.r.pos / sh.step)
	return m.count(max(0, first-sh.near()), min(sh.count, first+sh.near()))
}

// evenly is how many ranges somebody may have claimed more than others and still be
// taken to have claimed as many.
const evenly = 1

// before are those who claim a range before a node does: who has claimed less, since
// who claims a range sends it to all others, and of those who have claimed about the
// same who comes first when they go round. Who can't claim more is waited for only
// where it has claimed less: the origin is busy with that, and who is served faster by
// it would have to send more than its share to all others.
func before(i int, own claimer, others []claimer) (first []claimer) {
	all := append([]claimer{own}, others...)
	slices.SortFunc(all, func(a, b claimer) int { return cmp.Compare(a.id, b.id) })
	at := func(c claimer) int {
		return slices.IndexFunc(all, func(other claimer) bool { return other.id == c.id })
	}
	place := func(c claimer) int { return (at(c) - i%len(all) + len(all)) % len(all) }
	mine := place(own)
	for _, c := range others {
		switch {
		case c.full() && c.load >= own.load, own.load+evenly < c.load:
		case c.full(), c.load+evenly < own.load, place(c) < mine:
			first = append(first, c)
		}
	}
	return first
}
