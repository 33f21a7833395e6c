package bridge

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	ipld "github.com/ipfs/go-ipld-format"

	"github.com/hypha-node/hypha-node/connectors/peers"
)

// The pauses between two attempts of a send that nobody waits for.
const (
	firstRest = time.Second
	lastRest  = 30 * time.Second
)

var (
	// errGivenUp ends a send that nobody waits for when its time is up.
	errGivenUp = fmt.Errorf("%w: given up", context.DeadlineExceeded)
	// errEarlier is why a send is tried that an earlier process had accepted.
	errEarlier = errors.New("not delivered before the node stopped")
	// errBehind says that other files have to reach the peer first.
	errBehind = errors.New("earlier files wait for the peer")
)

// lasting is what a send has that nobody waits for.
//
// It begins like any other, with one of the places that the job has for
// transfers. When a peer can't be delivered to for now, it gives the place back
// and keeps its ticket, unless the peer refused it, and waits to be the first in
// the peer's lane; then it tries again from time to time. Attempts have places of their own, which only the
// first in a lane holds: whoever holds one waits for nobody else.
type lasting struct {
	age      time.Duration
	stored   storedSend
	resumed  bool         // an earlier process accepted it
	active   atomic.Int64 // deliveries that need the place among the job's transfers
	attempts atomic.Int64 // that have failed
}

// outlast delivers until there is nothing more to do, and forgets the send then;
// but not when the job is closed: the next process goes on.
func (s *sending) outlast(ctx context.Context) {
	j := s.job
	var results []Delivered
	var err error
	if s.req.Strategy == All {
		results, err = s.all(ctx, s.insist)
	} else {
		results, err = s.insistFirst(ctx)
	}
	goesOn := err != nil && j.Closing() && !errors.Is(err, ErrCancelled)
	if !goesOn { // else the next process tells what it came to
		_, err = s.conclude(results, err)
	}
	s.release()
	s.cancel()
	if !goesOn {
		if err != nil {
			j.log.Warn("send failed", logJob(j), logTransfer(s.transfer), logError(err))
		}
		if ferr := j.outbox.forget(context.WithoutCancel(ctx), s.later.stored); ferr != nil {
			j.outbox.warn("send not forgotten; it is offered again after a restart", ferr)
		}
	}
	j.outbox.dismiss(len(s.peers))
	s.finish(err)
}

// insist delivers to one peer, for as long as it takes.
func (s *sending) insist(ctx context.Context, n int, peer string, t *ticket) error {
	err := errEarlier
	if !s.later.resumed {
		err = s.deliver(ctx, n, peer, t)
		s.yield()
	}
	for failures := 0; s.later.again(ctx, err); failures++ {
		if refused(err) {
			t.release(false)
		}
		if err = s.rest(ctx, failures, err); err == nil {
			err = s.knock(ctx, n, peer, t, 0)
		}
	}
	return cause(ctx, err)
}

// refused tells whether a peer has said no to this file, and perhaps to no other:
// it gives up its turn, for the ones behind must not wait for it.
func refused(err error) bool {
	_, no := errors.AsType[*peers.Refusal](err)
	return no && !isBusy(err)
}

// insistFirst delivers to the first peer that takes the file, for as long as it
// takes.
func (s *sending) insistFirst(ctx context.Context) (results []Delivered, err error) {
	err = errEarlier
	if !s.later.resumed {
		results, err = s.first(ctx, s.prefer)
		s.yield()
	}
	for failures := 0; s.later.again(ctx, err); failures++ {
		if err = s.rest(ctx, failures, err); err == nil {
			results, err = s.first(ctx, func(ctx context.Context, n int, peer string, t *ticket) error {
				return s.knock(ctx, n, peer, t, failOver)
			})
		}
	}
	return results, cause(ctx, err)
}

// yield gives back the place among the job's transfers when no delivery needs it.
func (s *sending) yield() {
	if s.later.active.Add(-1) == 0 {
		s.transfer.leave()
	}
}

// again tells whether another attempt makes sense after err, some day: all but
// what a peer will never take. nil makes none.
func (l *lasting) again(ctx context.Context, err error) bool {
	if err == nil || ctx.Err() != nil || ipld.IsNotFound(err) {
		return false
	}
	if refusal, refused := errors.AsType[*peers.Refusal](err); refused {
		switch refusal.Code {
		case peers.CodeMismatch, peers.CodeInvalid, peers.CodeCancelled:
			return false
		}
	}
	return true
}

// rest waits before the next attempt, and says so.
func (s *sending) rest(ctx context.Context, failures int, err error) error {
	if s.later.resumed && failures == 0 {
		return nil
	}
	if isBusy(err) {
		failures = 0 // the peer lives, and those behind wait for this one
	}
	pause := min(firstRest<<min(failures, 10), lastRest)
	pause = pause*3/4 + rand.N(pause/2)
	if refusal, ok := errors.AsType[*peers.Refusal](err); ok {
		pause = max(pause, min(refusal.RetryAfter, time.Minute))
	}
	w := &Waiting{Attempts: s.later.attempts.Add(1), Next: s.job.now().Add(pause).UTC(), Error: clip(err.Error())}
	s.transfer.update(func(t *Transfer) { t.Waiting = w })
	if serr := sleep(ctx, pause); serr != nil {
		return fmt.Errorf("%w: %w", serr, err)
	}
	return nil
}

// knock makes one attempt when nobody is ahead in the peer's lane, or none when
// that takes longer than wait; 0 means as long as it takes.
func (s *sending) knock(ctx context.Context, n int, peer string, t *ticket, wait time.Duration) error {
	turn, cancel := context.WithCancel(ctx)
	if wait > 0 {
		turn, cancel = context.WithTimeout(ctx, wait)
	}
	_, err := t.first(turn)
	cancel()
	if err != nil {
		if ctx.Err() == nil {
			return errBehind
		}
		return err
	}
	if err := s.job.limits.later.enter(ctx, lastingFor); err != nil {
		return err
	}
	defer s.job.limits.later.leave()
	if err = s.attempts(ctx, n, peer, t, &attempt{once: true}); isBusy(err) {
		t.block() // those behind give it the room that they hold
	}
	return err
}
