package bridge

import (
	"context"
	"fmt"
	"slices"
	"sync"
)

// repeats keep the send calls of one key behind each other, so that one that is
// made again while the first runs has the answer as soon as that has ended. The
// key is the caller's, or the id of the transfer for a call without one.
type repeats struct {
	mu  sync.Mutex
	all map[string]*repeat // that run
}

// repeat is a send call that runs.
type repeat struct {
	req      SendRequest
	ended    chan struct{}
	accepted chan struct{} // closed when it is recorded, and nobody waits for it
	id       string        // of the transfer; set before accepted is closed
}

// repeated says that the same was sent before, and what it came to.
type repeated struct{ is Transfer }

func (r *repeated) Error() string { return fmt.Sprintf("transfer %s has sent it", r.is.ID) }

// enter makes a call the only one of its key that runs. It waits for one that runs,
// unless both are the same and wait for nobody: then the error is *repeated.
func (r *repeats) enter(ctx context.Context, key string, req SendRequest, later bool) (mine *repeat, err error) {
	for {
		mine, other := r.take(key, req)
		if mine != nil {
			return mine, nil
		}
		var accepted <-chan struct{}
		if later {
			accepted = other.accepted
		}
		select {
		case <-other.ended:
		case <-accepted:
			if !other.req.same(req) {
				return nil, fmt.Errorf("%w: another send with that key is under way", ErrConflict)
			}
			return nil, &repeated{Transfer{ID: other.id}}
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// take is enter that does not wait: one of the two is nil.
func (r *repeats) take(key string, req SendRequest) (mine, other *repeat) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if other = r.all[key]; other != nil {
		return nil, other
	}
	if r.all == nil {
		r.all = map[string]*repeat{}
	}
	mine = &repeat{req: req, ended: make(chan struct{}), accepted: make(chan struct{})}
	r.all[key] = mine
	return mine, nil
}

// accept says that a call is recorded, and nobody waits for it.
func (r *repeat) accept(id string) {
	r.id = id
	close(r.accepted)
}

// leave ends a call.
func (r *repeats) leave(key string, mine *repeat) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.all, key)
	close(mine.ended)
}

// same tells whether two requests ask for the same.
func (r SendRequest) same(o SendRequest) bool {
	return r.Path == o.Path && r.Name == o.Name && r.Channel == o.Channel && r.Strategy == o.Strategy && slices.Equal(r.Peers, o.Peers)
}

// sentBefore returns the last send of a key, or of that id, that the ledger knows.
func (l *ledger) sentBefore(key string) (is Transfer, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, t := range slices.Backward(l.list) {
		if t.is.Kind == kindSend && (t.key == key || t.is.ID == key) {
			return t.is.clone(), true
		}
	}
	return Transfer{}, false
}
