package swarm

import "time"

const (
	rateEvery = 200 * time.Millisecond // between samples of a rate
	leastRate = 16 << 10               // bytes per second that a source is taken to have
)

// offers tells whether a source says that it has a want. The root and what no known
// node links to is asked of everybody.
func (s *source) offers(w *want) bool {
	if s.state <= stateNone || s.leaves {
		return false
	}
	if at, no := s.lacks[w.key]; no && (s.state == stateWhole || time.Since(at) < againAfter) {
		return false // a part may have got it meanwhile; that a root has come it tells nobody
	}
	if s.state == stateWhole {
		return true
	}
	at := s.f.places[w.key]
	return at == nil || at.t == nil || s.bits[at.t.key].has(at.i)
}

// list notes that a want is asked of the source.
func (s *source) list(w *want, now time.Time, size int) {
	if s.queued == 0 {
		s.since, s.last, s.mark, s.got = now, now, now, 0
	}
	eta := time.Duration(float64(s.queued+size) / s.pace(now, size) * float64(time.Second))
	w.src, w.number, w.listed, w.held = s, s.number, now, false
	w.expect = expectLeast + 4*(eta+s.rtt)
	if s.rate == 0 { // it may have many to serve, and says that it lives
		w.expect = max(w.expect, expectFirst)
	}
	s.number++
	s.listed[w.number] = w
	s.count()
}

// count estimates the bytes that will come.
func (s *source) count() { s.queued = (len(s.listed) - s.held) * s.f.typical }

// forget takes a want off the list.
func (s *source) forget(w *want) {
	delete(s.listed, w.number)
	if w.held {
		w.held = false
		s.held--
	}
	s.count()
}

// drop is forget, and the peer is told.
func (s *source) drop(w *want) {
	if s.listed[w.number] != w {
		return
	}
	s.forget(w)
	if n := len(s.cancels) - 1; n >= 0 && s.cancels[n].first+s.cancels[n].n == w.number {
		s.cancels[n].n++
		return
	}
	s.cancels = append(s.cancels, runOf{w.number, 1})
}

// gave notes that a block came.
func (s *source) gave(w *want, n int, now time.Time) {
	if w.src == s {
		s.forget(w)
		w.src = nil
	}
	s.late, s.last = 0, now
	if !s.since.IsZero() {
		if d := now.Sub(s.since); s.rtt == 0 || d < s.rtt {
			s.rtt = d
		}
		s.since = time.Time{}
	}
	s.got += n
	d := now.Sub(s.mark)
	switch {
	case s.rate == 0 && d > 0:
		s.rate = float64(s.got) / d.Seconds()
	case d >= rateEvery:
		s.rate += 0.4 * (float64(s.got)/d.Seconds() - s.rate)
		s.mark, s.got = now, 0
	}
}

// remains returns the seconds that a source should need for what it is asked for. A
// part of a block has come since the last one did, unless it should have been all.
func (s *source) remains(now time.Time, size int) float64 {
	pace := s.pace(now, size)
	d := float64(s.queued) / pace
	if gone := now.Sub(s.last).Seconds(); gone < 2*float64(size)/pace {
		d -= gone
	}
	return d
}

// pace returns the bytes per second that are to be expected of a source.
func (s *source) pace(now time.Time, size int) float64 {
	if s.rate == 0 {
		return guessRate
	}
	rate := s.rate
	if d := now.Sub(s.mark); s.queued > 0 && d > time.Second {
		rate = min(rate, float64(s.got+size)/d.Seconds())
	}
	return max(rate, leastRate)
}
