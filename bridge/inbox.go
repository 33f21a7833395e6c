package bridge

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/connectors/peers"
)

// State of an item.
type state uint8

const (
	queued state = iota // waits for a subscription
	held                // in the hands of one
	taken               // received
	broken              // could not be given to anybody, until the job is opened again
)

// item is a file of the inbox. Its state, place and found are guarded by inbox.mu.
type item struct {
	seq      int64
	from     string // peer
	transfer string
	after    string // the transfer of the same sender that comes before, "" if it was kept long ago
	channel  string
	name     string // as the sender has it
	at       time.Time
	file     blockstore.File

	state    state
	retained bool        // received, and its content is kept for a replay
	place    string      // where in the work directory it was put for somebody who did not take it
	found    fs.FileInfo // of that file
	// expect are subscriptions that asked for a replay while the item was held:
	// when it turns out to have been received, they get it.
	expect []*subscription
}

// deliveryID is what a delivery is known by.
type deliveryID struct{ from, transfer string }

// inbox is the files that peers sent to a job. Its log is written before
// anything is told to anybody:
//
//  1. An item is pinned, then recorded; with that it has its sequence, which is
//     the number of its record. One record is written at a time, with all items
//     that came meanwhile, so that there are no gaps after a crash.
//  2. It is given to a subscription, and marked as received in memory when that
//     has taken it; the bitmap on the disk follows. A crash in between gives it
//     again with the same sequence.
//  3. Then it is history: the newest keptReplay of it can be replayed, and of the
//     newest keptHistory it is known that they were delivered.
type inbox struct {
	log    inboxLog
	pins   *pinner
	limits *limiter
	warn   func(msg string, err error)

	mu        sync.Mutex
	items     []*item       // those that are known, by sequence, without gaps
	next      int64         // sequence of the next item
	low       int64         // no item below it is queued
	gathering *batchOfItems // what is recorded next; nil: nothing waits
	newest    *batchOfItems // the last that was begun
	batches   []int64       // sequences that records of items begin with
	doomed    []string      // records to drop, in this order
	byID      map[deliveryID]*item
	pending   map[*delivery]struct{}
	arrived   chan struct{}   // closed, and made anew, when a delivery is announced
	waiters   []*subscription // in the order of their numbers
	subs      int64           // subscriptions so far
	channels  map[string]bool
	retained  []*item // by sequence
	kept      int64   // bytes of retained
	dirty     map[int64]bool
	flushing  bool
}

// openInbox reads an inbox.
func openInbox(ctx context.Context, l inboxLog, all *loaded, pins *pinner, limits *limiter) (*inbox, error) {
	in := &inbox{
		log: l, pins: pins, limits: limits, items: all.items, batches: all.batches,
		byID: map[deliveryID]*item{}, pending: map[*delivery]struct{}{}, arrived: make(chan struct{}), channels: map[string]bool{}, dirty: map[int64]bool{},
	}
	for _, c := range all.channels {
		in.channels[c] = true
	}
	for _, n := range all.chunks {
		if len(in.items) > 0 && n < in.items[0].seq/chunk {
			in.doomed = append(in.doomed, sequenceKey(takenKey, n))
		}
	}
	if n := len(in.items); n > 0 {
		in.low, in.next = in.items[0].seq, in.items[n-1].seq+1
	}
	for _, it := range in.items {
		in.byID[deliveryID{it.from, it.transfer}] = it
		if it.state == queued {
			limits.count(it.file.Size)
			pins.adopt(it.file.Root)
		}
	}
	for _, it := range slices.Backward(in.items) {
		if it.state == taken && (len(in.retained) == 0 || len(in.retained) < keptReplay && in.kept+it.file.Size <= keptBytes) {
			in.retained = append(in.retained, it)
			it.retained = true
			in.kept += it.file.Size
			pins.adopt(it.file.Root)
		}
	}
	slices.Reverse(in.retained)
	if all.unclean {
		if err := pins.sweep(ctx); err != nil {
			return nil, fmt.Errorf("open inbox: %w", err)
		}
		if err := l.dropUnclean(ctx); err != nil {
			return nil, fmt.Errorf("open inbox: %w", err)
		}
	}
	return in, nil
}

// at returns an item by its sequence; in.mu is held.
func (in *inbox) at(seq int64) *item {
	return in.items[seq-in.items[0].seq]
}

// batchOfItems is what is recorded together.
type batchOfItems struct {
	items []*item
	prev  chan struct{} // done of the batch before
	done  chan struct{} // closed when errs are final
	errs  map[*item]error
}

