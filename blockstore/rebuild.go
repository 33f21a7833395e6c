package blockstore

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/ipfs/go-cid"
)

// rebuiltPin is the name of the pins that a rebuild sets.
const rebuiltPin = "rebuilt"

// RebuildReport is what a rebuild of the index found.
type RebuildReport struct {
	Blocks   int64     // distinct multihashes
	Files    int64     // recorded; a file of one raw leaf has no record
	Aliases  int64     // whose root is stored
	Segments int64     // that were read
	Damaged  []Finding // what could not be used, at most 10,000 of them
	Lost     []string  // kinds of things that only the index knew, as phrases
}

// rebuildStep is how many low bits of a segment's number count up between two
// rebuilds.
const rebuildStep = 32

// maxDamaged bounds RebuildReport.Damaged.
const maxDamaged = 10_000

// rebuilder fills the empty index of a Disk from its segments:
//
//  1. records of packs, oldest first; then file segments by their footers. Every
//     block is hashed; only good ones count
//  2. what packs and footers say of files and names, in the order of time
//  3. a pin for every root that no pin covers: files, and blocks that no block
//     links to
type rebuilder struct {
	d      *Disk
	report RebuildReport
	b      *batch
	gone   map[uint64]int64 // segments that were collected, and when
	facts  []fact

	mu    sync.Mutex
	below hashSet   // what some block links to
	loose []cid.Cid // good blocks of packs and of files that are not whole
}

// rebuildIndex fills the index of d, which is empty.
func rebuildIndex(ctx context.Context, d *Disk) (RebuildReport, error) {
	r := &rebuilder{d: d, b: newBatch(d.index), gone: make(map[uint64]int64), below: make(hashSet)}
	err := r.run(ctx)
	return r.report, err
}

func (r *rebuilder) run(ctx context.Context) error {
	infos, err := r.d.segs.fs.List()
	if err != nil {
		return err
	}
	sizes := make(map[uint64]int64)
	for _, info := range infos {
		if id, ok := parseSegmentName(info.Name); ok {
			sizes[id] = info.Size
			r.d.segs.used(id)
		}
	}
	ids := slices.Sorted(maps.Keys(sizes))
	for _, kind := range []segmentKind{packSegment, fileSegment} {
		for _, id := range ids {
			if kindOf(id) != kind {
				continue
			}
			if _, gone := r.gone[id]; gone && kind == packSegment {
				r.b.set(goneKey(id), nil) // the next start removes it
				continue
			}
			read := r.pack
			if kind == fileSegment {
				read = r.file
			}
			if err := read(ctx, id, sizes[id]); err != nil {
				return fmt.Errorf("segment %s: %w", segmentName(id), err)
			}
			if err := r.flush(pendingKeys); err != nil {
				return err
			}
		}
	}
	if err := r.flush(1); err != nil {
		return err
	}
	if err := r.applyFacts(ctx); err != nil {
		return err
	}
	if err := r.d.markPrivates(ctx); err != nil {
		return err
	}
	if err := r.pin(ctx); err != nil {
		return err
	}
	r.b.set(metaMade(), []byte{repoVersion})
	for _, f := range r.facts {
		r.d.clock.Store(max(r.d.clock.Load(), f.at))
	}
	// Numbers that were used and left no trace are not used again.
	r.d.segs.used((r.d.segs.highest()>>rebuildStep + 1) << rebuildStep)
	r.b.set(metaMark(), binary.AppendVarint(binary.AppendUvarint(nil, r.d.segs.highest()), r.d.now()))
	return r.flush(1)
}

// flush writes the batch if it has at least n operations.
func (r *rebuilder) flush(n int) error {
	if len(r.b.ops) < n {
		return nil
	}
	err := r.d.index.write(r.b.ops)
	r.b = newBatch(r.d.index)
	return err
}

func (r *rebuilder) damaged(f Finding) {
	if len(r.report.Damaged) < maxDamaged {
		r.report.Damaged = append(r.report.Damaged, f)
	}
}

func (r *rebuilder) fact(f fact) {
	switch f.typ {
	case recordGone:
		r.gone[f.gone] = max(r.gone[f.gone], f.at)
		r.d.segs.used(f.gone)
	case recordFile, recordAlias, recordPin, recordUnpin:
		r.facts = append(r.facts, f)
	}
}

// applyFacts tells the index what packs and footers say, the latest last.
func (r *rebuilder) applyFacts(ctx context.Context) error {
	slices.SortStableFunc(r.facts, func(a, b fact) int { return cmp.Compare(a.at, b.at) })
	aliases := make(map[string]struct{})
	for _, f := range r.facts {
		root := f.pin.Root
		switch f.typ {
		case recordFile:
			root = f.file.Root
		case recordAlias:
			root = f.alias.Root
		}
		if f.typ != recordUnpin {
			whole, err := r.d.isWhole(ctx, r.b, root, f.typ == recordFile)
			if err != nil {
				return err
			}
			if !whole {
				if f.typ == recordAlias { // an older one is not true any more
					delete(aliases, f.key)
					r.b.delete(aliasKey(f.key))
				}
				continue
			}
		}
		if f.typ == recordAlias {
			aliases[f.key] = struct{}{}
		}
		if f.typ == recordFile {
			if _, err := getFile(r.b, fileKey(root)); errors.Is(err, errAbsent) {
				r.report.Files++
			}
		}
		if err := f.apply(r.b); err != nil {
			return err
		}
		if err := r.flush(pendingKeys); err != nil {
			return err
		}
	}
	r.report.Aliases = int64(len(aliases))
	return r.flush(1)
}

// pin keeps every root that nobody has pinned.
func (r *rebuilder) pin(ctx context.Context) error {
	pinned := make(hashSet)
	var bad error
	err := r.d.index.scan([]byte{keyPin}, nil, func(_, v []byte) bool {
		p, err := decodePin(v)
		if err != nil {
			bad = err
			return false
		}
		pinned.add(p.Root.Hash())
		return true
	})
	if err = errors.Join(err, bad); err != nil {
		return err
	}
	now := time.Now()
	for _, c := range r.loose {
		if r.below.has(c.Hash()) || pinned.has(c.Hash()) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		pinned.add(c.Hash())
		r.b.set(pinKey(c, rebuiltPin), encodePin(Pin{Root: c, Name: rebuiltPin, Created: now}))
		if err := r.flush(pendingKeys); err != nil {
			return err
		}
	}
	r.d.log.Info("index is built again", slog.Int64("blocks", r.report.Blocks), slog.Int64("files", r.report.Files),
		slog.Int64("aliases", r.report.Aliases), slog.Int64("segments", r.report.Segments), slog.Int("damaged", len(r.report.Damaged)))
	return r.flush(1)
}
