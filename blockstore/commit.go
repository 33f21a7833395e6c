package blockstore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
)

// change is one caller's part of a commit.
type change struct {
	// build adds operations; it runs on some caller's goroutine while no
	// other change does. What it added is dropped if it returns an error.
	build func(b *batch) error
	// flushed: everything put before must be durable with it.
	flushed bool
	// frees: it gives room back, and is let through on a full disk, where what
	// was put before is not made durable with it.
	frees bool
	done  chan struct{}
	err   error
}

// commits is the queue of changes to the index. Whoever finds it idle becomes
// the leader and commits for all that wait, so that concurrent callers share an
// fdatasync and a transaction.
type commits struct {
	mu    sync.Mutex
	queue []*change
	lead  chan struct{} // holds a token while somebody leads
}

// commit applies a change durably. Facts are appended to the pack first, in the
// order of the queue.
func (d *Disk) commit(ctx context.Context, c *change, facts ...[]byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	full := d.space.forIndex()
	if full != nil && !c.frees {
		return full
	}
	c.done = make(chan struct{})
	q := &d.commits
	q.mu.Lock()
	for _, rec := range facts {
		if err := d.pack.fact(rec); err != nil && full == nil {
			q.mu.Unlock()
			return err
		}
	}
	q.queue = append(q.queue, c)
	q.mu.Unlock()
	select {
	case q.lead <- struct{}{}:
		d.leadCommit()
		<-q.lead
	case <-c.done:
		return c.err
	case <-ctx.Done():
		if q.withdraw(c) {
			return ctx.Err()
		}
	}
	<-c.done
	return c.err
}

// withdraw takes a change back unless a leader has it already.
func (q *commits) withdraw(c *change) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	i := slices.Index(q.queue, c)
	if i < 0 {
		return false
	}
	q.queue = slices.Delete(q.queue, i, i+1)
	return true
}

// take returns all that waits, with a flush that holds exactly their facts.
func (q *commits) take(p *pack, full error) ([]*change, *flush, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	all := q.queue
	q.queue = nil
	if len(all) == 0 || full != nil { // no change: an earlier leader took it
		return all, nil, full
	}
	fl, err := p.begin()
	return all, fl, err
}

// leadCommit commits all that waits:
//
//  1. write out and fdatasync the packs
//  2. put together the places of new blocks, then each change
//  3. write that to the index, synced
//
// On a full disk it is only what gives room back.
func (d *Disk) leadCommit() {
	all, fl, flushErr := d.commits.take(d.pack, d.space.forIndex())
	defer func() {
		for _, c := range all {
			close(c.done)
		}
	}()
	if len(all) == 0 {
		return
	}
	b := newBatch(d.index)
	if flushErr == nil {
		if flushErr = d.flush(fl, b); flushErr != nil {
			d.pack.end(fl, flushErr)
		}
	}
	d.build(b, all, flushErr)
	if flushErr == nil {
		d.lazy.begin(b)
		fl.lengths(b)
	}
	err := d.writeIndex(b)
	if flushErr == nil {
		d.lazy.end(err)
		d.pack.end(fl, err)
	} else if err != nil {
		d.pack.fail(err)
	}
	for _, c := range all {
		if c.err == nil {
			c.err = err
		}
	}
}

// flush makes durable what was put and adds its places to a batch.
func (d *Disk) flush(fl *flush, b *batch) error {
	if err := fl.sync(d.segs.fs); err != nil {
		return fmt.Errorf("sync %s: %w", d.dir, err)
	}
	return fl.index(b, d.epoch.Load())
}

// build adds changes to a batch, each as a whole or not at all.
func (d *Disk) build(b *batch, all []*change, flushErr error) {
	full := errors.Is(flushErr, ErrNoSpace)
	for _, c := range all {
		switch {
		case full && c.frees:
			c.err = d.space.toFree()
		case c.flushed || full:
			c.err = flushErr
		default:
			c.err = d.pack.broken()
		}
		if c.err != nil || c.build == nil {
			continue
		}
		mark := b.mark()
		if c.err = c.build(b); c.err != nil {
			b.undo(mark)
		}
	}
}

// writeIndex writes a batch.
func (d *Disk) writeIndex(b *batch) error {
	if len(b.ops) == 0 {
		return nil
	}
	// In front, so that no number and no time is used twice whatever comes of
	// the rest.
	mark := binary.AppendUvarint(nil, d.segs.highest())
	mark = binary.AppendVarint(mark, d.now())
	if err := d.index.write(slices.Insert(b.ops, 0, indexOp{metaMark(), mark})); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

// index adds the places of the blocks. In the epoch in which the index did not
// know them it still does not.
func (fl *flush) index(b *batch, epoch uint64) error {
	for hash, p := range fl.blocks {
		if fl.epoch == epoch && !p.private {
			b.set(blockKey([]byte(hash)), copies{all: []extent{p.at}}.encode())
			continue
		}
		if err := b.addCopy([]byte(hash), p.at, p.private); err != nil {
			return err
		}
	}
	return nil
}

// lengths adds the lengths of the packs. They come last: what is behind the known
// length at the next start is told to the index again, facts included.
func (fl *flush) lengths(b *batch) {
	for _, f := range fl.packs {
		b.set(segmentKey(f.id), segmentRecord{kind: packSegment, state: segmentWhole, size: f.size}.encode())
	}
}

// broken returns the error that ended all writing, if one did.
func (p *pack) broken() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.failed
}

// fail ends all writing.
func (p *pack) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failed == nil {
		p.failed = fmt.Errorf("store takes no more writes until it is opened again: %w", err)
	}
}

// Sync makes everything durable that was put before the call; concurrent calls
// share one flush.
func (d *Disk) Sync(ctx context.Context) error {
	if err := d.gate.enter(); err != nil {
		return err
	}
	defer d.gate.leave()
	return d.sync(ctx)
}

func (d *Disk) sync(ctx context.Context) error {
	return d.commit(ctx, &change{flushed: true})
}