// errOrder refuses an item whose predecessor was not kept.
func errOrder() error {
	return &peers.Refusal{Code: peers.CodeBusy, Detail: "the file before it has not come"}
}

// keep records an item durably, gives it its sequence and offers it to those who
// wait. Calls at the same time share a write; they are recorded in the order in
// which queued was called.
func (in *inbox) keep(ctx context.Context, it *item, queued func()) error {
	in.mu.Lock()
	b := in.gathering
	leads := b == nil || len(b.items) >= perItem
	if leads {
		b = &batchOfItems{done: make(chan struct{}), errs: map[*item]error{}}
		if in.newest != nil {
			b.prev = in.newest.done
		}
		in.gathering, in.newest = b, b
	}
	b.items = append(b.items, it)
	in.mu.Unlock()
	queued()
	if !leads {
		<-b.done
		return b.errs[it]
	}
	if b.prev != nil {
		<-b.prev // meanwhile others join
	}
	in.mu.Lock()
	if in.gathering == b {
		in.gathering = nil
	}
	first := in.next
	in.order(b)
	in.mu.Unlock()
	if len(b.items) > 0 {
		if err := in.log.putItems(ctx, first, b.items); err == nil {
			in.enqueue(first, b.items)
		} else {
			for _, it := range b.items {
				b.errs[it] = err
			}
		}
	}
	close(b.done)
	return b.errs[it]
}

// order refuses the items of a batch whose predecessor was neither kept nor is
// in the batch before them; in.mu is held.
func (in *inbox) order(b *batchOfItems) {
	before := map[deliveryID]bool{}
	b.items = slices.DeleteFunc(b.items, func(it *item) bool {
		id := deliveryID{it.from, it.after}
		if it.after != "" && in.byID[id] == nil && !before[id] {
			b.errs[it] = errOrder()
			return true
		}
		before[deliveryID{it.from, it.transfer}] = true
		return false
	})
}

// enqueue makes recorded items known.
func (in *inbox) enqueue(first int64, items []*item) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.batches = append(in.batches, first)
	for i, it := range items {
		it.seq = first + int64(i)
		in.items = append(in.items, it)
		in.byID[deliveryID{it.from, it.transfer}] = it
	}
	in.next = first + int64(len(items))
	for _, it := range items {
		in.hand(it)
	}
}

// hand gives a queued item to the first subscription that waits for one like it;
// in.mu is held.
func (in *inbox) hand(it *item) {
	it.state = queued
	in.low = min(in.low, it.seq)
	for i, s := range in.waiters {
		if s.wants(it) {
			in.waiters = slices.Delete(in.waiters, i, i+1)
			it.state = held
			select {
			case <-s.got: // a nudge; only who holds in.mu sends
			default:
			}
			s.got <- it
			return
		}
	}
}

// giveBack puts an item back that its subscription did not take.
func (in *inbox) giveBack(it *item) {
	in.mu.Lock()
	defer in.mu.Unlock()
	it.expect = nil
	in.hand(it)
}

// setAside takes an item out of the queue that can't be given to anybody.
func (in *inbox) setAside(it *item) {
	in.mu.Lock()
	defer in.mu.Unlock()
	it.state, it.expect = broken, nil
}

// oldest returns the first queued item that a subscription wants, nil if there
// is none; in.mu is held.
func (in *inbox) oldest(s *subscription) *item {
	if len(in.items) == 0 {
		return nil
	}
	in.low = max(in.low, in.items[0].seq)
	for in.low < in.next && in.at(in.low).state != queued {
		in.low++
	}
	for seq := in.low; seq < in.next; seq++ {
		if it := in.at(seq); it.state == queued && s.wants(it) {
			return it
		}
	}
	return nil
}

// listens tells whether somebody receives on a channel, or did.
func (in *inbox) listens(channel string) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.channels[channel]
}

// listen remembers, durably, that somebody receives on a channel.
func (in *inbox) listen(ctx context.Context, channel string) error {
	if in.listens(channel) {
		return nil
	}
	in.mu.Lock()
	n := len(in.channels)
	in.mu.Unlock()
	if n >= maxChannels {
		return fmt.Errorf("%w: more than %d channels", ErrQuota, maxChannels)
	}
	if err := in.log.putChannel(ctx, channel); err != nil {
		return err
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	in.channels[channel] = true
	return nil
}

// maxChannels is how many channels a job may receive on.
const maxChannels = 1024

// logJob, logTransfer and logError are the attributes of this package's log.
func logJob(j *Job) slog.Attr           { return slog.String("job", j.info.ID) }
func logTransfer(t *transfer) slog.Attr { return slog.String("transfer", t.id()) }
func logError(err error) slog.Attr      { return slog.Any("err", err) }
