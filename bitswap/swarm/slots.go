package swarm

import (
	"slices"
	"sync"
)

// slots are the blocks that may be sent at once, given out in the order in which they
// are asked for.
type slots struct {
	mu    sync.Mutex
	free  int
	size  int
	queue []*turn // who waits
}

func newSlots(n int) *slots { return &slots{free: n, size: n} }

// turn is the claim of one asker to a slot. Until it is granted something else may be
// done, and what is sent in the end need not be decided.
type turn struct {
	s       *slots
	granted chan struct{} // closed when it may send
	ended   bool          // guarded by s.mu
}

// claim returns a turn, which must be ended.
func (s *slots) claim() *turn {
	t := &turn{s: s, granted: make(chan struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queue = append(s.queue, t)
	s.grant()
	return t
}

// grant gives out what is free; s.mu is held.
func (s *slots) grant() {
	for s.free > 0 && len(s.queue) > 0 {
		close(s.queue[0].granted)
		s.queue = slices.Delete(s.queue, 0, 1)
		s.free--
	}
}

// end gives the slot back, or the place in the queue. It may be called again, and for
// nobody's turn.
func (t *turn) end() {
	if t == nil {
		return
	}
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	if t.ended {
		return
	}
	t.ended = true
	if t.mine() {
		t.s.free++
		t.s.grant()
		return
	}
	t.s.queue = slices.DeleteFunc(t.s.queue, func(other *turn) bool { return other == t })
}

// mine tells whether the turn has been granted; that of nobody has not.
func (t *turn) mine() bool {
	if t == nil {
		return false
	}
	select {
	case <-t.granted:
		return true
	default:
		return false
	}
}

// may is closed when the turn is granted, and nil for nobody's.
func (t *turn) may() <-chan struct{} {
	if t == nil {
		return nil
	}
	return t.granted
}

// load is the share of the slots that are in use or waited for, 0 to 1.
func (s *slots) load() float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return min(1, float64(s.size-s.free+len(s.queue))/float64(s.size))
}
