package swarm

import (
	"cmp"
	"math"
	"slices"
)

// trim takes back what a source was asked for before others were found, or while it
// seemed faster.
func (p *planner) trim(s *source) {
	room := p.room(s)
	if s.queued <= 2*room {
		return
	}
	listed := make([]*want, 0, len(s.listed))
	for _, w := range s.listed {
		if !w.held {
			listed = append(listed, w)
		}
	}
	slices.SortFunc(listed, func(a, b *want) int { return cmp.Compare(int32(a.number-b.number), 0) })
	for _, w := range listed[min(room/p.f.typical, len(listed)):] {
		p.f.unlist(w)
	}
}

// steal has sources that have nothing to do take over the last wants of those who
// will take longer than all that is wanted does: before that it would be for nothing,
// and what is on its way comes twice.
func (p *planner) steal() {
	for _, thief := range p.ready {
		if thief.queued > 0 || thief.ended || thief.late > 0 || thief.rate == 0 {
			continue
		}
		var victim *source
		longest := max(p.left, 0.1+thief.rtt.Seconds()+2*float64(p.f.typical)/thief.pace(p.now, p.f.typical))
		for _, s := range p.ready {
			if p.f.shared && s.state == stateWhole && s.pace(p.now, p.f.typical) >= p.best[s.state]/slowPart {
				continue // it holds things back
			}
			if d := s.remains(p.now, p.f.typical); d > longest {
				victim, longest = s, d
			}
		}
		if victim == nil {
			continue
		}
		var last *want
		for _, w := range victim.listed {
			if thief.offers(w) && (last == nil || w.number-last.number < 1<<31) {
				last = w
			}
		}
		if last != nil {
			p.f.unlist(last)
			p.ask(thief, last)
		}
	}
}

// sound tells whether a source that is not lame has a want.
func (p *planner) sound(w *want) bool {
	return slices.ContainsFunc(p.ready, func(s *source) bool { return !s.ended && !p.lame(s) && s.offers(w) })
}

// lame tells whether a source is late, or is known to be much slower than the fastest
// one of its kind.
func (p *planner) lame(s *source) bool {
	return s.late > 0 || s.rate > 0 && s.pace(p.now, p.f.typical) < p.best[s.state]/slowPart
}

// remains returns the seconds that the sources that are not lame need together for
// what is wanted now; without any of them, for ever.
func (p *planner) remains() float64 {
	var pace float64
	for _, s := range p.ready {
		if !p.lame(s) && s.rate > 0 {
			pace += s.pace(p.now, p.f.typical)
		}
	}
	if pace == 0 {
		return math.Inf(1)
	}
	return float64(len(p.f.order)*p.f.typical) / pace
}
