package bridge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/connectors/peers"
	"github.com/hypha-node/hypha-node/internal/diskspace"
)

const (
	// comeAgain is when a refused sender may try again: the space of an inbox and
	// of a gate comes back when somebody receives.
	comeAgain = time.Second
	// gateWait is how long an offer waits for others to end before its sender is
	// asked to come again: no longer, for what holds the place may wait for it.
	gateWait = time.Second
	// orderWait is how long a file waits for the one before it to be offered.
	orderWait = time.Second
	// longDebt is how far behind its rate a job may be and still accept offers.
	longDebt = 5 * time.Second
	// roomFrom is the size, in bytes, from which an offer costs a look at the disk.
	roomFrom = 1 << 20
)

// Accept judges an offer that names this job. A *peers.Refusal tells the sender
// why not; peers.ErrDelivered that the file was kept before. What a stranger
// learns is CodeNotInJob, whatever the reason.
func (j *Job) Accept(ctx context.Context, from string, o peers.Offer, proven func(secret string) bool) (peers.Delivery, error) {
	if j.peers == nil || j.inbox == nil || !j.inScope(from, o, proven) {
		return nil, notInJob()
	}
	if err := checkOffer(o); err != nil {
		return nil, err
	}
	if j.Closing() {
		return nil, busy(ErrClosed)
	}
	wait, cancel := context.WithTimeout(ctx, offerWait)
	defer cancel()
	d := &delivery{
		job: j, settled: make(chan struct{}), queued: make(chan struct{}), stuck: make(chan struct{}), done: make(chan struct{}),
		item: &item{from: from, transfer: o.Transfer, after: o.After, channel: o.Channel, name: o.Name, file: o.File, at: j.now().UTC()},
	}
	if err := j.inbox.announce(wait, d); err != nil {
		if errors.Is(err, peers.ErrDelivered) {
			return nil, err
		}
		return nil, refusal(err)
	}
	if err := j.admit(wait, d); err != nil {
		j.inbox.settle(d)
		return nil, refusal(err)
	}
	d.transfer = j.ledger.begin(kindReceive, o.Name, d.cancel, nil)
	d.transfer.expect(o.File.Size)
	d.release = j.hold()
	return d, nil
}

// inScope tells whether the sender may send such a file to this job.
func (j *Job) inScope(from string, o peers.Offer, proven func(secret string) bool) bool {
	switch {
	case o.Job != j.scope.Job, j.sentByItself(from, o), j.liars.has(from):
		return false
	case len(j.scope.Peers) > 0 && !slices.Contains(j.scope.Peers, from):
		return false
	case o.Channel != j.scope.Channel && !j.inbox.listens(o.Channel):
		return false
	}
	return j.scope.Secret == "" || proven(j.scope.Secret)
}

// checkOffer refuses what can't be kept.
func checkOffer(o peers.Offer) error {
	switch {
	case o.Transfer == "" || len(o.Transfer) > 64 || strings.ContainsFunc(o.Transfer, notPlain):
		return invalidOffer("transfer id")
	case len(o.Name) > 255 || !utf8.ValidString(o.Name):
		return invalidOffer("name")
	case !o.File.Root.Defined() || o.File.Size < 0:
		return invalidOffer("file")
	}
	return nil
}

// notInJob is what strangers are told.
func notInJob() error {
	return &peers.Refusal{Code: peers.CodeNotInJob, Detail: "no such job for this peer"}
}

func invalidOffer(what string) error {
	return &peers.Refusal{Code: peers.CodeInvalid, Detail: "the " + what + " of the offer can't be"}
}

// notPlain tells whether a transfer id can't hold a character.
func notPlain(r rune) bool {
	switch {
	case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9':
		return false
	}
	return !strings.ContainsRune("._-", r)
}

// busy asks a sender to come again.
func busy(err error) error {
	return &peers.Refusal{Code: peers.CodeBusy, Detail: err.Error(), RetryAfter: comeAgain}
}

