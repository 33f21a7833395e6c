package dag

import (
	"context"
	"encoding/json"
	"errors"
	"sync"

	"github.com/hypha-node/hypha-node/blockstore"
)

// keeper keeps the beginning of a content, beside the import or the copy that
// writes it. That one reads at most two steps ahead of what is kept.
type keeper struct {
	file  blockstore.PartialFile
	every int64
	state keptState     // what stays the same of it
	wake  chan struct{} // room for one: there is enough to keep
	moved chan struct{} // room for one: an attempt has ended

	mu     sync.Mutex
	last   *mark // up to where all leaves are written
	begun  int64 // bytes that the last attempt was to keep
	ended  int64 // the same of the last attempt that ended
	failed bool  // that one
}

// newKeeper makes a keeper that keeps every so many bytes; 0 means 14 MiB.
func newKeeper(file blockstore.PartialFile, state keptState, every int64) *keeper {
	kept := file.Kept().Size
	k := &keeper{
		file: file, every: every, state: state,
		wake: make(chan struct{}, 1), moved: make(chan struct{}, 1), begun: kept, ended: kept,
	}
	if k.every <= 0 {
		k.every = keepEvery
	}
	return k
}

// written says that all leaves before a mark are written. A nil keeper or mark is
// none.
func (k *keeper) written(m *mark) {
	if k == nil || m == nil {
		return
	}
	k.mu.Lock()
	k.last = m
	enough := m.end-k.begun >= k.every
	k.mu.Unlock()
	if enough {
		signal(k.wake)
	}
}

// signal wakes who waits for a channel with room for one.
func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default: // it will look at what is there when it is awake
	}
}

// wait returns when another unit can be read behind so many bytes, and still no
// more than two steps have to be kept, for that is what is fetched again; or when
// either context ends. A nil keeper waits for nothing.
func (k *keeper) wait(ctx, whole context.Context, read int64, unit int) {
	for k != nil && k.behind(read) > max(k.every, 2*k.every-int64(unit)) {
		select {
		case <-k.moved:
		case <-ctx.Done():
			return
		case <-whole.Done():
			return
		}
	}
}

func (k *keeper) behind(read int64) int64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	return read - k.ended
}

// start begins to keep, and returns what ends that.
func (k *keeper) start(ctx context.Context) (stop func()) {
	if k == nil {
		return func() {}
	}
	var run sync.WaitGroup
	ended := make(chan struct{})
	run.Go(func() {
		for {
			select {
			case <-k.wake:
				k.keep(ctx)
			case <-ended:
				return
			}
		}
	})
	return func() {
		close(ended)
		run.Wait()
	}
}

// keep makes durable what is written. An error leaves less to go on with, and
// that is all: where it matters, the next write has it, too.
func (k *keeper) keep(ctx context.Context) {
	k.mu.Lock()
	m := k.last
	if m == nil || m.end <= k.begun && !k.failed {
		k.mu.Unlock()
		return
	}
	k.begun = m.end
	k.mu.Unlock()
	s := k.state
	s.Whole, s.Also = m.whole, m.also
	state, err := json.Marshal(s)
	if err == nil {
		err = k.file.Keep(ctx, m.end, state)
	}
	k.mu.Lock()
	k.ended, k.failed = m.end, err != nil
	k.mu.Unlock()
	signal(k.moved)
}

// leave decides what stays of an import that failed with err: what came before an
// interruption, nothing of what is wrong.
func (k *keeper) leave(ctx context.Context, err error, cut bool) error {
	switch {
	case k == nil || err == nil:
		return err
	case errors.Is(err, blockstore.ErrClosed):
		return err
	case errors.Is(err, ErrStale), errors.Is(err, ErrTooLarge), !cut && ctx.Err() == nil:
		return errors.Join(err, k.file.Drop())
	}
	k.keep(context.WithoutCancel(ctx))
	return err
}
