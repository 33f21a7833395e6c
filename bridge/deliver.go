package bridge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	ipld "github.com/ipfs/go-ipld-format"

	"github.com/hypha-node/hypha-node/connectors/peers"
)

const (
	// defaultPatience is how long a delivery is tried again without progress
	// when the request has no timeout: a node restarts in less.
	defaultPatience = time.Minute
	// busyPatience is the same for a receiver that asks to come again: it lives,
	// and its executor may compute for long.
	busyPatience = 10 * time.Minute
	// shyPatience is how long a peer is asked again that knows no such job: jobs
	// of one training begin at about the same time, not at the same.
	shyPatience = 2 * time.Second
	// failOver is the patience with a peer that others can stand in for.
	failOver = 5 * time.Second

	dialWait  = 10 * time.Second // for one attempt to connect
	dialTries = 3

	firstPause = 50 * time.Millisecond
	lastPause  = 5 * time.Second
)

// errUnreachable is in the error of a peer that could never be connected to.
var errUnreachable = errors.New("peer can't be reached")

// all delivers to every peer at the same time and returns the first error in
// their order. to is deliver, or more patient.
func (s *sending) all(ctx context.Context, to func(ctx context.Context, n int, peer string, t *ticket) error) ([]Delivered, error) {
	results := make([]Delivered, len(s.peers))
	errs := make([]error, len(s.peers))
	var wg sync.WaitGroup
	for i, p := range s.peers {
		wg.Go(func() {
			errs[i] = to(ctx, i, p, s.tickets[i])
			s.tickets[i].release(errs[i] == nil)
			results[i] = s.outcome(i, p, errs[i])
		})
	}
	wg.Wait()
	for i, err := range errs {
		if err != nil {
			return results, fmt.Errorf("%s: %w", s.peers[i], err)
		}
	}
	return results, nil
}

// prefer is deliver for a peer that others can stand in for.
func (s *sending) prefer(ctx context.Context, n int, peer string, t *ticket) error {
	return s.attempts(ctx, n, peer, t, &attempt{fallback: n < len(s.peers)-1, patience: s.patience()})
}

// first delivers to the first peer that takes the file. When none does, it
// returns an outcome for each and the last error, or the last one after which it
// is to be tried again.
func (s *sending) first(ctx context.Context, to func(ctx context.Context, n int, peer string, t *ticket) error) ([]Delivered, error) {
	var tried []Delivered
	var last, passing error
	for i, p := range s.peers {
		t := s.tickets[0]
		if i > 0 {
			// Whom the calls after this one have reached meanwhile they came before.
			t = s.job.lanes.take(p)
		}
		last = to(ctx, i, p, t)
		passes := s.later != nil && s.later.again(ctx, last)
		if i > 0 || !passes || refused(last) { // else it keeps its place
			t.release(last == nil)
		}
		got := s.outcome(i, p, last)
		if last == nil {
			return []Delivered{got}, nil
		}
		tried = append(tried, got)
		last = fmt.Errorf("%s: %w", p, last)
		if passes {
			passing = last
		}
		if ctx.Err() != nil {
			break
		}
	}
	if passing != nil && ctx.Err() == nil {
		return tried, passing
	}
	return tried, last
}

// attempt is what deliver knows of its tries.
type attempt struct {
	once     bool          // there is no other one
	fallback bool          // another peer can stand in
	patience time.Duration // without progress
	since    time.Time     // of the last progress
	dials    int
	reached  bool
	failures int // in a row
	moved    atomic.Int64
	seen     int64 // of moved, when it was last looked at
}

// deliver brings the file to one peer, with as many attempts as make sense for
// somebody who waits.
func (s *sending) deliver(ctx context.Context, n int, peer string, t *ticket) error {
	return s.attempts(ctx, n, peer, t, &attempt{patience: s.patience()})
}