// refusal returns what a sender is told of a failure on this side.
func refusal(err error) error {
	if _, ok := errors.AsType[*peers.Refusal](err); ok {
		return err
	}
	switch {
	case errors.Is(err, ErrBusy), errors.Is(err, ErrClosed), errors.Is(err, context.DeadlineExceeded):
		return busy(err)
	case errors.Is(err, blockstore.ErrNoSpace):
		return &peers.Refusal{Code: peers.CodeNoSpace, Detail: "the node has no room for it"}
	case errors.Is(err, ErrCancelled):
		return &peers.Refusal{Code: peers.CodeCancelled, Detail: err.Error()}
	}
	return err
}

// admit reserves what a file needs: a place in the gate, in the quota, on the
// disk, and at the job's rate.
func (j *Job) admit(ctx context.Context, d *delivery) error {
	size := d.item.file.Size
	if debt := j.limits.debt(); debt > longDebt {
		return &peers.Refusal{Code: peers.CodeBusy, Detail: "the job's rate is used up", RetryAfter: debt}
	}
	if err := j.limits.settle(ctx); err != nil {
		return err
	}
	if size >= roomFrom {
		if space, err := diskspace.Of(j.info.WorkDir); err == nil && space.Free < size+j.inbox.expected() {
			return &peers.Refusal{Code: peers.CodeNoSpace, Detail: "the node has no room for it"}
		}
	}
	if err := j.limits.in.enter(ctx, 0); errors.Is(err, ErrBusy) {
		close(d.stuck)
		err = j.limits.in.enter(ctx, gateWait)
		if err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	if !j.limits.admit(size) {
		j.limits.in.leave()
		return &peers.Refusal{Code: peers.CodeQuota, Detail: "the inbox of the job is full", RetryAfter: comeAgain}
	}
	d.admitted.Store(true)
	return nil
}

// delivery is an accepted offer.
type delivery struct {
	job      *Job
	item     *item
	transfer *transfer
	release  func()       // of the hold on what is stored
	admitted atomic.Bool  // counted by the limits
	moved    atomic.Int64 // bytes

	once    sync.Once
	settled chan struct{} // closed when it was kept or dropped
	queued  chan struct{} // closed when its place in the inbox is certain, should it be kept
	stuck   chan struct{} // closed when it has to wait for others to end
	done    chan struct{} // closed when it was cancelled

	mu        sync.Mutex
	cancelled error
}

var (
	_ peers.Follower = (*delivery)(nil)
	_ peers.Keeper   = (*delivery)(nil)
)

// Store returns the store as the job sees and fills it.
func (d *delivery) Store() blockstore.Store { return d.job.store.Scope(d.job.own) }

// cancel ends the transfer.
func (d *delivery) cancel(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.cancelled == nil && err != nil {
		d.cancelled = err
		close(d.done)
	}
}

// Done is closed when the transfer was cancelled here.
func (d *delivery) Done() <-chan struct{} { return d.done }

// Moved counts bytes that came in, and holds the next ones to the job's rate. Of
// the blocks some are no content: the transfer shows no more than the file has.
func (d *delivery) Moved(ctx context.Context, n int64) {
	size := d.item.file.Size
	before := d.moved.Add(n) - n
	d.transfer.moved("peer", min(before+n, size)-min(before, size))
	if err := d.job.limits.pay(ctx, int(n)); err != nil {
		return // ctx has ended, and with it the transfer
	}
}

// Keep records the file in the inbox and wakes who waits for it.
func (d *delivery) Keep(ctx context.Context) error {
	var err error = &peers.Refusal{Code: peers.CodeInternal, Detail: "the delivery has ended"}
	d.once.Do(func() {
		err = d.keep(ctx)
		d.end(err)
	})
	return refusal(err)
}

func (d *delivery) keep(ctx context.Context) error {
	d.mu.Lock()
	cancelled := d.cancelled
	d.mu.Unlock()
	if cancelled != nil {
		return cancelled
	}
	opCtx, done, err := d.job.begin(ctx)
	if err != nil {
		return err
	}
	defer done()
	// What is begun is finished: the sender may be gone, and come again.
	ctx = context.WithoutCancel(ctx)
	in, root := d.job.inbox, d.item.file.Root
	if err := d.job.store.Admit(ctx, root, d.job.own); err != nil {
		return fmt.Errorf("admit: %w", err)
	}
	if err := in.pins.acquire(ctx, root); err != nil {
		return fmt.Errorf("pin: %w", err)
	}
	if err := in.follow(opCtx, d); err != nil {
		return errors.Join(err, in.pins.release(ctx, root))
	}
	err = in.keep(ctx, d.item, func() { close(d.queued) })
	if _, refused := errors.AsType[*peers.Refusal](err); refused {
		return errors.Join(err, in.pins.release(ctx, root))
	}
	if err != nil {
		in.pins.abandon(root) // it may be recorded all the same
		return fmt.Errorf("record: %w", err)
	}
	d.transfer.moved("store", d.item.file.Size-min(d.moved.Load(), d.item.file.Size))
	return nil
}

// follow waits until the file before this one has its place. It may come a
// little later, for the two are on streams of their own; but who waits for a
// place in the gate is not waited for: this one may hold the last.
func (in *inbox) follow(ctx context.Context, d *delivery) error {
	if d.item.after == "" {
		return nil
	}
	id := deliveryID{d.item.from, d.item.after}
	timer := time.NewTimer(orderWait)
	defer timer.Stop()
	for {
		in.mu.Lock()
		known := in.byID[id] != nil
		before := in.underWayAs(id)
		wake := in.arrived
		in.mu.Unlock()
		if known {
			return nil
		}
		var late <-chan time.Time
		var queued, stuck, settled <-chan struct{}
		if before == nil {
			late = timer.C
		} else {
			queued, stuck, settled, wake = before.queued, before.stuck, before.settled, nil
		}
		select {
		case <-queued:
			return nil
		case <-settled: // kept or dropped: look again
		case <-wake:
		case <-stuck:
			return errOrder()
		case <-late:
			return errOrder()
		case <-d.done:
			return ErrCancelled
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// underWayAs returns the delivery of that id that is under way; in.mu is held.
func (in *inbox) underWayAs(id deliveryID) *delivery {
	for d := range in.pending {
		if d.item.from == id.from && d.item.transfer == id.transfer {
			return d
		}
	}
	return nil
}

// Drop forgets the offer.
func (d *delivery) Drop(err error) {
	d.once.Do(func() {
		if err == nil {
			err = errors.New("the sender gave up")
		}
		if refusal, ok := errors.AsType[*peers.Refusal](err); ok && refusal.Lied {
			d.job.liars.add(d.item.from)
			d.job.log.Warn("sender is refused from now on", logJob(d.job), slog.String("peer", d.item.from), logError(err))
		}
		d.end(err)
	})
}

// end gives back what was reserved.
func (d *delivery) end(err error) {
	j := d.job
	if err != nil {
		j.limits.dismiss(d.item.file.Size)
		j.log.Info("delivery failed", logJob(j), slog.String("peer", d.item.from), slog.String("transfer", d.item.transfer), logError(err))
	}
	j.limits.in.leave()
	d.transfer.end(err)
	d.release()
	j.inbox.settle(d)
}

// announce makes a delivery known, so that who receives until a moment may wait
// for it. The same one is never under way twice: the later waits for the earlier.
func (in *inbox) announce(ctx context.Context, d *delivery) error {
	id := deliveryID{d.item.from, d.item.transfer}
	for {
		in.mu.Lock()
		if it := in.byID[id]; it != nil {
			in.mu.Unlock()
			if it.file.Root != d.item.file.Root {
				return invalidOffer("transfer id, which named another file,")
			}
			return peers.ErrDelivered
		}
		earlier := in.underWayAs(id)
		if earlier == nil {
			in.pending[d] = struct{}{}
			close(in.arrived)
			in.arrived = make(chan struct{})
			in.mu.Unlock()
			return nil
		}
		in.mu.Unlock()
		select {
		case <-earlier.settled:
		case <-ctx.Done():
			return busy(errors.New("an earlier attempt has not ended"))
		}
	}
}

// settle takes a delivery off the list of those under way.
func (in *inbox) settle(d *delivery) {
	in.mu.Lock()
	defer in.mu.Unlock()
	delete(in.pending, d)
	close(d.settled)
	in.nudge()
}

// expected returns how many bytes are under way.
func (in *inbox) expected() (size int64) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for d := range in.pending {
		if d.admitted.Load() {
			size += d.item.file.Size
		}
	}
	return size
}
