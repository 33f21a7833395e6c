package bridge

import (
	"context"
	"errors"
	"sync"
)

// errAside ends an offer that waits for its turn behind one that the receiver
// has no room for: it gives the room that it holds to that one.
var errAside = errors.New("steps aside for an earlier file")

// lanes keep the order of a job's send calls: one lane for each peer, one ticket
// in it for each call that may still reach the peer. A file is kept by its
// receiver when no ticket is ahead; a failed call gives its ticket back like any
// other, so that the next one goes on.
type lanes struct {
	mu  sync.Mutex
	all map[string]*lane // by peer; only those that hold tickets
}

type lane struct {
	last    *ticket
	changed chan struct{} // closed, and made anew, when a ticket goes or is blocked
}

// ticket is a place in a lane.
type ticket struct {
	lanes *lanes
	lane  *lane
	peer  string

	// Guarded by lanes.mu.
	ahead, behind *ticket
	blocked       bool // refused for want of room: those behind step aside
	aside         bool // has stepped aside
	gone          bool
}

func newLanes() *lanes { return &lanes{all: map[string]*lane{}} }

// take returns the next ticket for a peer.
func (l *lanes) take(peer string) *ticket {
	l.mu.Lock()
	defer l.mu.Unlock()
	ln := l.all[peer]
	if ln == nil {
		ln = &lane{changed: make(chan struct{})}
		l.all[peer] = ln
	}
	t := &ticket{lanes: l, lane: ln, peer: peer, ahead: ln.last}
	if t.ahead != nil {
		t.ahead.behind = t
	}
	ln.last = t
	return t
}

// release leaves the lane. It may be called more than once.
func (t *ticket) release() {
	l := t.lanes
	l.mu.Lock()
	defer l.mu.Unlock()
	if t.gone {
		return
	}
	t.gone = true
	if t.ahead != nil {
		t.ahead.behind = t.behind
	}
	if t.behind != nil {
		t.behind.ahead = t.ahead
	} else if t.lane.last = t.ahead; t.ahead == nil {
		delete(l.all, t.peer)
	}
	t.ahead, t.behind = nil, nil
	t.lane.tell()
}

// tell wakes all who wait in the lane; lanes.mu is held.
func (ln *lane) tell() {
	close(ln.changed)
	ln.changed = make(chan struct{})
}

// turn waits until nobody is ahead, as peers.SendOptions.Turn. Behind one that
// is blocked it ends with errAside.
func (t *ticket) turn(ctx context.Context) error {
	return t.wait(ctx, func() (bool, error) {
		switch {
		case t.ahead == nil:
			return true, nil
		case t.ahead.blocked:
			t.aside, t.blocked = true, true
			t.lane.tell()
			return true, errAside
		}
		return false, nil
	})
}

// ready waits until it makes sense to offer: at once, unless somebody ahead is
// blocked; then until nobody is ahead.
func (t *ticket) ready(ctx context.Context) error {
	return t.wait(ctx, func() (bool, error) {
		if t.ahead != nil && (t.ahead.blocked || t.aside) {
			return false, nil
		}
		t.aside, t.blocked = false, false
		return true, nil
	})
}

// block says that the receiver had no room.
func (t *ticket) block() {
	t.lanes.mu.Lock()
	defer t.lanes.mu.Unlock()
	t.blocked = true
	t.lane.tell()
}

// stepped tells whether turn ended with errAside.
func (t *ticket) stepped() bool {
	t.lanes.mu.Lock()
	defer t.lanes.mu.Unlock()
	return t.aside
}

// wait asks done, which is called with lanes.mu held, after each change of the
// lane, until it is true.
func (t *ticket) wait(ctx context.Context, done func() (bool, error)) error {
	for {
		t.lanes.mu.Lock()
		ok, err := done()
		changed := t.lane.changed
		t.lanes.mu.Unlock()
		if ok {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
