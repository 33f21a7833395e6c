package jobs

import (
	"context"
	"errors"
	"log/slog"
	"time"
)

// life is what this process does for one job from its creation, or from the
// start of the process, to its end. While it lasts it alone writes the record.
type life struct {
	id    string
	end   context.CancelCauseFunc // with one of the causes below
	done  chan struct{}           // closed when nothing of it runs any more
	holds chan int                // of a job without a command: +1 and -1
	calls chan func(ctx context.Context, rec *record) (ended bool)

	// Under Supervisor.mu:
	after map[string]State    // of the jobs that it waits for; "" while they have not ended
	wake  chan struct{}       // holds a token when after has changed
	logs  map[Stream]*logFile // while the command runs
}

// Causes that end a life, besides ErrClosed.
var (
	errStopped = errors.New("stopped")
	errRemoved = errors.New("job was removed")
)

// begin starts the life of a job that is recorded and served. The caller has
// claimed the job.
func (s *Supervisor) begin(id string, rec record) error {
	ctx, end := context.WithCancelCause(context.Background())
	l := &life{
		id: id, end: end, done: make(chan struct{}), holds: make(chan int), calls: make(chan func(context.Context, *record) bool),
		wake: make(chan struct{}, 1), after: map[string]State{},
	}
	for _, other := range rec.Spec.After {
		l.after[other] = ""
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		end(ErrClosed)
		return ErrClosed
	}
	// The place in the line is taken now, so that jobs run in the order in which
	// they were created. One that waits for others gets its place later.
	var got <-chan struct{}
	leave := func() {}
	if rec.Spec.Command != nil && len(rec.Spec.After) == 0 && rec.Next == "" {
		got, leave = s.queue.ask()
	}
	s.lives[id] = l
	s.busy.Go(func() {
		if rec.Spec.Command != nil {
			s.supervise(ctx, l, &rec, &turn{got: got, leave: leave})
		} else {
			s.attend(ctx, l, &rec)
		}
		s.mu.Lock()
		delete(s.lives, id)
		s.mu.Unlock()
		end(nil)
		close(l.done)
	})
	return nil
}

// turn is a place for a running job, or the wait for it.
type turn struct {
	got   <-chan struct{}
	leave func()
}

// finishLife ends a job's life with a cause and waits for it.
func (s *Supervisor) finishLife(ctx context.Context, id string, cause error) error {
	s.mu.Lock()
	l := s.lives[id]
	s.mu.Unlock()
	if l == nil {
		return nil
	}
	l.end(cause)
	select {
	case <-l.done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// tell notes that a job has got a state: those that wait for its end learn it
// before anybody can remove it, and watchers look again.
func (s *Supervisor) tell(id string, state State) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if state.Ended() {
		for _, l := range s.lives {
			if was, waits := l.after[id]; waits && was == "" {
				l.after[id] = state
				select {
				case l.wake <- struct{}{}:
				default: // it has not looked since the last time
				}
			}
		}
	}
	close(s.changed)
	s.changed = make(chan struct{})
}

// supervise takes a job with a command through its states.
func (s *Supervisor) supervise(ctx context.Context, l *life, rec *record, t *turn) {
	own := context.WithoutCancel(ctx) // for records: what happened is written, whatever ends
	var err error
	if rec.Next == "" {
		err = s.toItsEnd(ctx, own, l, rec, t)
		t.leave()
	}
	cause := context.Cause(ctx)
	switch {
	case errors.Is(cause, errRemoved):
		return // Remove erases what there is
	case errors.Is(cause, ErrClosed) && rec.State != StateRunning && rec.Next == "":
		return // it goes on when the node starts again
	}
	if err := s.conclude(own, l.id, rec, s.verdict(cause, rec, err)); err != nil {
		s.log.Error("job not ended", slog.String("job", l.id), slog.Any("err", err))
	}
}

// toItsEnd waits, stages and runs.
func (s *Supervisor) toItsEnd(ctx, own context.Context, l *life, rec *record, t *turn) error {
	if err := s.await(ctx, own, l, rec); err != nil {
		return err
	}
	if t.got == nil {
		t.got, t.leave = s.queue.ask()
	}
	if err := s.enter(own, l.id, rec, StateQueued); err != nil {
		return err
	}
	if err := wait(ctx, t.got); err != nil {
		return err
	}
	if err := s.enter(own, l.id, rec, StateStaging); err != nil {
		return err
	}
	if err := s.stage(ctx, l.id, rec, nil); err != nil {
		return err
	}
	err := s.runCommand(ctx, own, l, rec)
	if ctx.Err() != nil || rec.ExitCode == nil {
		return err // no time for outputs, or there are none
	}
	return errors.Join(err, s.publish(ctx, l.id, rec))
}

// enter records a state that is not the last one.
func (s *Supervisor) enter(own context.Context, id string, rec *record, state State) error {
	if rec.State == state {
		return nil
	}
	rec.State = state
	return s.put(own, id, *rec)
}

// verdict says how a job has ended and why: err is what went wrong, cause what
// ended its life.
func (s *Supervisor) verdict(cause error, rec *record, err error) (v verdict) {
	switch {
	case rec.Next != "":
		return verdict{rec.Next, rec.Error}
	case errors.Is(cause, errStopped):
		return verdict{StateStopped, ""}
	case errors.Is(cause, ErrClosed):
		return verdict{StateFailed, "the node was stopped"}
	case err != nil:
		return verdict{StateFailed, clipText(err.Error())}
	}
	return verdict{StateFinished, ""}
}

// verdict is how a job has ended.
type verdict struct {
	state State
	why   string
}

// conclude ends a job: its bridge stops, what it received and nobody took is
// dropped, its directory goes unless it is to be kept. The record says before
// that there is no way back, and after it that the job has ended.
func (s *Supervisor) conclude(own context.Context, id string, rec *record, v verdict) error {
	if rec.Next == "" {
		rec.Next, rec.Error, rec.Ended, rec.Run = v.state, v.why, s.now().UTC().Truncate(time.Millisecond), nil
		if err := s.put(own, id, *rec); err != nil {
			return err
		}
	}
	if err := s.retire(own, id, rec); err != nil {
		s.log.Error("ended job not cleaned up", slog.String("job", id), slog.Any("err", err))
	}
	rec.State, rec.Next = rec.Next, ""
	return s.put(own, id, *rec)
}
