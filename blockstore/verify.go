package blockstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"log/slog"
	"maps"
	"slices"

	"github.com/ipfs/go-cid"
	mh "github.com/multiformats/go-multihash"
	"golang.org/x/time/rate"
)

// VerifyOptions says how Verify reports.
type VerifyOptions struct {
	// Progress is called with bytes of blocks, from the goroutine that ranges
	// over the findings; nil for none.
	Progress func(done, total int64)
	// Rate bounds how many bytes per second are read, 0 for no bound.
	Rate int64
	// Mend returns the bytes of a damaged block, from wherever it can have them;
	// they are held against the hash. Nil: nothing is mended.
	Mend func(ctx context.Context, dmg Damage) ([]byte, error)
	// Keep leaves blocks that can't be mended where they are, for a later try; a
	// reader drops them.
	Keep bool
	// After leaves out the segments up to the one of that name, in the order of
	// their numbers, and Passed is told of the segments that are done, of each run
	// the last; for a verification in several goes. "" and nil: all of them.
	After  string
	Passed func(segment string)
}

// Finding is one thing that is wrong with what is stored.
type Finding struct {
	CID     cid.Cid // CIDv1 raw of the block's multihash; undefined if no block is named
	Segment string  // name of the file below segments/
	Offset  int64   // in the segment, bytes
	Problem string  // a phrase
	Mended  bool    // it is as it should be again
}

// Verify hashes everything again that the index knows, segment by segment on all
// cores, and yields what is wrong. A bad block is dropped, so that it is fetched
// again, unless it is mended or a good copy of it is left; a footer or a record head that only a
// rebuild of the index would need is written again from what is known. An error
// ends the sequence. The store must not be closed from within the loop.
func (d *Disk) Verify(ctx context.Context, o VerifyOptions) iter.Seq2[Finding, error] {
	return func(yield func(Finding, error) bool) {
		ctx, leave, err := d.long(ctx)
		if err != nil {
			yield(Finding{}, err)
			return
		}
		defer leave()
		v := verification{d: d, o: o, yield: yield}
		if v.after, _ = parseSegmentName(o.After); o.Rate > 0 {
			v.limit = rate.NewLimiter(rate.Limit(o.Rate), maxBlock)
		}
		if err := v.run(ctx); err != nil && !errors.Is(err, errStopped) {
			yield(Finding{}, fmt.Errorf("verify: %w", err))
		}
	}
}

// errStopped says that the caller wants no more.
var errStopped = errors.New("stopped")

type verification struct {
	d           *Disk
	o           VerifyOptions
	after       uint64        // segments up to this one are left out
	limit       *rate.Limiter // nil: none
	yield       func(Finding, error) bool
	done, total int64
}

func (v *verification) report(f Finding) error {
	if !v.yield(f, nil) {
		return errStopped
	}
	return nil
}

func (v *verification) run(ctx context.Context) error {
	if err := v.d.sync(ctx); err != nil && !errors.Is(err, ErrNoSpace) {
		return err
	}
	known, err := v.d.knownSegments()
	if err != nil {
		return err
	}
	places := make(map[uint64]int)
	err = v.d.eachPlace(ctx, func(_ mh.Multihash, all []extent) {
		for _, e := range all {
			if e.seg > v.after {
				places[e.seg]++
				v.total += e.length
			}
		}
	})
	if err != nil {
		return err
	}
	for _, group := range groups(places) {
		if err := v.blocks(ctx, group); err != nil {
			return err
		}
		if v.o.Passed != nil {
			v.o.Passed(segmentName(group[len(group)-1]))
		}
	}
	for _, id := range slices.Sorted(maps.Keys(known)) {
		if id <= v.after {
			continue
		}
		check := v.footer
		if kindOf(id) == packSegment {
			check = v.heads
		}
		if err := check(ctx, id, known[id]); err != nil {
			return err
		}
	}
	return nil
}

// blocks hashes the blocks of some segments.
func (v *verification) blocks(ctx context.Context, group []uint64) error {
	all, err := v.d.placesIn(ctx, group)
	if err != nil {
		return err
	}
	jobs := func(yield func(checkJob) bool) {
		for _, p := range all {
			if v.limit != nil && v.limit.WaitN(ctx, int(max(1, p.at.length))) != nil {
				return // ctx has ended
			}
			if !yield(checkJob{hash: p.hash, at: p.at}) {
				return
			}
		}
	}
	for r := range v.d.checkAll(ctx, jobs) {
		if v.done += r.at.length; v.o.Progress != nil {
			v.o.Progress(v.done, max(v.done, v.total))
		}
		if err := v.judge(ctx, r); err != nil {
			return err
		}
	}
	return context.Cause(ctx)
}

