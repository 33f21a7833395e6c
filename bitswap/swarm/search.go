package swarm

import (
	"context"
	"slices"
	"time"
)

const (
	searchSoon  = 30 * time.Millisecond // in which connected peers may say that they have something
	searchSlow  = 5 * time.Second       // of work for those who are asked is too long
	searchAgain = time.Minute           // between two searches
)

// search has Options.Providers look for peers, and asks those.
func (f *Fetch) search(ctx context.Context) {
	for info := range f.o.Providers(ctx) {
		f.consider(info)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.searching = false
	f.poke()
}

// searches tells whether other holders are to be looked for, and notes it: when nobody
// who is connected has anything, or those who have will take long.
func (p *planner) searches() bool {
	f := p.f
	if f.o.Providers == nil || f.searching || len(f.order) == 0 || !f.searched.IsZero() && p.now.Sub(f.searched) < searchAgain {
		return false
	}
	age := p.now.Sub(f.begun)
	if len(p.ready) == 0 {
		if age < searchSoon && p.unheard() {
			return false
		}
	} else if age < f.slow || p.left < f.slow.Seconds() {
		return false
	}
	f.searched, f.searching = p.now, true
	return true
}

// unheard tells whether somebody has not said yet what he has.
func (p *planner) unheard() bool {
	for _, s := range p.f.sources {
		if s.state < 0 && !s.ended {
			return true
		}
	}
	return len(p.f.queue) > 0
}

// newcomer tells whether somebody may have a want who was not there when the
// fall-back was asked for it.
func (p *planner) newcomer(w *want) bool {
	for _, s := range p.f.sources {
		if s.made.After(w.fallen) && !s.ended && (s.state < 0 || slices.Contains(p.ready, s) && s.offers(w)) {
			return true
		}
	}
	return false
}
