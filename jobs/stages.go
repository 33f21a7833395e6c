package jobs

import (
	"context"
	"errors"
	"fmt"

	"github.com/hypha-node/hypha-node/bridge"
	"github.com/hypha-node/hypha-node/connectors"
)

// await waits for the jobs that must have finished before.
func (s *Supervisor) await(ctx, own context.Context, l *life, rec *record) error {
	if len(rec.Spec.After) == 0 {
		return nil
	}
	if err := s.enter(own, l.id, rec, StateWaiting); err != nil {
		return err
	}
	for _, id := range rec.Spec.After {
		if err := s.lookAt(ctx, l, id); err != nil {
			return err
		}
	}
	for {
		pending := false
		for _, id := range rec.Spec.After {
			switch state := s.seen(l, id); state {
			case StateFinished:
			case "":
				pending = true
			default:
				return fmt.Errorf("job %s, which it comes after, has %s", id, state)
			}
		}
		if !pending {
			return nil
		}
		if err := wait(ctx, l.wake); err != nil {
			return err
		}
	}
}

// seen returns how a job that l waits for has ended, "" if it has not.
func (s *Supervisor) seen(l *life, id string) State {
	s.mu.Lock()
	defer s.mu.Unlock()
	return l.after[id]
}

// lookAt notes how a job that l waits for has ended, if it has. Of one that ends
// from now on tell will.
func (s *Supervisor) lookAt(ctx context.Context, l *life, id string) error {
	rec, err := s.read(ctx, id)
	if s.seen(l, id) != "" {
		return nil
	}
	if errors.Is(err, ErrNotFound) {
		return fmt.Errorf("job %s, which it comes after, was removed", id)
	}
	if err != nil || !rec.State.Ended() {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	l.after[id] = rec.State
	return nil
}

// Progress says how far the staging of a job is.
type Progress struct {
	Path  string // directory of the input
	Done  int64  // bytes
	Total int64  // bytes; 0 while unknown
}

// stage fetches a job's inputs into its work directory, one after the other:
// each takes all the bandwidth that there is.
func (s *Supervisor) stage(ctx context.Context, id string, rec *record, told func(Progress)) error {
	inputs, err := rec.Spec.inputs()
	if err != nil {
		return err
	}
	job, err := s.bridgeOf(id)
	if err != nil {
		return err
	}
	for _, in := range inputs {
		req := bridge.FetchRequest{Ref: in.ref, OutDir: in.dir, Access: connectors.Access{Operator: true}} // who makes jobs is the operator
		if told != nil {
			req.Progress = func(t bridge.Transfer) { told(Progress{Path: in.dir, Done: t.Done, Total: max(t.Total, 0)}) }
		}
		if _, err := job.Fetch(ctx, req); err != nil {
			return fmt.Errorf("input %s: %w", in.dir, err)
		}
	}
	return nil
}

// bridgeOf returns the bridge of a job that is served.
func (s *Supervisor) bridgeOf(id string) (*bridge.Job, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if sv := s.serving[id]; sv != nil {
		return sv.job, nil
	}
	return nil, fmt.Errorf("job %s: %w", id, ErrClosed)
}
