package bridge

import (
	"cmp"
	"context"
	"slices"
	"time"
)

// subscription is one Receive.
type subscription struct {
	peers   []string // whose items; none: everybody's
	channel string
	dir     string
	passed  func() bool // of the request, may be nil

	number int64
	got    chan *item // gets an item that was waited for, or nil to look again
	replay []*item    // received items that are still to be given, by sequence
}

// taken tells whether the item that was given last was passed on. A client that
// goes away at once has it all the same: its going alone says nothing.
func (s *subscription) taken(ctx context.Context) bool {
	if s.passed != nil {
		return s.passed()
	}
	return ctx.Err() == nil
}

// wants tells whether an item is for the subscription.
func (s *subscription) wants(it *item) bool { return s.hears(it.from, it.channel) }

func (s *subscription) hears(from, channel string) bool {
	return s.channel == channel && (len(s.peers) == 0 || slices.Contains(s.peers, from))
}

// subscribe gives a subscription its place in the order.
func (in *inbox) subscribe(s *subscription, since *int64) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.subs++
	s.number = in.subs
	if since == nil {
		return
	}
	for _, it := range in.items {
		switch {
		case it.seq <= *since || !s.wants(it):
		case it.state == taken:
			s.replay = append(s.replay, it)
		case it.state == held: // by a connection that the client has lost, perhaps
			it.expect = append(it.expect, s)
		}
	}
}

// replayed gives an item that has been received to the replays of those who
// asked for it when that was not known yet; in.mu is held.
func (in *inbox) replayed(it *item) {
	for _, s := range it.expect {
		at, _ := slices.BinarySearchFunc(s.replay, it.seq, func(r *item, seq int64) int { return cmp.Compare(r.seq, seq) })
		s.replay = slices.Insert(s.replay, at, it)
	}
	if it.expect != nil {
		it.expect = nil
		in.nudge()
	}
}

// wait returns the next item for a subscription, which is held by it unless it
// is a replay. It returns nil when until has passed and what was under way then
// has come or failed.
func (in *inbox) wait(ctx context.Context, s *subscription, until time.Time) (it *item, replay bool, err error) {
	var late <-chan time.Time
	if !until.IsZero() {
		timer := time.NewTimer(time.Until(until))
		defer timer.Stop()
		late = timer.C
		if !until.After(time.Now()) { // not to depend on the timer's goroutine
			past := make(chan time.Time, 1)
			past <- until
			late = past
		}
	}
	var rest []*delivery // under way when the time was up
	expired := false
	for {
		it, replay := in.claim(s)
		if it != nil {
			return it, replay, nil
		}
		if expired {
			if rest = in.stillPending(rest); len(rest) == 0 {
				return in.resign(s), false, nil
			}
		}
		select {
		case it := <-s.got:
			if it != nil {
				return it, false, nil
			}
		case <-late:
			expired = true
			rest = in.underWay(s)
		case <-ctx.Done():
			if it := in.resign(s); it != nil {
				in.giveBack(it)
			}
			return nil, false, context.Cause(ctx)
		}
	}
}

// claim takes the oldest item for a subscription, or makes it wait in line.
func (in *inbox) claim(s *subscription) (it *item, replay bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if i := slices.Index(in.waiters, s); i >= 0 {
		in.waiters = slices.Delete(in.waiters, i, i+1)
	}
	select {
	case it := <-s.got: // came just now
		if it != nil {
			return it, false
		}
	default:
	}
	it = in.oldest(s)
	if len(s.replay) > 0 && (it == nil || s.replay[0].seq < it.seq) {
		it = s.replay[0]
		s.replay = s.replay[1:]
		return it, true
	}
	if it != nil {
		it.state = held
		return it, false
	}
	at, _ := slices.BinarySearchFunc(in.waiters, s.number, func(w *subscription, n int64) int { return cmp.Compare(w.number, n) })
	in.waiters = slices.Insert(in.waiters, at, s)
	return nil, false
}

// resign takes a subscription out of the line; the result is an item that it was
// given in the last moment.
func (in *inbox) resign(s *subscription) *item {
	in.mu.Lock()
	defer in.mu.Unlock()
	if i := slices.Index(in.waiters, s); i >= 0 {
		in.waiters = slices.Delete(in.waiters, i, i+1)
	}
	select {
	case it := <-s.got:
		return it
	default:
		return nil
	}
}

// underWay returns the transfers whose files a subscription wants.
func (in *inbox) underWay(s *subscription) []*delivery {
	in.mu.Lock()
	defer in.mu.Unlock()
	var list []*delivery
	for d := range in.pending {
		if s.wants(d.item) {
			list = append(list, d)
		}
	}
	return list
}

// stillPending returns those of list that are still under way.
func (in *inbox) stillPending(list []*delivery) []*delivery {
	in.mu.Lock()
	defer in.mu.Unlock()
	return slices.DeleteFunc(list, func(d *delivery) bool { _, ok := in.pending[d]; return !ok })
}

// nudge makes all who wait look again; in.mu is held.
func (in *inbox) nudge() {
	for _, s := range in.waiters {
		select {
		case s.got <- nil:
		default:
		}
	}
}
