package bridge

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
)

const (
	keptTransfers = 256                    // ended ones that are remembered
	keptResults   = 1000                   // results that a remembered transfer may have; more are not kept
	tellEvery     = 100 * time.Millisecond // least time between two reports of progress
)

// Kinds and states of a Transfer.
const (
	kindFetch    = "fetch"
	kindPrefetch = "prefetch"
	kindSend     = "send"
	kindReceive  = "receive"

	stateRunning   = "running"
	stateDone      = "done"
	stateFailed    = "failed"
	stateCancelled = "cancelled"
)

// ledger knows the transfers of a job: all that run, and the last that ended.
type ledger struct {
	now func() time.Time

	mu    sync.Mutex
	list  []*transfer // in the order in which they began
	ended int         // how many of list have ended
	stats Stats
}

// transfer is one entry of a ledger.
type transfer struct {
	ledger *ledger
	cancel context.CancelCauseFunc
	leave  func()         // gives back the place among the job's transfers; it may be called again
	tell   func(Transfer) // nil: nobody wants to know

	telling sync.Mutex // held during a call of tell

	// The rest is guarded by ledger.mu.
	is      Transfer
	key     string // of a send
	told    time.Time
	open    bool  // more files may come
	unknown int   // files of unknown size
	sum     int64 // bytes of the files whose size is known
}

func newLedger(now func() time.Time) *ledger {
	return &ledger{now: now, stats: Stats{Bytes: map[string]int64{}}}
}

// begin adds a transfer. Whoever calls it calls end.
func (l *ledger) begin(kind, name string, cancel context.CancelCauseFunc, tell func(Transfer)) *transfer {
	return l.resume(Transfer{ID: rand.Text(), Kind: kind, Name: clip(name), Started: l.now().UTC()}, cancel, tell)
}

// resume is begin for a transfer that has a name already.
func (l *ledger) resume(is Transfer, cancel context.CancelCauseFunc, tell func(Transfer)) *transfer {
	t := &transfer{ledger: l, cancel: cancel, tell: tell, leave: func() {}, is: is}
	t.is.State, t.is.Total = stateRunning, -1
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = append(l.list, t)
	return t
}

// id names the transfer.
func (t *transfer) id() string { return t.is.ID }

// update changes the transfer and reports it, unless that was done just now.
func (t *transfer) update(change func(*Transfer)) {
	l := t.ledger
	l.mu.Lock()
	change(&t.is)
	now := l.now()
	due := t.tell != nil && now.Sub(t.told) >= tellEvery
	var is Transfer
	if due {
		t.told = now
		is = t.is.clone()
	}
	l.mu.Unlock()
	if due && t.telling.TryLock() { // who is being told gets the next one
		t.tell(is)
		t.telling.Unlock()
	}
}

// moved counts n bytes more that came from a source.
func (t *transfer) moved(from string, n int64) {
	if n == 0 {
		return
	}
	t.update(func(is *Transfer) {
		is.Done += n
		if from == "" {
			return
		}
		if is.From == nil {
			is.From = map[string]int64{}
		}
		is.From[from] += n
	})
}

// expect says that a file of size bytes belongs to the transfer, -1 if unknown,
// or, with last, that no more come.
func (t *transfer) expect(size int64) {
	t.update(func(is *Transfer) {
		if size < 0 {
			t.unknown++
		} else {
			t.sum += size
		}
		t.total(is)
	})
}

// sized says how large a file is that was expected with another size, or none.
func (t *transfer) sized(was, size int64) {
	t.update(func(is *Transfer) {
		if was < 0 {
			t.unknown--
		} else {
			t.sum -= was
		}
		t.sum += size
		t.total(is)
	})
}

// listing says whether more files may come.
func (t *transfer) listing(more bool) {
	t.update(func(is *Transfer) {
		t.open = more
		t.total(is)
	})
}

// total sets Total; ledger.mu is held.
func (t *transfer) total(is *Transfer) {
	is.Total = -1
	if !t.open && t.unknown == 0 {
		is.Total = t.sum
	}
}

// end says how the transfer ended and reports it.
func (t *transfer) end(err error) {
	l := t.ledger
	l.mu.Lock()
	t.is.Ended = l.now().UTC()
	t.is.State = stateDone
	if err != nil {
		t.is.State = stateFailed
		t.is.Error = clip(err.Error())
		for _, e := range []error{ErrCancelled, ErrClosed, context.Canceled} {
			if errors.Is(err, e) {
				t.is.State = stateCancelled
			}
		}
	}
	if len(t.is.Results) > keptResults {
		t.is.Results = nil
	}
	l.ended++
	l.forget()
	is := t.is.clone()
	l.mu.Unlock()
	t.cancel(nil)
	if t.tell != nil {
		t.telling.Lock()
		defer t.telling.Unlock()
		t.tell(is)
	}
}

// forget drops the oldest ended transfers; l.mu is held.
func (l *ledger) forget() {
	for i := 0; l.ended > keptTransfers; i++ {
		if !l.list[i].is.Ended.IsZero() {
			l.list = slices.Delete(l.list, i, i+1)
			l.ended--
			i--
		}
	}
}

// clone returns a copy that shares no memory that changes.
func (t Transfer) clone() Transfer {
	t.From = maps.Clone(t.From)
	t.Results = slices.Clone(t.Results)
	t.Delivers = slices.Clone(t.Delivers)
	if t.Waiting != nil {
		waiting := *t.Waiting
		t.Waiting = &waiting
	}
	return t
}

// Transfers returns what is running and what ended last, in the order in which
// it began.
func (j *Job) Transfers() []Transfer {
	l := j.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make([]Transfer, 0, len(l.list))
	for _, t := range l.list {
		all = append(all, t.is.clone())
	}
	return all
}

// Transfer returns one transfer; ErrNotFound if there is none, or if it ended
// too long ago.
func (j *Job) Transfer(id string) (Transfer, error) {
	t, err := j.ledger.find(id)
	if err != nil {
		return Transfer{}, err
	}
	j.ledger.mu.Lock()
	defer j.ledger.mu.Unlock()
	return t.is.clone(), nil
}

// Cancel ends a transfer, which fails with ErrCancelled soon; one that has ended
// stays as it is. ErrNotFound if there is none.
func (j *Job) Cancel(id string) error {
	t, err := j.ledger.find(id)
	if err != nil {
		return err
	}
	t.cancel(ErrCancelled)
	return nil
}

func (l *ledger) find(id string) (*transfer, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, t := range l.list {
		if t.is.ID == id {
			return t, nil
		}
	}
	return nil, fmt.Errorf("%w: %q", ErrNotFound, clip(id))
}

// start begins an operation that is a transfer: it waits for one of the
// transfers that the job may have at once, ErrBusy if that takes too long. The
// caller calls end with its outcome.
func (j *Job) start(ctx context.Context, kind, name string, tell func(Transfer)) (context.Context, *transfer, func(error), error) {
	ctx, done, err := j.begin(ctx)
	if err != nil {
		return nil, nil, nil, err
	}
	if err := j.limits.out.enter(ctx, slotWait); err != nil {
		done()
		return nil, nil, nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	t := j.ledger.begin(kind, name, cancel, tell)
	t.leave = sync.OnceFunc(j.limits.out.leave)
	return ctx, t, func(err error) {
		t.end(err)
		t.leave()
		j.count()
		done()
	}, nil
}
