package crew

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

const (
	planTime = 250 * time.Millisecond // after which it is looked again what is late
	maxReads = 2                      // ranges that one member sends at once
	maxAsked = 2                      // ranges that the origin sends at once
	maxSolo  = 4                      // likewise, as long as nobody else has come
	maxAhead = 8                      // ranges that were claimed, and that the origin is not asked for yet
	// How long who is alone takes ranges, so that others may still come at no cost.
	soloTime = 5 * time.Second
	// How long a member may take to tell of itself, and to hear of a claim.
	hearTime = 3 * time.Second
	// How long a range may be claimed by nobody before another than the one whose turn
	// it is claims it, and as much longer for each after that.
	graceTime = time.Second
	// How long the range that the reader waits for may bring nothing, and how much
	// longer than others it may take: the least, and times.
	stallTime, slackTime = 20 * time.Second, 10 * time.Second
	slackTimes           = 4
	slowTime             = 20 * time.Second // for which a member that stalled has claimed nothing; doubled each time
	maxStalls            = 6
	againTime            = 500 * time.Millisecond
	maxFails             = 16               // reads of a member that fail in a row
	hopeTime             = 30 * time.Second // for which others are waited for when the origin has failed
)

// near is how many ranges ahead of the last that it took in a member claims any.
func (sh *Share) near() int { return max(1, int(Window/sh.step)) }

// present tells whether a member is there, and does what it says.
func (m *member) present(now time.Time) bool {
	return (m.links > 0 || m.whole) && now.After(m.slow)
}

// has tells whether a member sends a range, or will.
func (m *member) has(i int) bool { return m.whole || m.claims.has(i) || m.got.has(i) }

// mayAsk tells whether a member is asked for a range; one that the reader waits for
// need not wait for others.
func (m *member) mayAsk(i int, now time.Time, first bool) bool {
	most := maxReads
	if first {
		most++
	}
	return m.reads < most && now.After(m.hold) && now.Sub(m.refused[i]) > graceTime
}

// crowded tells whether there is anybody else.
func (sh *Share) crowded(now time.Time) bool {
	for _, m := range sh.members {
		if m.present(now) {
			return true
		}
	}
	return false
}

// claimed tells whether somebody else sends a range, or will.
func (sh *Share) claimed(i int, now time.Time) bool {
	for _, m := range sh.members {
		if m.present(now) && m.has(i) {
			return true
		}
	}
	return false
}

// hopes tells whether somebody else may bring a range.
func (sh *Share) hopes(i int, now time.Time) bool {
	for _, m := range sh.members {
		if m.present(now) && (m.has(i) || !m.no) {
			return true
		}
	}
	return false
}

// plan begins what is to be fetched now.
func (sh *Share) plan() {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	r, now := sh.r, time.Now()
	if r == nil || r.over || r.lone != nil || r.pos >= sh.content.Size {
		return
	}
	r.watch(now)
	news := false
	first := int(r.pos / sh.step)
	for i := first; i < r.limit(first, now); i++ {
		sl := r.slots[i]
		if sl != nil && (sl.busy || sl.filled == len(sl.buf)) {
			continue
		}
		m, mine, fresh := sh.choose(i, now)
		news = news || fresh
		if m == nil && !mine || mine && (r.asking >= r.most(now) || !sh.settled(i, now)) {
			continue
		}
		if sl == nil {
			if sl = r.room(i, i == first); sl == nil {
				break
			}
		}
		sl.busy, sl.left, sl.filled, sl.from, sl.began, sl.moved = true, false, 0, "", now, now
		if m != nil {
			sl.from = m.id
			m.reads++
		} else {
			r.asking++
		}
		r.begin(sl, m)
	}
	if news {
		sh.tell()
	}
}

// limit is before which range anything is fetched: the end of the window, or what lacks
// before the ranges that are here when there is nobody any more.
func (r *Reader) limit(first int, now time.Time) int {
	sh := r.sh
	switch {
	case sh.crowded(now):
		return min(first+sh.near(), sh.count)
	case r.waits(now):
		return min(first+maxSolo, sh.count)
	}
	end := first
	for i, sl := range r.slots {
		if sl.busy || sl.filled == len(sl.buf) {
			end = max(end, i)
		}
	}
	return end
}

