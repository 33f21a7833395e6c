package virtual

import (
	"context"
	"sync"
)

// hall is where instances of one process wait for each other.
type hall struct {
	count int

	mu     sync.Mutex
	points map[string]*point
}

// point is something that all instances come to once.
type point struct {
	values [][]byte
	came   int
	all    chan struct{} // closed when all have come
}

func newHall(count int) *hall { return &hall{count: count, points: make(map[string]*point)} }

// come brings a value to a point and waits for everybody else's.
func (h *hall) come(ctx context.Context, name string, index int, value []byte) ([][]byte, error) {
	h.mu.Lock()
	p := h.points[name]
	if p == nil {
		p = &point{values: make([][]byte, h.count), all: make(chan struct{})}
		h.points[name] = p
	}
	p.values[index] = value
	if p.came++; p.came == h.count {
		close(p.all)
	}
	h.mu.Unlock()
	select {
	case <-p.all:
		return p.values, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}
