package jobs

import (
	"context"
	"slices"
	"sync"
)

// queue gives out a bounded number of places in the order of asking.
type queue struct {
	mu   sync.Mutex
	free int
	line []chan struct{} // those who wait; closed when they have got a place
}

// ask takes a place or gets in line. got is closed when there is a place, and
// leave gives it back, or leaves the line; it is called once.
func (q *queue) ask() (got <-chan struct{}, leave func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	mine := make(chan struct{})
	if q.free > 0 {
		q.free--
		close(mine)
	} else {
		q.line = append(q.line, mine)
	}
	return mine, func() { q.leave(mine) }
}

// leave gives the place to the next in line.
func (q *queue) leave(mine chan struct{}) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if i := slices.Index(q.line, mine); i >= 0 {
		q.line = slices.Delete(q.line, i, i+1)
		return
	}
	if len(q.line) == 0 {
		q.free++
		return
	}
	close(q.line[0])
	q.line = slices.Delete(q.line, 0, 1)
}

// wait returns when there is a place, or why ctx ended.
func wait(ctx context.Context, got <-chan struct{}) error {
	select {
	case <-got:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
