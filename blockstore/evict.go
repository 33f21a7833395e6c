package blockstore

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"math"
	"slices"
	"time"

	mh "github.com/multiformats/go-multihash"
)

// An eviction is a collection that keeps more than what pins reach: of the rest
// it takes what was not used for longest, until enough is free. What goes are
//
//	file segments, each with its file
//	blocks in packs, one by one: small files and loose nodes
//	beginnings of files that nobody writes, when all that is not enough
//
// It deletes as any collection does, so that a crash leaves what that leaves.

const (
	// tendEvery is how often Tend looks after a store that nobody wakes it for.
	tendEvery = time.Minute
	// tendPause is how long Tend leaves a store alone that it could not get below
	// the high water: each try looks at every record of the index.
	tendPause = 10 * time.Second
)

// errPinned says that there is not enough that may go.
var errPinned = errors.New("not enough may go")

// Tend removes pins when they end, keeps the store below its high water, and the
// index told of what was used, until ctx ends or the store is closed; then it
// returns nil. One caller at a time.
func (d *Disk) Tend(ctx context.Context) error {
	ctx, leave, err := d.long(ctx)
	if err != nil {
		return nil //nolint:nilerr // it has ended before it began
	}
	defer leave()
	timer := time.NewTimer(0)
	defer timer.Stop()
	var pause time.Time // until which nothing is evicted
	for {
		select {
		case <-timer.C:
		case <-d.wake:
		case <-ctx.Done():
			return nil
		}
		next := d.tend(ctx)
		if now := time.Now(); now.After(pause) {
			if full := d.tendQuota(ctx); full {
				pause = now.Add(tendPause)
			}
		}
		timer.Reset(next)
	}
}

// tend removes the pins that have ended, and returns how long none will.
func (d *Disk) tend(ctx context.Context) time.Duration {
	next, err := d.dropExpired(ctx)
	if err != nil && ctx.Err() == nil {
		d.log.Warn("pins that have ended", errorAttr(err))
	}
	if next.IsZero() {
		return tendEvery
	}
	return min(tendEvery, max(0, time.Until(next)))
}

// tendQuota evicts above the high water, and tells whether that was not enough.
func (d *Disk) tendQuota(ctx context.Context) (full bool) {
	q := d.quota
	if q == nil {
		return false
	}
	d.flushUses()
	high := q.max / 100 * highWater
	err := q.measure(d)
	if err == nil && q.used() > high {
		err = d.evict(ctx, 0, false)
	}
	if err != nil && ctx.Err() == nil {
		d.log.Warn("keep to the storage maximum", errorAttr(err))
	}
	return q.used() > high
}

// evict makes room for n bytes, down to the low water if that much may go. With n
// of 0 it leaves the later half of what may go if it can't get there: what is
// pinned alone is not worth it. all takes everything that may go.
func (d *Disk) evict(ctx context.Context, n int64, all bool) error {
	ctx, leave, err := d.long(ctx)
	if err != nil {
		return err
	}
	defer leave()
	done, err := d.alone(ctx)
	if err != nil {
		return err
	}
	defer done()
	q := d.quota
	if err := q.measure(d); err != nil {
		return err
	}
	over := q.used() + n - q.max
	if n > 0 && over <= 0 {
		return nil // somebody else made room
	}
	if over > 0 && q.isFutile(over) {
		return nil
	}
	changes := q.changes.Load()
	g := d.newCollector(q.links)
	g.evict = &eviction{want: q.used() - min(q.max/100*lowWater, q.max/100*99-n), must: over}
	if all {
		g.evict.want = math.MaxInt64
	}
	d.flushUses()
	err = d.collect(ctx, g)
	q.evicted.Add(g.out.Bytes)
	if merr := q.measure(d); merr != nil {
		return merr
	}
	if errors.Is(err, errPinned) {
		q.setFutile(changes, g.evict.may)
		return nil
	}
	if g.out.Bytes > 0 {
		q.runs.Add(1)
		d.log.Info("dropped what was not used for longest", slog.Int64("bytes", g.out.Bytes), slog.Int64("files", g.out.Files),
			slog.Int64("used", q.used()), slog.Int64("max", q.max))
	}
	return err
}

// isFutile tells whether it is known that so many bytes can't be freed.
func (q *quota) isFutile(over int64) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.futile.known && q.futile.changes == q.changes.Load() && over > q.futile.may
}

func (q *quota) setFutile(changes uint64, may int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.futile = futility{true, changes, may}
}

// futility is what an eviction found that was not enough.
type futility struct {
	known   bool
	changes uint64 // the count of changes before it
	may     int64  // bytes that could have gone
}

// eviction is what makes a collection one.
type eviction struct {
	want int64 // bytes to free
	must int64 // of these, without which it is no use to free any; <= 0: there are none
	may  int64 // bytes that may go, once that is known
}

// candidate is what may go in one piece.
type candidate struct {
	last  int64 // when it was used, nanoseconds since 1970; 0: not known
	tie   uint64
	size  int64     // bytes
	seg   uint64    // a file segment, or 0
	block shortHash // a block in a pack, if seg is 0
}

