package blockstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/ipfs/go-cid"

	"github.com/hypha-node/hypha-node/internal/dagpb"
)

// see remembers what a node links to; it runs on several goroutines.
func (r *rebuilder) see(c cid.Cid) func([]byte) {
	if c.Type() != cid.DagProtobuf {
		return nil
	}
	return func(data []byte) {
		links := dagpb.Links(c, data)
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, l := range links {
			r.below.add(l.Hash())
		}
	}
}

// take checks blocks and adds the good ones to the batch. It returns the bad ones.
func (r *rebuilder) take(ctx context.Context, all []placedCID) ([]placedCID, error) {
	jobs := func(yield func(checkJob) bool) {
		for _, p := range all {
			if !yield(checkJob{hash: p.cid.Hash(), at: p.at, see: r.see(p.cid)}) {
				return
			}
		}
	}
	bad := make(map[extent]string)
	for c := range r.d.checkAll(ctx, jobs) {
		if c.err != nil {
			c.bad = c.err.Error()
		}
		if c.bad != "" {
			bad[c.at] = c.bad
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	var failed []placedCID
	for _, p := range all {
		if why, ok := bad[p.at]; ok {
			failed = append(failed, p)
			if !r.d.isHole(p.at) {
				r.damaged(Finding{CID: p.cid, Segment: segmentName(p.at.seg), Offset: p.at.off, Problem: why})
			}
			continue
		}
		if _, err := copiesOf(r.b, p.cid.Hash()); errors.Is(err, errAbsent) {
			r.report.Blocks++
		}
		if err := r.b.addCopy(p.cid.Hash(), p.at, p.private); err != nil {
			return nil, err
		}
	}
	return failed, nil
}

// placedCID is a block and where it lies.
type placedCID struct {
	cid     cid.Cid
	at      extent
	private bool // it was not put for everybody there
}

// isHole tells whether a whole page inside an extent is zeros: what a collection
// leaves of a block. (A block of zeros is not asked for: its hash is right.)
func (d *Disk) isHole(e extent) bool {
	h := hole{e.off, e.end()}.inner()
	if h.from >= h.to {
		return false
	}
	seg, err := d.segs.acquire(e.seg)
	if err != nil {
		return false
	}
	defer d.segs.release(seg)
	var buf [page]byte
	_, err = seg.ReadAt(buf[:], h.from)
	return err == nil && buf == [page]byte{}
}

// pack reads the records of a pack.
func (r *rebuilder) pack(ctx context.Context, id uint64, size int64) error {
	seg, err := r.d.segs.acquire(id)
	if err != nil {
		return err
	}
	defer r.d.segs.release(seg)
	r.report.Segments++
	var blks []placedCID
	end, scan := int64(0), packScanner{r: seg, id: id, end: size}
	for {
		e, err := scan.next(ctx)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if e.lost > 0 { // not at the end, where it is what a crash cut off
			r.damaged(Finding{Segment: segmentName(id), Offset: e.off - e.lost, Problem: fmt.Sprintf("%d bytes are no record", e.lost)})
		}
		end = e.off + e.size
		if e.typ.isBlock() {
			blks = append(blks, placedCID{e.cid, e.at, e.typ == recordPrivate})
		} else if f, err := decodeFact(e.typ, e.fact); err == nil {
			r.fact(f)
		}
		if len(blks) == pendingKeys {
			if err := r.takeLoose(ctx, blks); err != nil {
				return err
			}
			blks = blks[:0]
		}
	}
	r.b.set(segmentKey(id), segmentRecord{kind: packSegment, state: segmentWhole, size: end}.encode())
	return r.takeLoose(ctx, blks)
}

// takeLoose is take for blocks that no file vouches for.
func (r *rebuilder) takeLoose(ctx context.Context, all []placedCID) error {
	bad, err := r.take(ctx, all)
	if err != nil {
		return err
	}
	failed := make(map[extent]bool, len(bad))
	for _, p := range bad {
		failed[p.at] = true
	}
	for _, p := range all {
		if !failed[p.at] {
			r.loose = append(r.loose, p.cid)
		}
	}
	return r.flush(pendingKeys)
}

// file reads a file segment.
func (r *rebuilder) file(ctx context.Context, id uint64, size int64) error {
	r.report.Segments++
	foot, err := r.d.footerOf(id)
	if errors.Is(err, errFooter) {
		r.damaged(Finding{Segment: segmentName(id), Offset: size, Problem: err.Error()})
		return nil
	}
	if err != nil {
		return err
	}
	if at, gone := r.gone[id]; gone && at > foot.at {
		r.b.set(goneKey(id), nil)
		return nil
	}
	all, private := make([]placedCID, len(foot.blocks)), foot.isPrivate()
	for i, blk := range foot.blocks {
		all[i] = placedCID{blk.cid, extent{id, blk.off, blk.length}, private}
	}
	bad, err := r.take(ctx, all)
	if err != nil {
		return err
	}
	rec := segmentRecord{kind: fileSegment, state: segmentWhole, size: size, file: fileKey(foot.file.Root)}
	r.b.set(segmentKey(id), rec.encode())
	for key, a := range foot.aliases {
		r.facts = append(r.facts, fact{typ: recordAlias, at: foot.at, key: key, alias: a})
	}
	if len(bad) == 0 {
		if _, err := getFile(r.b, rec.file); errors.Is(err, errAbsent) {
			r.report.Files++
		}
		r.b.set(rec.file, fileRecord{size: foot.file.Size, sha256: foot.file.SHA256, seg: id}.encode())
		r.loose = append(r.loose, foot.file.Root)
		return nil
	}
	for _, p := range all {
		if !slices.Contains(bad, p) {
			r.loose = append(r.loose, p.cid)
		}
	}
	return nil
}
