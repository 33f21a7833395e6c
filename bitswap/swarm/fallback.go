package swarm

import (
	"context"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/hypha-node/hypha-node/internal/sha256pair"
)

// fallBack asks the fall-back for wants, until it or somebody else has got them.
func (f *Fetch) fallBack(ctx context.Context, ws []*want) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	b := &batch{cancel: cancel}
	cs := make([]cid.Cid, 0, len(ws))
	f.mu.Lock()
	for _, w := range ws {
		if !w.done {
			b.left++
			w.batch = b
			cs = append(cs, w.c)
		}
	}
	f.mu.Unlock()
	if len(cs) == 0 {
		return
	}
	ch, err := f.o.Fallback(ctx, cs)
	if err == nil {
		for blk := range ch {
			f.came(blk.Cid(), blk.RawData(), sha256pair.Step{}, nil)
		}
		err = ErrClosed // which is no reason; whoever is behind Fallback knows it
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if b.left == 0 || ctx.Err() != nil {
		return
	}
	if !f.flows() {
		f.fail(err)
		return
	}
	for _, w := range ws { // they are left to the sources, who have them later
		if w.batch == b {
			w.batch = nil
		}
	}
	f.poke()
}

// flows tells whether sources are there and have given something lately; f.mu is held.
func (f *Fetch) flows() bool {
	for _, s := range f.sources {
		if s.state > stateNone && !s.ended {
			return time.Since(f.gave) < f.o.Patience
		}
	}
	return false
}

// isFed tells whether somebody who has all gives, or will.
func (f *Fetch) isFed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fed
}

// hopeless tells whether a want that no source can be asked for now will have none
// soon. Of a large crowd not everybody asks who has all: who does not waits, as long as
// something comes, for sources that do.
func (p *planner) hopeless(w *want) bool {
	age := p.now.Sub(w.at)
	for _, s := range p.f.sources {
		switch {
		case s.ended:
		case s.state < 0 && age < p.f.grace, s.offers(w), s.state == statePart && age < shareGrace:
			return false
		case s.state == statePart && s.fed && !p.f.fed && min(age, p.now.Sub(p.f.gave)) < p.f.o.Patience:
			return false
		}
	}
	return len(p.f.queue) == 0 || age > p.f.grace
}
