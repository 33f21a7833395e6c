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
