package bridge

import (
	"context"
	"errors"
	"slices"
)

// How much of what was received is kept.
const (
	keptReplay  = 256     // newest received items whose content can be replayed …
	keptBytes   = 1 << 30 // … and the most bytes that they have together; the newest may have more
	keptHistory = 10_000  // received items that are known to have been delivered
)

// received marks an item as received. The disk follows: background runs what
// writes it and is waited for by the job's Stop.
func (in *inbox) received(it *item, background func(func())) {
	in.mu.Lock()
	defer in.mu.Unlock()
	it.state, it.place, it.found = taken, "", nil
	in.limits.dismiss(it.file.Size)
	in.dirty[it.seq/chunk] = true
	in.retain(it)
	in.replayed(it)
	if !in.flushing {
		in.flushing = true
		background(in.flush)
	}
}

// retain makes an item part of what can be replayed; in.mu is held.
func (in *inbox) retain(it *item) {
	at, _ := slices.BinarySearchFunc(in.retained, it.seq, func(r *item, seq int64) int { return int(r.seq - seq) })
	in.retained = slices.Insert(in.retained, at, it)
	it.retained = true
	in.kept += it.file.Size
}

// surplus takes out of what can be replayed what is too much of it; in.mu is held.
func (in *inbox) surplus() []*item {
	n := 0
	for len(in.retained)-n > 1 && (len(in.retained)-n > keptReplay || in.kept > keptBytes) {
		in.kept -= in.retained[n].file.Size
		in.retained[n].retained = false
		n++
	}
	gone := slices.Clone(in.retained[:n])
	in.retained = slices.Delete(in.retained, 0, n)
	return gone
}

// flush writes which items were received until there is nothing to write, and
// drops what is no longer needed. Its own context: the job's end must not keep
// it from writing.
func (in *inbox) flush() {
	ctx := context.Background()
	for {
		in.mu.Lock()
		if len(in.dirty) == 0 {
			in.flushing = false
			in.mu.Unlock()
			return
		}
		maps := map[int64][]byte{}
		for n := range in.dirty {
			maps[n] = in.bitmap(n)
		}
		clear(in.dirty)
		in.mu.Unlock()
		if err := in.writeTaken(ctx, maps); err != nil {
			in.warn("received items not recorded; they will be given again after a restart", err)
			in.mu.Lock()
			for n := range maps {
				in.dirty[n] = true
			}
			in.flushing = false // the next one tries again
			in.mu.Unlock()
			return
		}
		if err := in.shed(ctx); err != nil {
			in.warn("history of the inbox not trimmed", err)
		}
	}
}

// bitmap returns which items of a chunk were received; in.mu is held.
func (in *inbox) bitmap(n int64) []byte {
	bits := make([]byte, chunk/8)
	if len(in.items) == 0 {
		return bits
	}
	for seq := max(n*chunk, in.items[0].seq); seq < min((n+1)*chunk, in.next); seq++ {
		if in.at(seq).state == taken {
			bits[seq%chunk/8] |= 1 << (seq % 8)
		}
	}
	return bits
}

func (in *inbox) writeTaken(ctx context.Context, maps map[int64][]byte) error {
	for n, bits := range maps {
		if err := in.log.putTaken(ctx, n, bits); err != nil {
			return err
		}
	}
	return nil
}

// shed unpins what can no longer be replayed and forgets the oldest history.
func (in *inbox) shed(ctx context.Context) error {
	in.mu.Lock()
	gone := in.surplus()
	in.outdate()
	doomed := slices.Clone(in.doomed)
	in.mu.Unlock()
	var errs []error
	for _, it := range gone {
		errs = append(errs, in.pins.release(ctx, it.file.Root))
	}
	// One after the other, the oldest first: what a crash leaves has no gap.
	done := 0
	for _, key := range doomed {
		if err := in.log.drop(ctx, key); err != nil {
			errs = append(errs, err)
			break
		}
		done++
	}
	in.mu.Lock()
	in.doomed = slices.Delete(in.doomed, 0, done)
	in.mu.Unlock()
	return errors.Join(errs...)
}

// outdate takes the oldest items that were received out of memory, whole records
// at a time, and dooms the records; in.mu is held. The newest record always
// stays: the next sequence follows from it.
func (in *inbox) outdate() {
	if len(in.items) < keptHistory+keptHistory/8 {
		return
	}
	base := in.items[0].seq
	cut := 0 // records that go
	for cut+1 < len(in.batches) && in.next-in.batches[cut+1] >= keptHistory && in.history(in.batches[cut], in.batches[cut+1]) {
		in.doomed = append(in.doomed, sequenceKey(itemKey, in.batches[cut]))
		cut++
	}
	from := in.batches[cut]
	for _, it := range in.items[:from-base] {
		delete(in.byID, deliveryID{it.from, it.transfer})
	}
	in.items = slices.Clone(in.items[from-base:])
	in.batches = slices.Delete(in.batches, 0, cut)
	for n := base / chunk; n < from/chunk; n++ {
		in.doomed = append(in.doomed, sequenceKey(takenKey, n))
	}
}

// history tells whether the items of a range were received and are not needed
// for a replay; in.mu is held.
func (in *inbox) history(from, to int64) bool {
	for seq := from; seq < to; seq++ {
		if it := in.at(seq); it.state != taken || it.retained {
			return false
		}
	}
	return true
}

// close writes what is not written yet. Nothing else is under way.
func (in *inbox) close() {
	in.mu.Lock()
	again := len(in.dirty) > 0 && !in.flushing
	in.flushing = in.flushing || again
	in.mu.Unlock()
	if again {
		in.flush()
	}
	if in.pins.clean() {
		if err := in.log.dropUnclean(context.Background()); err != nil {
			in.warn("mark not removed", err)
			return
		}
		in.pins.unmark()
	}
}
