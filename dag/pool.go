package dag

import (
	"context"
	"sync"
)

// pool bounds how many buffers there are, and hands out the one that came back
// last: its bytes are still in the processor's cache. A ring of 32 MiB that goes
// round is in none, and taking in 1 GiB through it cost a quarter more processor
// time (docs/decisions/0002).
type pool[T any] struct {
	taken chan struct{} // a token for each that is in use
	fresh func() T

	mu   sync.Mutex
	free []T // in the order in which they came back
}

// newPool returns a pool of at most limit buffers, made by fresh when they are
// needed.
func newPool[T any](limit int, fresh func() T) *pool[T] {
	return &pool[T]{taken: make(chan struct{}, limit), fresh: fresh}
}

// get waits for a buffer.
func (p *pool[T]) get(ctx context.Context) (b T, err error) {
	select {
	case p.taken <- struct{}{}:
	case <-ctx.Done():
		return b, context.Cause(ctx)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.free) - 1
	if n < 0 {
		return p.fresh(), nil
	}
	b = p.free[n]
	p.free = p.free[:n]
	return b, nil
}

// put gives a buffer back that get returned; it never waits.
func (p *pool[T]) put(b T) {
	p.mu.Lock()
	p.free = append(p.free, b)
	p.mu.Unlock()
	<-p.taken
}