// judge reports and drops a bad block.
func (v *verification) judge(ctx context.Context, r checked) error {
	f := Finding{CID: cid.NewCidV1(cid.Raw, r.hash), Segment: segmentName(r.at.seg), Offset: r.at.off, Problem: r.bad}
	if r.err != nil {
		f.Problem = r.err.Error()
		return v.report(f) // the machine's fault, perhaps for now only: it stays
	}
	if r.bad == "" {
		return nil
	}
	if all, err := v.d.find(f.CID); err != nil || !slices.Contains(all, r.at) {
		return nil //nolint:nilerr // deleted or moved meanwhile
	}
	if f.Mended = v.mend(ctx, r); f.Mended || v.o.Keep {
		return v.report(f)
	}
	_ = v.d.corrupt(ctx, f.CID, r.at, r.bad) //nolint:errcheck // it says what r.bad says
	return v.report(f)
}

// mend tells whether a bad block is good again.
func (v *verification) mend(ctx context.Context, r checked) bool {
	if v.o.Mend == nil {
		return false
	}
	dmg, err := v.d.damage(r)
	var data []byte
	if err == nil {
		data, err = v.o.Mend(ctx, dmg)
	}
	if err == nil {
		err = v.d.mend(ctx, r, dmg, data)
	}
	if err != nil && ctx.Err() == nil {
		v.d.log.Warn("damaged block is not mended", slog.String("cid", cid.NewCidV1(cid.Raw, r.hash).String()),
			slog.String("segment", segmentName(r.at.seg)), errorAttr(err))
	}
	return err == nil
}

// footer checks both copies of a file segment's footer.
func (v *verification) footer(_ context.Context, id uint64, rec segmentRecord) error {
	f := Finding{Segment: segmentName(id), Offset: rec.size}
	seg, err := v.d.segs.acquire(id)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // its blocks were reported, or it was collected meanwhile
	}
	if err != nil {
		f.Problem = err.Error()
		return v.report(f)
	}
	defer v.d.segs.release(seg)
	good, bad, err := checkFooters(seg, rec.size)
	switch {
	case err != nil:
		f.Problem = err.Error()
	case len(bad) == 0:
		return nil
	case good == nil:
		f.Problem = "both footers are damaged: only the index knows what the segment holds"
	default:
		f.Offset, f.Problem = bad[0].off, "a footer is damaged"
		if err := v.d.mendFooter(id, good, bad[0]); err != nil {
			v.d.log.Warn("footer stays damaged", slog.String("segment", f.Segment), errorAttr(err))
		}
	}
	return v.report(f)
}

// heads checks the heads of a pack's records: the index knows blocks that a scan
// of the pack does not find if their heads are damaged.
func (v *verification) heads(ctx context.Context, id uint64, rec segmentRecord) error {
	seg, err := v.d.segs.acquire(id)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return v.report(Finding{Segment: segmentName(id), Problem: err.Error()})
	}
	defer v.d.segs.release(seg)
	scan := packScanner{r: seg, id: id, end: rec.size}
	for {
		e, err := scan.next(ctx)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if e.lost > 0 {
			if rerr := v.lostHeads(ctx, id, scan.at-e.size-e.lost, e.lost); rerr != nil {
				return rerr
			}
		}
		if err != nil {
			return nil
		}
	}
}

// lostHeads deals with a part of a pack that a scan can't read: blocks in it are
// stored once more, and a head is written over it. Where there are no blocks, it
// was a fact, or what a power cut left of records that were being collected.
func (v *verification) lostHeads(ctx context.Context, id uint64, off, n int64) error {
	if err := v.d.rescue(ctx, id, off, n); err != nil {
		v.d.log.Warn("records stay damaged", slog.String("segment", segmentName(id)), slog.Int64("offset", off), errorAttr(err))
	}
	return v.report(Finding{Segment: segmentName(id), Offset: off, Problem: fmt.Sprintf("%d bytes are no record", n)})
}

// copyAgain appends a block to the newest pack, for those whom it is for.
func (d *Disk) copyAgain(ctx context.Context, p place) error {
	known, err := copiesOf(d.index, p.hash)
	if err != nil {
		return ignoreAbsent(err)
	}
	e := packEntry{typ: recordBlock, cid: cid.NewCidV1(cid.Raw, p.hash), at: p.at}
	if known.private {
		e.typ = recordPrivate
	}
	return d.copyBlock(ctx, e)
}

func (d *Disk) rescue(ctx context.Context, id uint64, off, n int64) error {
	all, err := d.placesIn(ctx, []uint64{id})
	if err != nil {
		return err
	}
	all = slices.DeleteFunc(all, func(p place) bool { return p.at.off < off || p.at.off >= off+n })
	for _, p := range all {
		if err := d.copyAgain(ctx, p); err != nil {
			return err
		}
	}
	stay, err := d.dropMoved(ctx, all)
	if err != nil || stay || n < packHeader {
		return err
	}
	return d.bury(id, []hole{{off, off + n}})
}
