package node

import (
	"context"
	"iter"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/jobs"
)

// listing is a bucket of records that tells when it has been listed once. The
// supervisor begins by listing the jobs of earlier runs, to serve them; a job
// that is created before would be taken for one of those.
type listing struct {
	blockstore.Records
	once sync.Once
	done chan struct{} // closed after the first listing
}

// newListing returns a bucket that has not been listed yet.
func newListing(r blockstore.Records) *listing {
	return &listing{Records: r, done: make(chan struct{})}
}

// All yields the records.
func (l *listing) All(ctx context.Context, prefix string) iter.Seq2[blockstore.Record, error] {
	return func(yield func(blockstore.Record, error) bool) {
		defer l.once.Do(func() { close(l.done) })
		for r, err := range l.Records.All(ctx, prefix) {
			if !yield(r, err) {
				return
			}
		}
	}
}

// resumeTimeout bounds the wait for the jobs of earlier runs, and resumeTick is
// how often it is looked whether they answer.
const (
	resumeTimeout = 5 * time.Second
	resumeTick    = 2 * time.Millisecond
)

// awaitJobs returns when the bridges of earlier runs' jobs answer, or have been
// given up: who reads that the daemon is ready may use them. The supervisor has
// begun to serve.
func (n *Node) awaitJobs(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, resumeTimeout)
	defer cancel()
	select {
	case <-n.records.done: // before that, a new job would be taken for an old one
	case <-ctx.Done():
		return
	}
	list, err := n.jobs.List(ctx)
	if err != nil {
		n.log.Warn("jobs of earlier runs", slog.Any("error", err))
		return
	}
	tick := time.NewTicker(resumeTick)
	defer tick.Stop()
	for _, j := range list {
		for !n.settled(ctx, j) {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	}
}

// settled tells whether a job's bridge answers, or never will.
func (n *Node) settled(ctx context.Context, j jobs.Job) bool {
	if conn, err := new(net.Dialer).DialContext(ctx, "unix", j.Socket); err == nil {
		return conn.Close() == nil
	}
	now, err := n.jobs.Show(ctx, j.ID)
	return err != nil || now.State == jobs.StateFailed
}
