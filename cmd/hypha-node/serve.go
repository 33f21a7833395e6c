package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/hypha-node/hypha-node/api/control"
	"github.com/hypha-node/hypha-node/node"
)

// farewell is how long a node may take to end after a signal. What hangs longer
// is left behind: the store survives that as it survives kill -9.
const farewell = 5 * time.Second

// serve runs a node until ctx ends and closes it. ready is called once it can
// be used.
func (a *app) serve(ctx context.Context, n *node.Node, ready func(control.Identity) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	var idle sync.WaitGroup
	defer idle.Wait()
	defer cancel(nil)
	ended := make(chan error, 1)
	go func() {
		err := n.Run(ctx, func(id control.Identity) {
			if err := ready(id); err != nil {
				cancel(err)
			}
			idle.Go(func() { shrinkWhenIdle(ctx) })
		})
		ended <- errors.Join(err, n.Close())
	}()
	select {
	case err := <-ended:
		return errors.Join(err, cause(ctx))
	case <-ctx.Done():
	}
	late := time.NewTimer(farewell)
	defer late.Stop()
	select {
	case err := <-ended:
		return errors.Join(err, cause(ctx))
	case <-late.C:
		fmt.Fprintf(a.stderr, "error: the node did not end within %v\n", farewell)
		os.Exit(exitFailed)
		return nil
	}
}

// cause returns why a served context ended, nil if a signal ended it: that is
// how a daemon is stopped.
func cause(ctx context.Context) error {
	err := context.Cause(ctx)
	if _, ok := errors.AsType[signalled](err); ok || errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}
