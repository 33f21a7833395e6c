package swarm

import (
	"cmp"
	"context"
	"hash/fnv"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

const (
	planEvery   = 100 * time.Millisecond // when nothing happens
	stretch     = 32                     // wants among which the order is free
	frameWants  = 512                    // spans in one frame
	fallWants   = 64                     // that the fall-back is asked for at a time
	askGrace    = 300 * time.Millisecond // for which peers may not have said what they have
	shareGrace  = time.Second            // for which those who fetch, too, may not have got it
	fallTime    = 2 * time.Second        // for which what the fall-back was asked for is not asked of sources
	expectLeast = 2 * time.Second        // a block is not late before
	expectFirst = 10 * time.Second       // nor the first one of a source that is not silent
	heldMost    = 30 * time.Second       // a block is not held back longer
	maxLate     = 3                      // blocks in a row that came too late or not, and a source is none any more
	fewSources  = 8                      // of more, each that has a part is asked for one block at a time
	queueTime   = 0.4                    // seconds of work that a source is given beyond the round trip
	shareTime   = 2.0                    // the same of one that has all, when others ask it, too
	slowPart    = 8                      // a source is slow that has less than one in so many of the fastest one's rate
	guessRate   = 1 << 20                // bytes per second of a source that is not known yet
)

// run plans whenever something happened.
func (f *Fetch) run(ctx context.Context) {
	tick := time.NewTicker(planEvery)
	defer tick.Stop()
	soon := time.NewTimer(searchSoon)
	defer soon.Stop()
	for {
		f.mu.Lock()
		fed := f.fed
		starving := f.plan(ctx, time.Now())
		changed := f.fed != fed
		f.mu.Unlock()
		if changed {
			f.tellOthers()
		}
		for ws := range slices.Chunk(starving, fallWants) {
			f.work.Go(func() { f.fallBack(ctx, ws) })
		}
		select {
		case <-f.wake:
		case <-tick.C:
		case <-soon.C:
		case <-ctx.Done():
			return
		}
	}
}

// plan decides who is asked for what, and returns what nobody can be asked for; f.mu
// is held.
func (f *Fetch) plan(ctx context.Context, now time.Time) (starving []*want) {
	if f.closed {
		return nil
	}
	f.recruit(ctx, now)
	f.order = slices.DeleteFunc(f.order, func(w *want) bool { return w.done })
	ready := make([]*source, 0, len(f.sources))
	shared := false
	for _, s := range f.sources {
		if s.state > stateNone && !s.ended {
			ready = append(ready, s)
			shared = shared || s.state == statePart
		}
	}
	f.shared = shared
	p := &planner{f: f, now: now, ready: ready}
	for _, s := range ready {
		if s.rate > 0 {
			p.best[s.state] = max(p.best[s.state], s.pace(now, f.typical))
		}
	}
	f.fed = false
	for _, s := range ready {
		if s.state == stateWhole {
			p.wholes++
			f.fed = f.fed || s.late == 0
		}
	}
	p.left = p.remains()
	if p.searches() {
		f.work.Go(func() { f.search(ctx) })
	}
	for _, s := range ready {
		p.trim(s)
	}
	for _, w := range f.order {
		if w.src != nil {
			p.review(w)
		} else {
			p.open = append(p.open, w)
		}
	}
	p.sort()
	for _, w := range p.open {
		if p.assign(w) {
			continue
		}
		if w.fallen.IsZero() && p.hopeless(w) {
			w.fallen = now
			p.starving = append(p.starving, w)
		}
	}
	p.steal()
	for _, s := range f.sources {
		p.flush(s)
	}
	return p.starving
}

// planner is one plan.
type planner struct {
	f        *Fetch
	now      time.Time
	ready    []*source               // that have something
	wholes   int                     // of them, that have all
	best     [stateWhole + 1]float64 // bytes per second of the fastest of them, by state
	left     float64                 // seconds that those who are not lame need for all that is wanted
	open     []*want                 // that are asked of nobody
	starving []*want
	asked    map[*source][]*want // what they are asked for now
}

// review has a want asked for elsewhere, when that is better.
func (p *planner) review(w *want) {
	s := w.src
	if w.held { // somebody else may have been given it, and have it by now
		if other := p.pick(w, statePart); other != nil {
			p.f.unlist(w)
			p.ask(other, w)
			return
		}
	}
	if s.state < 0 { // it was asked for the root on the chance that it has it
		other := p.pick(w, stateWhole)
		if other == nil {
			other = p.pick(w, statePart)
		}
		if other != nil {
			p.f.unlist(w)
			p.ask(other, w)
			return
		}
	}
	age := p.now.Sub(w.listed)
	silent := p.now.Sub(s.heard)
	least := expectLeast + s.rtt
	if s.state == statePart { // it has to share with everybody
		least *= 2
	}
	quiet := min(age, silent) >= least // not a byte of anything
	if !quiet && (age < w.expect || w.held && age < heldMost) {
		return
	}
	other := p.pick(w, stateWhole)
	if other == nil {
		other = p.pick(w, statePart)
	}
	if other == nil {
		if silent > p.f.o.Patience && w.fallen.IsZero() {
			w.fallen = p.now
			p.starving = append(p.starving, w)
		}
		return
	}
	p.f.unlist(w)
	p.ask(other, w)
	if s.late++; s.late >= maxLate && silent > 2*expectLeast {
		s.end()
	}
}

// sort puts wants into the order in which they are asked for: that of the content from
// one source, else the rarest first, of those alike each node in an order of its own;
// stretch by stretch, since whoever asked takes the content in order.
func (p *planner) sort() {
	if len(p.ready) < 2 || !p.f.shared || len(p.open) < 2 {
		return
	}
	type ranked struct {
		w       *want
		stretch int
		holders int
		rank    uint64
	}
	all := make([]ranked, len(p.open))
	for i, w := range p.open {
		all[i] = ranked{w, i / stretch, 0, rank(w.key, p.f.s.cfg.Host.ID())}
		for _, s := range p.ready {
			if s.offers(w) {
				all[i].holders++
			}
		}
	}
	slices.SortFunc(all, func(a, b ranked) int {
		return cmp.Or(cmp.Compare(a.stretch, b.stretch), cmp.Compare(a.holders, b.holders), cmp.Compare(a.rank, b.rank))
	})
	for i, r := range all {
		p.open[i] = r.w
	}
}

// rank is the place of a block in the order of a peer.
func rank(key string, id peer.ID) uint64 {
	h := fnv.New64a()
	h.Write([]byte(key))
	h.Write([]byte(id))
	return h.Sum64()
}

// assign finds a source for a want; false when there is none now.
func (p *planner) assign(w *want) bool {
	if !w.fallen.IsZero() && p.now.Sub(w.fallen) < fallTime && !p.newcomer(w) {
		return true // it has been asked for elsewhere
	}
	if s := p.pick(w, statePart); s != nil {
		p.ask(s, w)
		return true
	}
	for _, s := range p.ready {
		if p.wholes == 1 && s.state == statePart && s.offers(w) && s.late == 0 {
			return true // it will have room
		}
	}
	if s := p.pick(w, stateWhole); s != nil {
		p.ask(s, w)
		return true
	}
	if w.key != p.f.rootKey || len(p.ready) > 0 {
		return false
	}
	for _, s := range p.f.sources { // whoever may have the root is asked at once
		if s.state < 0 && s.st != nil && !s.ended && s.queued == 0 {
			p.ask(s, w)
			return true
		}
	}
	return false
}

// pick returns the source of a kind from which a want will come first, nil when none
// has it and room.
func (p *planner) pick(w *want, state int) *source {
	var best *source
	var score float64
	for _, s := range p.ready {
		if s.state != state || s.ended || s == w.src || !s.offers(w) || s.queued >= p.room(s) || len(s.listed) >= maxQueue/2 {
			continue
		}
		eta := float64(s.queued+p.f.typical)/s.pace(p.now, p.f.typical) + s.rtt.Seconds()
		if s.late > 0 {
			eta = 10 * eta
		}
		if p.lame(s) && eta > p.left && p.sound(w) {
			continue // all others together are done before
		}
		if state == stateWhole && p.f.shared && p.wholes > 1 {
			// All who fetch agree on whom to ask for it, unless he is much slower.
			eta = float64(int(eta)) + float64(rank(w.key, s.p)>>11)/(1<<53)
		}
		if best == nil || eta < score {
			best, score = s, eta
		}
	}
	return best
}

// room returns how many bytes a source may be asked for at a time.
func (p *planner) room(s *source) int {
	if len(p.ready) == 1 || s.state == stateWhole && p.wholes == 1 && s.late == 0 {
		return maxQueue / 2 * max(p.f.typical, 1)
	}
	least, span := 2*p.f.typical, queueTime
	if s.state == stateWhole && p.f.shared { // so that it can choose
		least, span = 4*p.f.typical, shareTime
	}
	if s.state == statePart && len(p.ready) > fewSources { // who has as many to serve is not idle meanwhile
		least = p.f.typical
	}
	if s.rate == 0 {
		return min(least, 2*p.f.typical)
	}
	pace := s.pace(p.now, p.f.typical)
	if p.lame(s) {
		return p.f.typical
	}
	return max(least, int(pace*(span+s.rtt.Seconds())))
}

// ask notes that a source is asked for a want.
func (p *planner) ask(s *source, w *want) {
	if p.asked == nil {
		p.asked = make(map[*source][]*want)
	}
	p.asked[s] = append(p.asked[s], w)
	s.list(w, p.now, p.f.typical)
}

// flush puts what changed for a source into frames.
func (p *planner) flush(s *source) {
	before := len(s.out)
	if s.told != p.f.shared && s.state > stateNone {
		s.told = p.f.shared
		s.out = append(s.out, modeFrame(s.told)...)
	}
	for ws := range slices.Chunk(p.asked[s], frameWants) {
		s.out = append(s.out, wantFrame(ws[0].number, p.spans(ws))...)
	}
	if len(s.cancels) > 0 {
		for runs := range slices.Chunk(s.cancels, frameWants) {
			s.out = append(s.out, cancelFrame(runs)...)
		}
		s.cancels = nil
	}
	if len(s.out) > before {
		s.poke()
	}
}

// spans names wants, which have consecutive numbers, in as few spans as can be.
func (p *planner) spans(ws []*want) []span {
	var spans []span
	var last *table
	for _, w := range ws {
		at := p.f.places[w.key]
		if at == nil || at.t == nil {
			spans, last = append(spans, span{c: w.c}), nil
			continue
		}
		if n := len(spans) - 1; last == at.t && spans[n].from+spans[n].n == at.i {
			spans[n].n++
			continue
		}
		spans, last = append(spans, span{c: at.t.node, from: at.i, n: 1}), at.t
	}
	return spans
}