// spare marks what stays although no pin reaches it.
func (g *collector) spare(ctx context.Context) error {
	if err := g.catchUp(ctx); err != nil { // what callers rely on may not go
		return err
	}
	all, err := g.candidates(ctx)
	if err != nil {
		return err
	}
	e := g.evict
	for _, c := range all {
		e.may += c.size
	}
	if e.may < e.must {
		if err := g.sparePartials(ctx); err != nil {
			return err
		}
	}
	want := e.want
	if e.may < want && want < math.MaxInt64 {
		want = max(e.must, e.may/2)
	}
	slices.SortFunc(all, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.last, b.last), cmp.Compare(a.tie, b.tie))
	})
	for i, c := range all {
		if want <= 0 {
			return g.keepAll(ctx, all[i:])
		}
		want -= c.size
	}
	return nil
}

// sparePartials drops beginnings of files, the oldest first, if with them there is
// enough.
func (g *collector) sparePartials(ctx context.Context) error {
	e := g.evict
	all, err := g.d.partials()
	if err != nil {
		return err
	}
	var kept int64
	for _, p := range all {
		kept += p.rec.kept
	}
	if e.may+kept < e.must {
		return errPinned
	}
	for {
		var once bool
		n, err := g.d.dropPartials(ctx, func() bool {
			defer func() { once = true }()
			return once
		})
		g.out.Bytes += n
		e.want, e.must = e.want-n, e.must-n
		if err != nil || e.may >= e.must {
			return err
		}
		if n == 0 {
			return errPinned // somebody writes the others
		}
	}
}

// candidates returns what may go: what is neither marked nor touched.
func (g *collector) candidates(ctx context.Context) ([]candidate, error) {
	known, err := g.d.knownSegments()
	if err != nil {
		return nil, err
	}
	used, err := g.uses(ctx, known)
	if err != nil {
		return nil, err
	}
	var all []candidate
	for id, rec := range known {
		if _, keep := g.keep[id]; keep || kindOf(id) != fileSegment {
			continue
		}
		all = append(all, candidate{last: used.segments[id].last, tie: id, size: rec.size, seg: id})
	}
	before := used.ends()
	err = g.d.eachPlace(ctx, func(hash mh.Multihash, places []extent) {
		at := places[0]
		if kindOf(at.seg) != packSegment || g.stays(hash) {
			return
		}
		c := candidate{tie: at.seg, size: at.length, block: shortOf(hash)}
		if last, ok := used.blocks[c.block]; ok {
			c.last = last
		} else {
			c.last = written(at, known[at.seg].size, used.segments[at.seg], before[at.seg])
		}
		all = append(all, c)
	})
	return all, err
}

// written guesses when a block was appended to a pack of size bytes, from when
// the pack was begun and appended to last, and when the one before it was.
func written(at extent, size int64, pack use, before int64) int64 {
	first := max(pack.first, before)
	if pack.last <= first || size <= 0 {
		return first
	}
	return first + int64(float64(pack.last-first)*float64(at.off)/float64(size))
}

// usesKnown is what the index knows of uses.
type usesKnown struct {
	segments map[uint64]use
	blocks   map[shortHash]int64
}

// ends returns when the packs before each pack were appended to last.
func (u usesKnown) ends() map[uint64]int64 {
	var ids []uint64
	for id := range u.segments {
		if kindOf(id) == packSegment {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	ends, last := make(map[uint64]int64, len(ids)), int64(0)
	for _, id := range ids {
		ends[id] = last
		last = max(last, u.segments[id].last)
	}
	return ends
}

// uses reads what the index knows, and has it forget those of segments that are
// gone.
func (g *collector) uses(ctx context.Context, known map[uint64]segmentRecord) (usesKnown, error) {
	u := usesKnown{segments: make(map[uint64]use), blocks: make(map[shortHash]int64)}
	var gone [][]byte
	err := g.d.index.scan([]byte{keyUse}, nil, func(k, v []byte) bool {
		at, err := decodeUse(v)
		switch {
		case err != nil:
			gone = append(gone, slices.Clone(k))
		case len(k) != 9:
			u.blocks[shortOf(k[1:])] = at.last
		default:
			id := binary.BigEndian.Uint64(k[1:])
			if u.segments[id] = at; known[id].kind == 0 && id < g.d.pack.newest() {
				gone = append(gone, slices.Clone(k))
			}
		}
		return len(gone) < collectStep && ctx.Err() == nil
	})
	if err != nil || len(gone) == 0 {
		return u, err
	}
	return u, g.d.commit(ctx, &change{frees: true, build: func(b *batch) error {
		for _, key := range gone {
			b.delete(key)
		}
		return nil
	}})
}

// keepAll marks candidates that stay.
func (g *collector) keepAll(ctx context.Context, all []candidate) error {
	for _, c := range all {
		if c.seg == 0 {
			g.live[c.block] = struct{}{}
			continue
		}
		rec, err := getSegment(g.d.index, c.seg)
		if errors.Is(err, errAbsent) {
			continue
		}
		if err != nil {
			return err
		}
		if root, err := rootOfFileKey(rec.file); err == nil {
			if err := g.mark(ctx, root); err != nil {
				return err
			}
		}
	}
	return nil
}
