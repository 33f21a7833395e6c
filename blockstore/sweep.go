package blockstore

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"sync/atomic"

	mh "github.com/multiformats/go-multihash"
	"golang.org/x/sync/errgroup"
)

// sweep deletes what is not marked, from the newest segment to the oldest and in
// each from its end to its beginning: what links is stored behind what it links
// to, so that roots go first.
//
// A file segment whose file is gone goes as a whole, also where blocks of it are
// in live files as well, for those have copies of their own; only a block that
// has no other copy stays, in a segment that becomes all holes around it.
func (g *collector) sweep(ctx context.Context) error {
	known, err := g.d.knownSegments()
	if err != nil {
		return err
	}
	newest := g.d.pack.newest()
	if err := g.catchUp(ctx); err != nil {
		return err
	}
	tally, strays, err := g.tally(ctx, known)
	if err != nil {
		return err
	}
	if len(strays) > 0 {
		if err := g.rehome(ctx, strays); err != nil {
			return err
		}
	}
	all := groups(tally)
	for _, group := range slices.Backward(all) {
		if err := g.sweepGroup(ctx, group, newest); err != nil {
			return err
		}
	}
	return nil
}

// catchUp marks what callers touched until now.
func (g *collector) catchUp(ctx context.Context) error {
	_, pardon, err := g.condemn(ctx, nil, nil)
	if err == nil {
		pardon()
	}
	return err
}

func (g *collector) stays(hash mh.Multihash) bool {
	return g.live.has(hash) || g.d.touched.hasBlock(hash)
}

// dying tells whether a segment is one of a file that is gone.
func (g *collector) dying(id uint64) bool {
	_, keep := g.keep[id]
	return kindOf(id) == fileSegment && !keep
}

// tally counts places that may go in the segments that were known before. Strays
// are live blocks that lie in dying segments only.
func (g *collector) tally(ctx context.Context, known map[uint64]segmentRecord) (places map[uint64]int, strays map[string]struct{}, err error) {
	places, strays = make(map[uint64]int), make(map[string]struct{})
	for id := range known {
		if g.dying(id) {
			places[id] = 0
		}
	}
	err = g.d.eachPlace(ctx, func(hash mh.Multihash, all []extent) {
		live, homes := g.stays(hash), 0
		for _, e := range all {
			if _, ok := known[e.seg]; !live || g.dying(e.seg) {
				if ok {
					places[e.seg]++
				}
				continue
			}
			homes++
		}
		if live && homes == 0 && len(strays) < groupPlaces {
			strays[string(hash)] = struct{}{}
		}
	})
	return places, strays, err
}

// rehome finds strays in the segments of live files, which the index does not
// list when a block is in very many files.
func (g *collector) rehome(ctx context.Context, strays map[string]struct{}) error {
	for _, id := range slices.Sorted(maps.Keys(g.keep)) {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		foot, err := g.d.footerOf(id)
		if err != nil {
			continue // it was read when it was marked; its blocks stay where they are
		}
		var found []placedBlock
		for _, blk := range foot.blocks {
			if _, ok := strays[string(blk.cid.Hash())]; ok {
				found = append(found, blk)
				delete(strays, string(blk.cid.Hash()))
			}
		}
		if len(found) == 0 {
			continue
		}
		err = g.d.commit(ctx, &change{frees: true, build: func(b *batch) error {
			for _, blk := range found {
				if err := b.addCopy(blk.cid.Hash(), extent{id, blk.off, blk.length}, true); err != nil {
					return err
				}
			}
			return nil
		}})
		if err != nil || len(strays) == 0 {
			return err
		}
	}
	return nil
}

