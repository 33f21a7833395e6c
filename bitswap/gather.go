package bitswap

import (
	"context"
	"sync"

	"github.com/ipfs/go-cid"
)

// gathering makes one call of what many want at the same time: while it runs, the
// next roots gather. Recording a root costs the disk a flush, however many there
// are.
type gathering struct {
	do   func(ctx context.Context, roots []cid.Cid) error
	turn chan struct{} // holds a token while do runs

	mu   sync.Mutex
	next *gathered // waits for its turn; nil: nobody does
}

// gathered are the roots of one call.
type gathered struct {
	roots []cid.Cid
	done  chan struct{} // closed when err is set
	err   error
}

func newGathering(do func(ctx context.Context, roots []cid.Cid) error) *gathering {
	return &gathering{do: do, turn: make(chan struct{}, 1)}
}

// call returns when do has been called with the roots, among others. What it was
// called with is done whatever becomes of a caller's ctx.
func (g *gathering) call(ctx context.Context, roots []cid.Cid) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	g.mu.Lock()
	if g.next == nil {
		g.next = &gathered{done: make(chan struct{})}
	}
	mine := g.next
	mine.roots = append(mine.roots, roots...)
	g.mu.Unlock()
	select {
	case g.turn <- struct{}{}:
		g.lead(context.WithoutCancel(ctx))
		<-g.turn
	case <-mine.done:
	case <-ctx.Done():
		return ctx.Err()
	}
	<-mine.done // who had the turn before may have taken it along
	return mine.err
}

// lead does what has gathered.
func (g *gathering) lead(ctx context.Context) {
	g.mu.Lock()
	all := g.next
	g.next = nil
	g.mu.Unlock()
	if all != nil {
		all.err = g.do(ctx, all.roots)
		close(all.done)
	}
}
