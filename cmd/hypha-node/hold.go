package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hypha-node/hypha-node/api/control"
)

// holder keeps a held job for as long as this process wants it, and across
// restarts of the daemon.
type holder struct {
	cancel context.CancelFunc
	first  chan struct{} // closed when the job is held for the first time, or can't be
	over   chan struct{} // closed when it is held no more
	err    error         // why; valid after over
}

// comeBack is how often a holder looks whether the daemon is there again.
const comeBack = 200 * time.Millisecond

// hold holds a job until let is called or the job has ended. It outlives ctx.
func hold(ctx context.Context, cl *control.Client, id string) *holder {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	h := &holder{cancel: cancel, first: make(chan struct{}), over: make(chan struct{})}
	go func() {
		defer close(h.over)
		held := false
		h.err = h.keep(ctx, cl, id, func() {
			if !held {
				held = true
				close(h.first)
			}
		})
		if !held {
			close(h.first)
		}
	}()
	return h
}

// keep holds the job and comes back when the daemon does.
func (h *holder) keep(ctx context.Context, cl *control.Client, id string, held func()) error {
	look := time.NewTicker(comeBack)
	defer look.Stop()
	for {
		var last error
		for ev, err := range cl.JobHold(ctx, id) {
			if last = err; ev.Item != nil {
				held()
			}
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case last == nil:
			return fmt.Errorf("job %s was ended", id)
		case !passing(last):
			return last
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// passing tells whether an error says that the daemon is away for now.
func passing(err error) bool {
	e, ok := errors.AsType[*control.Error](err)
	return ok && e.Code == control.CodeEnding || errors.Is(err, control.ErrCut) || errors.Is(err, control.ErrNoDaemon)
}

// begun returns when the job is held, or why it is not.
func (h *holder) begun(ctx context.Context) error {
	select {
	case <-h.first:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case <-h.over:
		return h.err
	default:
		return nil
	}
}

// let lets the job go and waits for that.
func (h *holder) let() {
	h.cancel()
	<-h.over
}