// sweepGroup deletes from some segments and gives their space back.
func (g *collector) sweepGroup(ctx context.Context, group []uint64, newest uint64) error {
	all, err := g.d.placesIn(ctx, group)
	if err != nil {
		return err
	}
	left := make(map[uint64][]extent, len(group)) // live places of dying segments
	freed := make(map[uint64]bool)
	var step []place
	flush := func() error {
		defer func() { step = step[:0] }()
		return g.drop(ctx, step, left)
	}
	for _, p := range slices.Backward(all) {
		if g.stays(p.hash) && !g.dying(p.at.seg) {
			continue
		}
		freed[p.at.seg] = true
		if step = append(step, p); len(step) == collectStep {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	if err := flush(); err != nil {
		return err
	}
	var gone []uint64
	for _, id := range slices.Backward(group) {
		switch {
		case g.dying(id) && len(left[id]) == 0:
			gone = append(gone, id)
		case g.dying(id): // all around the blocks that have no other place
			err = g.hollow(id, left[id])
		case freed[id]:
			err = g.thin(ctx, id, id == newest)
		}
		if err != nil {
			return err
		}
	}
	for some := range slices.Chunk(gone, removeStep) {
		if err := g.remove(ctx, nil, some...); err != nil {
			return err
		}
	}
	return nil
}

// removeStep is how many segments go with one commit: a collection is mostly the
// waiting for commits, and these hold the facts of the segments' aliases.
const removeStep = 64

// drop takes places out of the index: all of a dead block, and those of a live
// one in dying segments as long as it has another. What stays is added to left.
func (g *collector) drop(ctx context.Context, step []place, left map[uint64][]extent) error {
	if len(step) == 0 {
		return nil
	}
	keys := make([][]byte, len(step))
	for i, p := range step {
		keys[i] = blockKey(p.hash)
	}
	_, pardon, err := g.condemn(ctx, keys, func(key []byte) bool { return g.stays(key[1:]) })
	if err != nil {
		return err
	}
	defer pardon()
	return g.d.commit(ctx, &change{frees: true, build: func(b *batch) error {
		for _, p := range step {
			known, err := copiesOf(b, p.hash)
			all := known.all
			if errors.Is(err, errAbsent) || (err == nil && !slices.Contains(all, p.at)) {
				continue
			}
			if err != nil {
				return err
			}
			if !g.stays(p.hash) { // asked again: it may have been put meanwhile
				b.delete(blockKey(p.hash))
				if g.d.quota != nil {
					b.delete(useKey(p.hash))
				}
				g.out.Blocks++
				continue
			}
			others := slices.DeleteFunc(slices.Clone(all), func(e extent) bool { return e == p.at })
			if len(others) > 0 && g.dying(p.at.seg) {
				b.set(blockKey(p.hash), copies{others, known.private}.encode())
			} else if g.dying(p.at.seg) {
				left[p.at.seg] = append(left[p.at.seg], p.at)
			}
		}
		return nil
	}})
}

// remove makes the index forget segments, but for those that have changed, and
// unlinks them.
func (g *collector) remove(ctx context.Context, changed func(segmentRecord) bool, ids ...uint64) error {
	var facts [][]byte
	for _, id := range ids {
		some, err := g.aliasFacts(id)
		if err != nil {
			return err
		}
		facts = append(facts, some...)
	}
	gone := make([]uint64, 0, len(ids))
	err := g.d.commit(ctx, &change{flushed: true, frees: true, build: func(b *batch) error {
		for _, id := range ids {
			rec, err := getSegment(b, id)
			if err != nil && !errors.Is(err, errAbsent) {
				return err
			}
			if changed != nil && changed(rec) {
				continue
			}
			b.set(goneKey(id), nil) // first: who does not know the one must know the other
			b.delete(segmentKey(id))
			b.delete(useKey(segmentUse(id)))
			gone = append(gone, id)
		}
		return nil
	}}, facts...)
	if err != nil {
		return err
	}
	for _, id := range gone {
		// For a rebuild; it need not be durable before the file is gone.
		if err := g.d.pack.fact(fact{typ: recordGone, at: g.d.now(), gone: id}.record()); err != nil {
			return err
		}
	}
	return g.unlink(gone)
}

// aliasFacts returns records of the aliases that hold still and that a rebuild
// would know from the footer of a segment only: those of a file that has another
// segment as well.
func (g *collector) aliasFacts(id uint64) ([][]byte, error) {
	if kindOf(id) != fileSegment {
		return nil, nil
	}
	foot, err := g.d.footerOf(id)
	if err != nil {
		return nil, nil //nolint:nilerr // then a rebuild knows nothing either
	}
	var facts [][]byte
	for key, a := range foot.aliases {
		f := fact{typ: recordAlias, at: foot.at, key: key, alias: a}
		holds, err := f.holds(g.d)
		if err != nil {
			return nil, err
		}
		if holds {
			facts = append(facts, f.record())
		}
	}
	return facts, nil
}

// unlinkers is how many files of segments are unlinked at once. A file system
// that tells its disk what is free before it answers (ext4 mounted with discard
// and without a journal) waits 0.5 ms and more for each file: with four at once
// 500 files of 2 MiB took 0.2 to 0.5 s there, one by one 0.5 to 1.0 s. More is no
// faster, and lets reads wait for longer.
const unlinkers = 4

// unlink removes the files of segments that the index has forgotten.
func (g *collector) unlink(ids []uint64) error {
	var freed atomic.Int64
	var group errgroup.Group
	group.SetLimit(unlinkers)
	for _, id := range ids {
		group.Go(func() error {
			name := segmentName(id)
			info, err := g.d.segs.fs.Stat(name)
			if err != nil {
				return nil //nolint:nilerr // gone already
			}
			g.d.segs.forget(id)
			if err := g.d.segs.fs.Remove(name); err != nil {
				return err
			}
			freed.Add(info.Allocated)
			return nil
		})
	}
	err := group.Wait()
	g.out.Bytes += freed.Load()
	return err
}

// hollow punches holes into a dying file segment around what stays.
func (g *collector) hollow(id uint64, left []extent) error {
	slices.SortFunc(left, func(a, b extent) int { return cmp.Compare(a.off, b.off) })
	seg, err := g.d.segs.acquire(id)
	if err != nil {
		return err
	}
	defer g.d.segs.release(seg)
	size, err := seg.Size()
	if err != nil {
		return err
	}
	end := int64(0) // of what may go: all before the footers
	if t, err := findTrailer(seg, size); err == nil {
		end = max(0, min(t.off, size-2*(t.length+trailerLength)))
	}
	var holes []hole
	at := int64(0)
	for _, e := range left {
		holes = append(holes, hole{at, min(e.off, end)})
		at = max(at, e.end())
	}
	return g.punch(id, append(holes, hole{at, end}))
}
