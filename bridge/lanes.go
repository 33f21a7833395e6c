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
// in it for each call that may still reach the peer.
//
// A file has its turn when no ticket is ahead, or when the one ahead had its own
// and is named in the offer: then the receiver keeps the two in their order, and
// both with one write, or refuses the second. A failed call gives its ticket
// back like any other, so that the next one goes on.
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
	id            string // of the transfer, "" until the file was read
	named         string // the transfer that the offer names as the one before
	strict        bool   // the offer names none: nobody may be ahead
	had           bool   // it had its turn, and the attempt has not failed
	stale         bool   // the transfer that it named has failed
	blocked       bool   // refused for want of room: those behind step aside
	aside         bool   // has stepped aside
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

// release leaves the lane; ok tells whether the file was kept. What follows the
// first call has no effect.
func (t *ticket) release(ok bool) {
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
		t.behind.stale = t.behind.stale || !ok && t.id != "" && t.behind.named == t.id
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

// turn waits for the turn, as peers.SendOptions.Turn. It ends with errAside
// behind one that is blocked, and when what the offer says of the order is no
// longer true.
func (t *ticket) turn(ctx context.Context) error {
	return t.wait(ctx, func() (bool, error) {
		switch {
		case t.stale:
			t.aside = true
			return true, errAside
		case t.ahead == nil, !t.strict && t.ahead.had:
			t.had = true
			t.lane.tell()
			return true, nil
		case t.ahead.blocked:
			t.aside, t.blocked = true, true
			t.lane.tell()
			return true, errAside
		}
		return false, nil
	})
}

// ready waits until it makes sense to offer, at once unless somebody ahead is
// blocked, and returns the transfer that the offer names as the one before.
func (t *ticket) ready(ctx context.Context) (after string, err error) {
	err = t.wait(ctx, func() (bool, error) {
		if t.ahead != nil && t.ahead.blocked {
			return false, nil
		}
		t.aside, t.blocked, t.stale, t.had = false, false, false, false
		t.named, t.strict = "", t.ahead != nil
		if t.ahead != nil && t.ahead.id != "" {
			t.named, t.strict = t.ahead.id, false
		}
		t.lane.tell() // those who stepped aside because of this one
		after = t.named
		return true, nil
	})
	return after, err
}

// name says what the transfer is called.
func (t *ticket) name(id string) {
	t.lanes.mu.Lock()
	defer t.lanes.mu.Unlock()
	t.id = id
}

// lost says that an attempt has failed.
func (t *ticket) lost() {
	t.lanes.mu.Lock()
	defer t.lanes.mu.Unlock()
	t.had = false
}

// block says that the receiver had no room.
func (t *ticket) block() {
	t.lanes.mu.Lock()
	defer t.lanes.mu.Unlock()
	t.blocked = true
	t.lane.tell()
}

// first waits until nobody is ahead, and tells whether somebody was.
func (t *ticket) first(ctx context.Context) (waited bool, err error) {
	err = t.wait(ctx, func() (bool, error) {
		waited = waited || t.ahead != nil
		return t.ahead == nil, nil
	})
	return waited, err
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
