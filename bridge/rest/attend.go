package rest

import (
	"context"
	"sync/atomic"
	"time"
)

// settling is how long the end of a client is kept from the job after something
// was written to it: many clients go as soon as they have what they wanted, and
// what they got must be acknowledged, not given to the next one.
const settling = 20 * time.Millisecond

// attendance is the context of a receive: it ends when the client goes, or when
// it did not take what was written to it.
type attendance struct {
	cancel context.CancelCauseFunc
	wrote  atomic.Int64 // when something was written last, Unix time in ns
	unhook func()
}

// attend watches the context of a request; the caller calls leave.
func attend(request context.Context) (context.Context, *attendance) {
	a := &attendance{}
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(request))
	a.cancel = cancel
	done := make(chan struct{})
	stop := context.AfterFunc(request, func() {
		defer close(done)
		for {
			left := settling - time.Since(time.Unix(0, a.wrote.Load()))
			if left <= 0 {
				break
			}
			pause(ctx, left)
			if ctx.Err() != nil {
				return
			}
		}
		cancel(context.Cause(request))
	})
	a.unhook = func() {
		if !stop() {
			<-done
		}
	}
	return ctx, a
}

// written says how the writing of an item ended: well, or it goes back.
func (a *attendance) written(err error) {
	if err != nil {
		a.cancel(err)
		return
	}
	a.wrote.Store(time.Now().UnixNano())
}

// leave ends the context.
func (a *attendance) leave() {
	a.cancel(nil)
	a.unhook()
}