// waits tells whether others may still come who began at about the same time.
func (r *Reader) waits(now time.Time) bool {
	return r.sh.company && r.failed == nil && !r.alone && r.lone == nil && now.Sub(r.began) < soloTime
}

// most is how many ranges the origin is asked for at once.
func (r *Reader) most(now time.Time) int {
	if r.sh.crowded(now) {
		return maxAsked
	}
	return maxSolo
}

// choose says who sends a range: a member, or the origin if mine is true, or nobody
// yet. fresh says that it was claimed just now, or dropped.
func (sh *Share) choose(i int, now time.Time) (from *member, mine, fresh bool) {
	claimed, had := false, sh.mine.has(i)
	for _, m := range sh.members {
		if !m.present(now) || !m.has(i) || had && m.id > sh.s.cfg.Host.ID() && !m.whole && !m.got.has(i) {
			continue // two have claimed it at once: it stays with the lesser
		}
		claimed = true
		if m.mayAsk(i, now, i == int(sh.r.pos/sh.step)) && (from == nil || m.reads < from.reads) {
			from = m
		}
	}
	switch {
	case claimed:
		sh.mine.put(i, false)
		return from, false, had
	case had:
		return nil, true, false
	case sh.no || sh.r.ahead(i) >= sh.r.mayClaim(now) || !sh.turn(i, now):
		return nil, false, false
	}
	sh.claim(i, now)
	return nil, true, true
}

// claim notes that this node will have a range from the origin.
func (sh *Share) claim(i int, now time.Time) {
	sh.mine.put(i, true)
	sh.serial++
	sh.claims[i] = claim{sh.serial, now}
}

// claim is when a range was claimed: by number, and in time.
type claim struct {
	serial int
	at     time.Time
}

// settled tells whether all members have heard of a claim. Who had claimed the same
// before it heard has told so before it said that it heard: a range is not asked for
// twice. Who came later tells what it has claimed before, and is told of this claim
// before it makes any more.
func (sh *Share) settled(i int, now time.Time) bool {
	c := sh.claims[i]
	for _, m := range sh.members {
		late := m.since.After(c.at)
		since := c.at
		if late {
			since = m.since
		}
		switch {
		case !m.present(now) || m.deaf || m.whole || m.heard >= c.serial || late && m.told:
		case now.Sub(since) > hearTime:
			m.deaf = true
		default:
			return false
		}
	}
	return true
}

// room returns memory for a range, nil if there is none; needed says that there has to be.
func (r *Reader) room(i int, needed bool) *slot {
	sh := r.sh
	var buf []byte
	switch n := len(r.free); {
	case n > 0:
		buf, r.free = r.free[n-1], r.free[:n-1]
	case len(r.slots) >= sh.near() && !needed:
		return nil
	case sh.s.cfg.Memory == nil:
		buf = make([]byte, sh.step)
	case sh.s.cfg.Memory.TryTake(sh.step):
		r.taken += sh.step
		buf = make([]byte, sh.step)
	case needed:
		buf = make([]byte, sh.step)
	default:
		return nil
	}
	off := max(int64(i)*sh.step, r.start)
	sl := &slot{off: off, buf: buf[:sh.end(i)-off]}
	r.slots[i] = sl
	return sl
}

// watch gives up a member that keeps the reader waiting: it is slow for a while.
func (r *Reader) watch(now time.Time) {
	sh := r.sh
	sl := r.slots[int(r.pos/sh.step)]
	if sl == nil || !sl.busy || sl.from == "" {
		if r.failed != nil {
			sh.tell() // whether there is hope left
		}
		return
	}
	late := r.pace > 0 && now.Sub(sl.began) > slackTime+slackTimes*r.pace
	if m := sh.members[sl.from]; now.Sub(sl.moved) > stallTime || late {
		if m != nil {
			m.slow = now.Add(slowTime << m.stalls) // who does so again is trusted less
			m.stalls = min(m.stalls+1, maxStalls)
		}
		sl.cancel()
	}
}

