package blockstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"

	blocks "github.com/ipfs/go-block-format"

	"github.com/hypha-node/hypha-node/blockstore/internal/vfs"
)

// hole is a range of bytes to punch.
type hole struct{ from, to int64 }

// page is the size to which holes are cut, in bytes: what file systems allocate.
const page = 4 << 10

// inner returns the whole pages of a hole.
func (h hole) inner() hole {
	return hole{(h.from + page - 1) &^ (page - 1), h.to &^ (page - 1)}
}

// punch gives ranges of a segment back to the file system, as far as it can.
func (g *collector) punch(id uint64, holes []hole) error {
	holes = slices.DeleteFunc(slices.Clone(holes), func(h hole) bool { return h.inner().from >= h.inner().to })
	if len(holes) == 0 {
		return nil
	}
	fs, name := g.d.segs.fs, segmentName(id)
	before, err := fs.Stat(name)
	if err != nil {
		return err
	}
	f, err := fs.Open(name, vfs.Write)
	if err != nil {
		return err
	}
	for _, h := range holes {
		h = h.inner()
		if err = f.Punch(h.from, h.to-h.from); err != nil {
			break
		}
	}
	if errors.Is(err, errors.ErrUnsupported) {
		err = nil // the space comes back when the last block of the segment goes
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("punch %s: %w", name, err)
	}
	after, err := fs.Stat(name)
	if err == nil {
		g.out.Bytes += max(0, before.Allocated-after.Allocated)
	}
	return err
}

// thin gives back what dead blocks take in a pack: it is copied to the newest
// one if less than half of it lives, else holes are punched.
func (g *collector) thin(ctx context.Context, id uint64, newest bool) error {
	p, err := g.survey(ctx, id)
	if err != nil {
		return err
	}
	if !newest && p.live < p.size/2 && g.d.space.want(2*p.live) == nil {
		return g.move(ctx, p)
	}
	// On a full disk that copies on write there may be no room even for this.
	// A scan then has to find its way through the holes, which takes longer.
	if err := g.d.bury(id, p.dead); err != nil && !errors.Is(noSpace(err), ErrNoSpace) {
		return err
	}
	holes := slices.Clone(p.dead)
	for i := range holes {
		holes[i].from += packHeader // the head stays, also where the end of its page cuts it
	}
	return g.punch(id, holes)
}

// surveyed is what is alive in a pack.
type surveyed struct {
	id    uint64
	known int64 // bytes that the index knows
	size  int64 // bytes of records
	live  int64 // bytes of those that live
	dead  []hole
}

// survey reads the heads of a pack's records.
func (g *collector) survey(ctx context.Context, id uint64) (surveyed, error) {
	p := surveyed{id: id}
	rec, err := getSegment(g.d.index, id)
	if err != nil {
		return p, err
	}
	p.known = rec.size
	err = g.records(ctx, id, rec.size, func(e packEntry, live bool) error {
		p.size = e.off + e.size
		if live {
			p.live += e.size
			return nil
		}
		if n := len(p.dead); n > 0 && p.dead[n-1].to == e.off {
			p.dead[n-1].to = p.size
		} else {
			p.dead = append(p.dead, hole{e.off, p.size})
		}
		return nil
	})
	return p, err
}

// records calls fn with the records in the first size bytes of a pack.
func (g *collector) records(ctx context.Context, id uint64, size int64, fn func(e packEntry, live bool) error) error {
	seg, err := g.d.segs.acquire(id)
	if err != nil {
		return err
	}
	defer g.d.segs.release(seg)
	scan := packScanner{r: seg, id: id, end: size}
	for {
		e, err := scan.next(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		live, err := g.d.isLive(e)
		if err != nil {
			return err
		}
		if err := fn(e, live); err != nil {
			return err
		}
	}
}

// isLive tells whether the index still says what a record says.
func (d *Disk) isLive(e packEntry) (bool, error) {
	if e.typ.isBlock() {
		known, err := copiesOf(d.index, e.cid.Hash())
		if errors.Is(err, errAbsent) {
			return false, nil
		}
		return slices.Contains(known.all, e.at), err
	}
	f, err := decodeFact(e.typ, e.fact)
	if err != nil {
		return false, nil //nolint:nilerr // of no use to anybody
	}
	return f.holds(d)
}

// bury writes one head over each range of dead records, so that a scan passes
// over the hole that it becomes.
func (d *Disk) bury(id uint64, dead []hole) error {
	if len(dead) == 0 {
		return nil
	}
	f, err := d.segs.fs.Open(segmentName(id), vfs.Write)
	if err != nil {
		return err
	}
	for _, h := range dead {
		if _, err = f.WriteAt(appendHead(nil, recordDead, nil, int(h.to-h.from)-packHeader, nil), h.from); err != nil {
			break
		}
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// move copies what lives in a pack to the newest one and removes it.
func (g *collector) move(ctx context.Context, p surveyed) error {
	var moved []place
	err := g.records(ctx, p.id, p.known, func(e packEntry, live bool) error {
		switch {
		case !live:
			return nil
		case e.typ.isBlock():
			moved = append(moved, place{e.cid.Hash(), e.at})
			return g.d.copyBlock(ctx, e)
		}
		return g.d.pack.fact(appendFact(nil, e.typ, e.fact))
	})
	if err != nil {
		return err
	}
	stay, err := g.d.dropMoved(ctx, moved)
	if err != nil || stay {
		return err
	}
	return g.remove(ctx, func(rec segmentRecord) bool { return rec.size != p.known }, p.id)
}

// dropMoved makes the index forget places of blocks that were copied elsewhere. It
// tells whether there is one that was not.
func (d *Disk) dropMoved(ctx context.Context, moved []place) (stay bool, err error) {
	err = d.commit(ctx, &change{flushed: true, build: func(b *batch) error {
		for _, m := range moved {
			known, err := copiesOf(b, m.hash)
			if errors.Is(err, errAbsent) || (err == nil && !slices.Contains(known.all, m.at)) {
				continue
			}
			if err != nil {
				return err
			}
			others := slices.DeleteFunc(slices.Clone(known.all), func(e extent) bool { return e == m.at })
			if len(others) == 0 { // it could not be read
				stay = true
				continue
			}
			b.set(blockKey(m.hash), copies{others, known.private}.encode())
		}
		return nil
	}})
	return stay, err
}

// copyBlock appends a stored block to the newest pack once more. One that can't
// be read or is bad stays where it is: whoever reads it finds out.
func (d *Disk) copyBlock(ctx context.Context, e packEntry) error {
	c, at := e.cid, e.at
	data := make([]byte, at.length)
	bad, err := d.readExtent(c.Hash(), at, data)
	if err != nil || bad != "" {
		d.log.Warn("block is not copied", slog.String("segment", segmentName(at.seg)),
			slog.Int64("offset", at.off), slog.String("problem", bad), errorAttr(err))
		return nil
	}
	blk, err := blocks.NewBlockWithCid(data, c)
	if err != nil {
		return err
	}
	full, err := d.append(0, e.typ == recordPrivate, blk)
	if err == nil && full {
		err = d.sync(ctx)
	}
	return err
}