// attempts brings the file to one peer. An attempt that was lost may have been
// kept: it is repeated under the same id.
func (s *sending) attempts(ctx context.Context, n int, peer string, t *ticket, a *attempt) error {
	a.since = time.Now()
	o := s.offer
	o.Transfer = s.transferID(n, peer)
	t.name(o.Transfer)
	opts := peers.SendOptions{Turn: t.turn, Pace: s.job.limits.payer(), Progress: func(n int64) {
		a.moved.Add(n)
		s.transfer.moved("", n)
	}}
	for {
		var err error
		if o.After, err = t.ready(ctx); err != nil {
			return err
		}
		if err := s.job.limits.settle(ctx); err != nil {
			return err
		}
		err = s.try(ctx, peer, o, opts, a)
		if err == nil {
			s.transfer.moved("", o.File.Size-min(a.moved.Load(), o.File.Size))
			return nil
		}
		t.lost()
		if ctx.Err() != nil {
			return cause(ctx, err)
		}
		if t.stepped() {
			a.since = time.Now()
			continue
		}
		pause, again := a.again(err)
		if !again {
			return err
		}
		s.job.log.Debug("delivery is tried again", logJob(s.job), slog.String("peer", peer), slog.String("transfer", o.Transfer),
			slog.Duration("pause", pause), logError(err))
		if isBusy(err) {
			// There will be no room for this one before those ahead have had it.
			t.block()
			if waited, err := t.first(ctx); err != nil {
				return err
			} else if waited {
				a.since = time.Now()
				continue
			}
		}
		if err := sleep(ctx, pause); err != nil {
			return err
		}
	}
}

// try makes one attempt.
func (s *sending) try(ctx context.Context, peer string, o peers.Offer, opts peers.SendOptions, a *attempt) error {
	if !a.reached {
		dial, cancel := context.WithTimeout(ctx, dialWait)
		err := s.job.peers.Reach(dial, peer)
		cancel()
		if err != nil {
			a.dials++
			// Not the deadline of the request: that of this attempt.
			return fmt.Errorf("%w: %s", errUnreachable, err.Error())
		}
		a.reached = true
	}
	receipt, err := s.job.peers.Send(ctx, peer, o, opts)
	if err == nil {
		s.job.ledger.moved(receipt.Moved)
	}
	return err
}

// again tells whether another attempt makes sense after err, and when.
func (a *attempt) again(err error) (pause time.Duration, ok bool) {
	refusal, refused := errors.AsType[*peers.Refusal](err)
	if moved := a.moved.Load(); moved > a.seen && !refused { // small files travel with every offer
		a.seen, a.since, a.failures = moved, time.Now(), 0
	}
	pause = backoff(a.failures)
	a.failures++
	patience := a.patience
	switch {
	case a.once:
		return 0, false
	case ipld.IsNotFound(err):
		return 0, false // the store lost the file: no attempt can help
	case errors.Is(err, errUnreachable):
		return pause, !a.fallback && a.dials < dialTries
	case refused && refusal.Code == peers.CodeNotInJob:
		patience = min(patience, shyPatience)
	case refused && refusal.Code == peers.CodeBusy:
		pause = max(pause, min(refusal.RetryAfter, time.Minute))
		patience = max(patience, busyPatience)
	case refused:
		return 0, false
	}
	if a.fallback {
		if refused {
			return 0, false
		}
		patience = min(patience, failOver)
	}
	return pause, time.Since(a.since)+pause <= patience
}

func isBusy(err error) bool {
	refusal, ok := errors.AsType[*peers.Refusal](err)
	return ok && refusal.Code == peers.CodeBusy
}

// backoff returns the pause after a number of failures: doubled each time, a
// quarter more or less, so that many senders don't come at once.
func backoff(failures int) time.Duration {
	d := min(firstPause<<min(failures, 10), lastPause)
	return d*3/4 + rand.N(d/2)
}

// sleep waits unless ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// shuffle draws a uniformly random order.
func shuffle(ids []string) {
	rand.Shuffle(len(ids), func(i, k int) { ids[i], ids[k] = ids[k], ids[i] })
}