// fromOrigin fetches a range from the origin.
func (r *Reader) fromOrigin(sl *slot, open func(off, n int64) (io.ReadCloser, bool, error)) {
	body, parts, err := open(sl.off, int64(len(sl.buf)))
	if err == nil {
		if parts {
			err = r.fill(sl, body.Read)
		}
		err = errors.Join(err, body.Close())
	}
	sh := r.sh
	sh.mu.Lock()
	defer sh.mu.Unlock()
	r.asking--
	sl.busy = false
	switch i := int(sl.off / sh.step); {
	case err == nil && parts:
		sh.got.put(i, sh.mine.has(i))
		r.each = smooth(r.each, time.Since(sl.began))
		r.note(sl, "origin")
	case sl.left:
		sl.filled = 0
		sh.mine.put(i, false)
	default:
		sl.filled = 0
		r.giveUp(err)
	}
	sh.tell()
}

// giveUp has the origin asked for no more ranges: it can't send any, or has failed.
func (r *Reader) giveUp(err error) {
	if r.done() != nil {
		return
	}
	sh := r.sh
	sh.no = true
	if r.failed = err; err == nil {
		r.alone = true
	}
	for i := int(r.pos / sh.step); i < sh.count; i++ {
		if sl := r.slots[i]; sl == nil || sl.from != "" || sl.filled < len(sl.buf) {
			sh.mine.put(i, false)
		}
	}
}

// fromMember fetches a range from a member.
func (r *Reader) fromMember(ctx context.Context, sl *slot, m *member) {
	err := r.ask(ctx, sl, m.id)
	sh, now := r.sh, time.Now()
	sh.mu.Lock()
	defer sh.mu.Unlock()
	m.reads--
	sl.busy = false
	if err == nil {
		r.note(sl, m.id.String())
		m.fails = 0
		r.pace = smooth(r.pace, now.Sub(sl.began))
	} else if r.done() == nil {
		if sl.filled == 0 {
			m.refused[int(sl.off/sh.step)] = now
		}
		sl.filled = 0
		m.hold = now.Add(againTime)
		if m.fails++; m.fails >= maxFails {
			m.slow = now.Add(slowTime)
		}
	}
	sh.tell()
}

// smooth takes one more time into a mean of them; 0 is none.
func smooth(mean, took time.Duration) time.Duration {
	if mean == 0 {
		return took
	}
	return (7*mean + took) / 8
}

// ask reads a range from a peer.
func (r *Reader) ask(ctx context.Context, sl *slot, p peer.ID) error {
	st, hang, err := r.sh.s.dial(ctx, p)
	if err != nil {
		return err
	}
	defer hang()
	defer reset(st) // it is at its end, or of no use
	if err := st.SetDeadline(time.Now().Add(greetTime)); err != nil {
		return err
	}
	if _, err := st.Write(head{kindRead, r.sh.content.Sum, sl.off, int64(len(sl.buf))}.encode()); err != nil {
		return err
	}
	if err := st.CloseWrite(); err != nil {
		return err
	}
	return r.fill(sl, func(p []byte) (int, error) {
		if err := st.SetReadDeadline(time.Now().Add(pieceTime)); err != nil {
			return 0, err
		}
		return readPiece(st, p)
	})
}

// fill fills a range.
func (r *Reader) fill(sl *slot, read func(p []byte) (int, error)) error {
	for at := 0; at < len(sl.buf); {
		n, err := read(sl.buf[at:min(len(sl.buf), at+maxFill)])
		at += n
		r.sh.mu.Lock()
		if n > 0 {
			sl.filled, sl.moved = at, time.Now()
			r.sh.tell()
		}
		r.sh.mu.Unlock()
		if err != nil && at < len(sl.buf) {
			return fmt.Errorf("range of %d bytes ends after %d: %w", len(sl.buf), at, err)
		}
	}
	return nil
}

// maxFill is how much of a range is read at once: bytes. Members get it from then on.
const maxFill = 64 << 10
