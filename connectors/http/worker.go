package httpconn

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/hypha-node/hypha-node/connectors"
)

// Why an attempt is cut off.
var (
	errSlow   = errors.New("much slower than other connections")
	errBeaten = errors.New("another connection was first")
)

// run is a worker: part after part.
func (f *fan) run(ctx context.Context, w *worker) {
	p := w.part
	if p == nil {
		p = f.first(w)
	}
	for p != nil {
		p = f.after(w, p, f.fetch(ctx, w, p))
	}
}

// first returns the first part of a worker that begins with none.
func (f *fan) first(w *worker) *part {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.claim(w)
}

// fetch fills a part from where it is, by one answer.
func (f *fan) fetch(ctx context.Context, w *worker, p *part) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	seg := f.begin(w, p, cancel)
	if seg == nil {
		var err error
		if seg, err = f.open(ctx, p); err != nil {
			return err
		}
	}
	defer func() { _ = seg.body.Close() }()
	defer context.AfterFunc(ctx, func() { _ = seg.body.Close() })()
	for room := f.room(p); len(room) > 0; room = f.room(p) {
		n, err := seg.read(room)
		f.received(w, p, n)
		if err != nil {
			if ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			return fail("read", f.stream.target.URL, fmt.Errorf("%w: %w", connectors.ErrUpstream, err))
		}
	}
	return nil
}

// begin takes note of an attempt, and returns the answer if there is one already.
func (f *fan) begin(w *worker, p *part, cancel context.CancelCauseFunc) *segment {
	f.mu.Lock()
	defer f.mu.Unlock()
	seg := p.seg
	p.seg = nil
	p.busy = &attempt{by: w, cancel: cancel, since: time.Now(), moved: seg != nil && seg.moved}
	return seg
}

// open asks for the rest of a part.
func (f *fan) open(ctx context.Context, p *part) (*segment, error) {
	f.mu.Lock()
	probe, wait := f.stream.probe(p.at, p.end), time.Until(f.notBefore)
	f.mu.Unlock()
	if err := sleep(ctx, wait); err != nil {
		return nil, err
	}
	return f.scouts.open(ctx, probe)
}

// room returns where the next bytes of a part go, nothing when it is full.
func (f *fan) room(p *part) []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	if p.left() == 0 {
		return nil
	}
	return p.room()
}

// received takes note of bytes that were written into a part.
func (f *fan) received(w *worker, p *part, n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := min(int64(n), p.left()) // it may have been cut off meanwhile
	if m == 0 {
		return
	}
	p.at += m
	p.busy.got += m
	p.busy.moved = true
	f.pilot.note(w, m)
	if p.left() == 0 {
		f.race(p)
	}
	if p.left() == 0 || len(f.parts) > 0 && p == f.parts[0] {
		f.cond.Broadcast()
	}
}

// after takes note of how an attempt has ended, and returns what the worker does
// next, nil when it is to end.
func (f *fan) after(w *worker, p *part, err error) *part {
	f.mu.Lock()
	defer f.mu.Unlock()
	a := p.busy
	p.busy = nil
	if took := time.Since(a.since).Seconds(); a.got > 0 && took > 0 {
		w.speed = float64(a.got) / took
	}
	switch {
	case p.left() == 0:
		return f.claim(w)
	case f.done() != nil:
		return f.quit(w)
	case errors.Is(err, connectors.ErrChanged) && !errors.Is(err, errUntold):
		f.fail(err)
		return f.quit(w)
	case (!a.moved || dripped(a.got, err)) && !errors.Is(err, errSlow):
		f.forsake(p)
		f.shrink(err)
		return f.quit(w)
	case p.spare:
		f.forsake(p)
		return f.claim(w)
	}
	p.busy = &attempt{}
	return p
}

// shrink takes note that an origin refuses a connection, or gives it nothing: it
// is one too many, or the origin says that it has too much to do. f is locked.
func (f *fan) shrink(err error) {
	keep := f.running - 1
	_, wait := transient(err, true)
	if ce, ok := errors.AsType[*connectors.Error](err); ok && (ce.Status == http.StatusTooManyRequests || ce.Status == http.StatusServiceUnavailable) {
		keep = min(keep, f.running/2)
		if wait <= maxWait {
			f.notBefore = later(f.notBefore, time.Now().Add(wait))
		}
	}
	f.want = min(f.want, max(1, keep))
	f.pilot.fail(wait)
	if keep == 0 {
		f.want, f.cause = 0, err
	}
}

// quit ends a worker; f is locked.
func (f *fan) quit(w *worker) *part {
	f.running--
	f.workers = slices.DeleteFunc(f.workers, func(other *worker) bool { return other == w })
	if w.slot {
		f.client.hosts.done(f.scouts.host)
	}
	f.cond.Broadcast()
	return nil
}

// claim returns the next part for a worker; nil, when there is none for it, ends
// it. f is locked, but not while it waits.
func (f *fan) claim(w *worker) *part {
	for f.err == nil && f.done() == nil && f.running <= f.want {
		if p := f.choose(); p != nil {
			p.busy = &attempt{}
			return p
		}
		if !f.busy() {
			break // nothing is left, or the stream goes on by itself
		}
		began := time.Now()
		f.cond.Wait()
		if f.next < f.end {
			f.pilot.starved += time.Since(began)
		}
	}
	return f.quit(w)
}

// choose returns a part that nobody fetches, nil if there is none; f is locked.
func (f *fan) choose() *part {
	for _, p := range f.parts {
		if p.busy == nil && p.left() > 0 {
			return p
		}
	}
	switch {
	case f.want < 2:
		return nil // no new ones: the fan lands
	case f.next == f.end:
		return f.double()
	}
	size := min(f.size(), f.end-f.next)
	chunks := f.mem.take(chunksFor(size))
	if room := int64(len(chunks)) * chunkSize; room < size {
		if len(f.parts) > 0 || room == 0 {
			f.giveAll(chunks)
			return nil
		}
		size = room
	}
	p := &part{base: f.next, at: f.next, end: f.next + size, chunks: chunks}
	f.next = p.end
	f.parts = append(f.parts, p)
	return p
}

// size returns how much one connection is to ask for: so much that each has room
// for two parts, and that all end at about the same time. f is locked.
func (f *fan) size() int64 {
	n := int64(max(f.want, 1))
	size := min(max(window/(2*n), minPart), maxPart)
	size = min(size, max(chunkSize, (f.end-f.next)/n))
	return size / chunkSize * chunkSize
}

// giveAll gives chunks back that were not used; f is locked.
func (f *fan) giveAll(chunks [][]byte) {
	for _, b := range chunks {
		f.mem.give(b)
	}
}

// busy tells whether anybody fetches anything; f is locked.
func (f *fan) busy() bool {
	for _, p := range f.parts {
		if p.busy != nil || p.twin != nil {
			return true
		}
	}
	return false
}

// later returns the later of two times.
func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// sleep waits; its error is ctx's cause.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
