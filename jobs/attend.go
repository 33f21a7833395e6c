package jobs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// defaultHoldGrace is how long a held job may be without its holder after it was
// created or the node has started: as long as a client may take to come back.
const defaultHoldGrace = time.Minute

// attend is the life of a job whose command is somebody else's: it does what its
// owner calls for, one call after the other, and ends the job when the owner has
// gone away.
func (s *Supervisor) attend(ctx context.Context, l *life, rec *record) {
	own := context.WithoutCancel(ctx)
	if rec.Next != "" {
		s.report(l.id, s.conclude(own, l.id, rec, verdict{}))
		return
	}
	holders := 0
	grace := time.NewTimer(s.conf.HoldGrace)
	defer grace.Stop()
	if !rec.Spec.Held {
		grace.Stop()
	}
	for {
		select {
		case call := <-l.calls:
			if call(ctx, rec) {
				return
			}
		case n := <-l.holds:
			grace.Stop()
			if holders += n; holders == 0 && rec.Spec.Held {
				s.abandon(own, l, rec)
				return
			}
		case <-grace.C:
			s.abandon(own, l, rec)
			return
		case <-ctx.Done():
			if errors.Is(context.Cause(ctx), errStopped) {
				s.report(l.id, s.conclude(own, l.id, rec, verdict{StateStopped, ""}))
			}
			return
		}
	}
}

// report logs what nobody waits for.
func (s *Supervisor) report(id string, err error) {
	if err != nil {
		s.log.Error("job not ended", slog.String("job", id), slog.Any("err", err))
	}
}

// abandon ends a held job without a holder, and removes it unless something of
// it is to be kept.
func (s *Supervisor) abandon(own context.Context, l *life, rec *record) {
	s.log.Info("job ends with its holder", slog.String("job", l.id))
	err := s.conclude(own, l.id, rec, verdict{StateFailed, "its owner went away"})
	if err == nil && !rec.Spec.Keep.Keeps(rec.State) && s.claim(l.id) == nil {
		err = s.erase(own, l.id)
		s.unclaim(l.id)
	}
	s.report(l.id, err)
}

// errNotYours is the answer to a call that only fits a job without a command.
var errNotYours = fmt.Errorf("%w: the node runs the command of this job", ErrState)

// call has the life of a job without a command do f and returns when it is done.
func (s *Supervisor) call(ctx context.Context, id string, f func(ctx context.Context, rec *record) (ended bool, err error)) error {
	l, err := s.attended(ctx, id)
	if err != nil {
		return err
	}
	answer := make(chan error, 1)
	do := func(life context.Context, rec *record) bool {
		both, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		defer context.AfterFunc(life, func() { cancel(context.Cause(life)) })()
		ended, err := f(both, rec)
		answer <- err
		return ended
	}
	select {
	case l.calls <- do:
		return <-answer
	case <-l.done:
		return fmt.Errorf("job %s: %w", id, ErrState)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// attended returns the life of a job without a command.
func (s *Supervisor) attended(ctx context.Context, id string) (*life, error) {
	rec, err := s.find(ctx, id)
	if err != nil {
		return nil, err
	}
	if rec.Spec.Command != nil {
		return nil, fmt.Errorf("job %s: %w", id, errNotYours)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.lives[id]; l != nil {
		return l, nil
	}
	if s.closed {
		return nil, ErrClosed
	}
	return nil, fmt.Errorf("job %s has %s: %w", id, rec.State, ErrState)
}

// Stage waits for the jobs that must have finished before a job without a
// command, fetches its inputs, and makes it running: its owner may start the
// command then. told, if not nil, learns how far it is.
func (s *Supervisor) Stage(ctx context.Context, id string, told func(Progress)) error {
	return s.call(ctx, id, func(ctx context.Context, rec *record) (bool, error) {
		own := context.WithoutCancel(ctx)
		s.mu.Lock()
		l := s.lives[id]
		s.mu.Unlock()
		if l == nil {
			return false, ErrClosed
		}
		err := s.await(ctx, own, l, rec)
		if err == nil {
			err = s.enter(own, id, rec, StateStaging)
		}
		if err == nil {
			err = s.stage(ctx, id, rec, told)
		}
		if err != nil {
			return false, err
		}
		rec.Started = s.now().UTC().Truncate(time.Millisecond)
		return false, s.enter(own, id, rec, StateRunning)
	})
}

// Finish ends a job without a command after its owner has run one: exit is how
// that ended, or failure why it could not be run. What the job's patterns match
// is stored if it was run.
func (s *Supervisor) Finish(ctx context.Context, id string, exit Exit, failure string) (Job, error) {
	err := s.call(ctx, id, func(ctx context.Context, rec *record) (bool, error) {
		var err error
		if failure != "" {
			err = errors.New(failure)
		} else {
			rec.ExitCode, rec.Signal = &exit.Code, exit.Signal
			err = errors.Join(exit.failure(), s.publish(ctx, id, rec))
		}
		if ctx.Err() != nil {
			return false, context.Cause(ctx)
		}
		return true, s.conclude(context.WithoutCancel(ctx), id, rec, s.verdict(nil, rec, err))
	})
	if err != nil {
		return Job{}, err
	}
	return s.Show(ctx, id)
}

// Hold keeps a held job for as long as ctx lasts. When the last holder has gone,
// and not the node, the job ends, and is removed unless it is to be kept. ready
// is called once the job is held. It returns nil when the job or ctx has ended,
// ErrClosed when the node ends: the holder may come back then.
func (s *Supervisor) Hold(ctx context.Context, id string, ready func(Job) error) error {
	l, err := s.attended(ctx, id)
	if err != nil {
		return err
	}
	change := func(n int) bool {
		select {
		case l.holds <- n:
			return true
		case <-l.done:
			return false
		}
	}
	if !change(1) {
		return fmt.Errorf("job %s: %w", id, ErrState)
	}
	job, err := s.Show(ctx, id)
	if err == nil {
		err = ready(job)
	}
	over := false
	if err == nil {
		select {
		case <-ctx.Done():
		case <-l.done:
			over = true
		}
	}
	if s.ending() {
		return ErrClosed // who holds it comes back when the node does
	}
	if over {
		return nil
	}
	change(-1)
	return err
}
