package dag

import (
	"context"

	blocks "github.com/ipfs/go-block-format"
)

// storeAll stores what is sent, as much at once as there is, until the root is
// stored.
func (t *treeCopy) storeAll(ctx context.Context) error {
	var items []storeItem
	bytes := 0
	for {
		select {
		case it := <-t.store:
			if items = append(items, it); it.blk != nil {
				bytes += len(it.blk.RawData())
			}
			if len(items) < batchBlocks && bytes < batchBytes {
				continue
			}
		default: // nothing more for now
			if len(items) == 0 {
				select {
				case it := <-t.store:
					items = append(items, it)
				case <-ctx.Done():
					return context.Cause(ctx)
				}
				continue
			}
		}
		ready, err := t.storeSome(ctx, items)
		if err != nil {
			return err
		}
		if t.rootDone() {
			t.changed()
			return nil
		}
		items, bytes = items[:0], 0
		for _, f := range ready {
			items = append(items, storeItem{blk: newBlock(f.cid, f.data), f: f})
			bytes += len(f.data)
		}
	}
}

// storeSome stores items and returns the directories that are complete but for
// themselves.
func (t *treeCopy) storeSome(ctx context.Context, items []storeItem) (ready []*frame, err error) {
	blks := make([]blocks.Block, 0, len(items))
	for _, it := range items {
		if it.blk != nil {
			blks = append(blks, it.blk)
		}
	}
	if len(blks) > 0 {
		if err := t.dst.PutMany(ctx, blks); err != nil {
			return nil, err
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, it := range items {
		if it.f == nil {
			ready = t.entryDone(ready, it.up, it.size)
		} else {
			ready = t.frameDone(ready, it.f)
		}
		t.window.Release(it.held)
		t.slots.Release(it.slot)
	}
	clear(items)
	return ready, nil
}

// entryDone notes that an entry of up is stored; t.mu is held.
func (t *treeCopy) entryDone(ready []*frame, up *frame, size int64) []*frame {
	up.size += size
	if up.pending--; up.pending == 0 {
		ready = append(ready, up)
	}
	return ready
}

// frameDone notes that f is stored; t.mu is held.
func (t *treeCopy) frameDone(ready []*frame, f *frame) []*frame {
	f.done = true
	t.open -= int64(len(f.data))
	f.data = nil
	for _, up := range f.ups {
		ready = t.entryDone(ready, up, f.size)
	}
	f.ups = nil
	return ready
}

func (t *treeCopy) rootDone() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.root.done
}
