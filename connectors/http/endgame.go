package httpconn

import (
	"math"
	"slices"
	"time"
)

// maxTwice is the part of a content that may be fetched twice at its end: one
// hundredth.
const maxTwice = 100

// double returns a second attempt at the part that would take longest, for a
// connection that has nothing else to do; nil if none would take much longer than
// that, or if the bytes that are fetched twice would be too many. f is locked.
func (f *fan) double() *part {
	var slowest *part
	var longest float64
	usual, _ := f.median(nil)
	for _, p := range f.parts {
		if p.busy == nil || p.twin != nil || p.left() == 0 || f.spent+p.left() > f.stream.total/maxTwice {
			continue
		}
		age := time.Since(p.busy.since)
		if age < 2*tick {
			continue // it may just have begun
		}
		took := math.Inf(1)
		if p.busy.got > 0 {
			took = float64(p.left()) * age.Seconds() / float64(p.busy.got)
		}
		if took > longest && took*usual > 2*float64(p.left()) {
			slowest, longest = p, took
		}
	}
	if slowest == nil {
		return nil
	}
	n := chunksFor(slowest.left())
	chunks := f.mem.take(n)
	if len(chunks) < n {
		f.giveAll(chunks)
		return nil
	}
	f.spent += slowest.left()
	twin := &part{base: slowest.at, at: slowest.at, end: slowest.end, chunks: chunks, twin: slowest, spare: true}
	slowest.twin = twin
	return twin
}

// race decides between a part that is full and its twin, if it has one: the other
// one is cut off. f is locked.
func (f *fan) race(p *part) {
	q := p.twin
	if q == nil {
		return
	}
	p.twin, q.twin = nil, nil
	f.spent -= q.left() // came once only
	q.end = q.at
	if q.busy != nil && q.busy.cancel != nil {
		q.busy.cancel(errBeaten)
	}
	if q.spare {
		f.discard(q)
		return
	}
	q.shared = true // its attempt may be writing
	p.spare = false
	f.parts = slices.Insert(f.parts, slices.Index(f.parts, q)+1, p)
}

// forsake takes note that nobody fetches a part any more; a twin is of no use
// then. f is locked.
func (f *fan) forsake(p *part) {
	if !p.spare {
		return
	}
	if p.twin != nil {
		p.twin.twin = nil
		p.twin = nil
	}
	f.spent -= p.left()
	p.end = p.at
	f.discard(p)
}

// discard gives the memory of a twin back whose bytes nobody reads; f is locked.
func (f *fan) discard(p *part) {
	for i, b := range p.chunks {
		if b != nil {
			f.mem.drop()
		}
		p.chunks[i] = nil
	}
}
