package jobs

import (
	"context"
	"errors"
	"sync"

	"github.com/hypha-node/hypha-node/bridge"
	"github.com/hypha-node/hypha-node/connectors/peers"
)

var _ peers.Receiver = (*Supervisor)(nil)

// Offered hands a file that a peer offers to every job here that shares the job
// which the offer names, but not to the task that sends it, and takes it when one of them
// does. A job that shares it and is busy or full refuses for all: the sender
// tries again, and who has the file then does not get it twice.
func (s *Supervisor) Offered(ctx context.Context, from string, o peers.Offer, proven func(secret string) bool) (peers.Delivery, error) {
	var got []peers.Delivery
	delivered := false
	for _, job := range s.tasksOf(from, o) {
		d, err := job.Accept(ctx, from, o, proven)
		refusal, refused := errors.AsType[*peers.Refusal](err)
		switch {
		case err == nil:
			got = append(got, d)
		case errors.Is(err, peers.ErrDelivered):
			delivered = true
		case refused && refusal.Code == peers.CodeNotInJob:
		default:
			for _, d := range got {
				d.Drop(err)
			}
			return nil, err
		}
	}
	switch {
	case len(got) == 1:
		return got[0], nil
	case len(got) > 1:
		return newDeliveries(got), nil
	case delivered:
		return nil, peers.ErrDelivered
	}
	return nil, &peers.Refusal{Code: peers.CodeNotInJob, Detail: "no such job for this peer"}
}

// tasksOf returns the bridges of the jobs that may get a file, in the order of
// their ids.
func (s *Supervisor) tasksOf(from string, o peers.Offer) []*bridge.Job {
	own := s.conf.Peers != nil && from == s.conf.Peers.Self()
	s.mu.Lock()
	defer s.mu.Unlock()
	var tasks []*bridge.Job
	for _, id := range sortedKeys(s.serving) {
		if sv := s.serving[id]; sv.scope == o.Job && (!own || id != o.Task) {
			tasks = append(tasks, sv.job)
		}
	}
	return tasks
}

// deliveries is one file for several jobs.
type deliveries struct {
	all  []peers.Delivery
	stop chan struct{} // closed when the watchers are to end
	done chan struct{} // closed when all of them want the file no more
	busy sync.WaitGroup
	end  sync.Once
}

var _ peers.Follower = (*deliveries)(nil)

// newDeliveries watches until one of Keep and Drop is called.
func newDeliveries(all []peers.Delivery) *deliveries {
	d := &deliveries{all: all, stop: make(chan struct{}), done: make(chan struct{})}
	d.busy.Go(d.watch)
	return d
}

// watch closes done when each of the jobs wants the file no more.
func (d *deliveries) watch() {
	for _, one := range d.all {
		f, ok := one.(peers.Follower)
		if !ok || f.Done() == nil {
			return
		}
		select {
		case <-f.Done():
		case <-d.stop:
			return
		}
	}
	close(d.done)
}

// Done is closed when no job wants the file any more.
func (d *deliveries) Done() <-chan struct{} { return d.done }

// Moved tells all jobs, and waits for the slowest.
func (d *deliveries) Moved(ctx context.Context, n int64) {
	for _, one := range d.all {
		if f, ok := one.(peers.Follower); ok {
			f.Moved(ctx, n)
		}
	}
}

// Keep has all jobs keep the file. When one of them can't, the sender tries
// again: those that have it say then that they do.
func (d *deliveries) Keep(ctx context.Context) error {
	d.release()
	var errs []error
	for _, one := range d.all {
		errs = append(errs, one.Keep(ctx))
	}
	return errors.Join(errs...)
}

// Drop has all jobs forget the file.
func (d *deliveries) Drop(err error) {
	d.release()
	for _, one := range d.all {
		one.Drop(err)
	}
}

// release ends the watching.
func (d *deliveries) release() {
	d.end.Do(func() { close(d.stop) })
	d.busy.Wait()
}
