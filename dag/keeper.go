package dag

import (
	"context"
	"encoding/json"
	"errors"
	"sync"

	"github.com/hypha-node/hypha-node/blockstore"
)

// keeper keeps the beginning of a content, beside the import that writes it: it
// is never waited for, and where it is slow, it takes longer steps.
type keeper struct {
	file    *blockstore.Partial
	every   int64
	profile string
	note    []byte
	wake    chan struct{} // room for one: there is enough to keep

	mu     sync.Mutex
	last   *mark // up to where all leaves are written
	kept   int64 // bytes; of the last attempt
	failed bool  // that attempt
}

func newKeeper(o *ImportOptions, file *blockstore.Partial) *keeper {
	k := &keeper{
		file: file, every: o.Keep.Every, profile: o.Profile.String(), note: o.Keep.Note,
		wake: make(chan struct{}, 1), kept: file.Kept().Size,
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
	enough := m.end-k.kept >= k.every
	k.mu.Unlock()
	if !enough {
		return
	}
	select {
	case k.wake <- struct{}{}:
	default: // it will see this mark when it is awake
	}
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
	if m == nil || m.end <= k.kept && !k.failed {
		k.mu.Unlock()
		return
	}
	k.kept = m.end
	k.mu.Unlock()
	state, err := json.Marshal(keptState{Profile: k.profile, Whole: m.whole, Also: m.also, Note: k.note})
	if err == nil {
		err = k.file.Keep(ctx, m.end, state)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.failed = err != nil
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
