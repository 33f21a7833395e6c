package blockstore

import (
	"bytes"
	"context"
	"iter"
)

// pageKeys is how many pairs of the index are read at once, so that no snapshot
// of it is held while a caller works on them.
const pageKeys = 512

// pager reads copies of the index's pairs under a prefix, in order.
type pager struct {
	d            *Disk
	prefix, from []byte // from is nil behind the last page
	page         []indexOp
}

// next returns one pair; ok is false at the end.
func (w *pager) next(ctx context.Context) (op indexOp, ok bool, err error) {
	if len(w.page) == 0 && w.from != nil {
		if err := w.read(ctx); err != nil {
			w.from = nil
			return indexOp{}, false, err
		}
	}
	if len(w.page) == 0 {
		return indexOp{}, false, nil
	}
	op, w.page = w.page[0], w.page[1:]
	return op, true, nil
}

func (w *pager) read(ctx context.Context) error {
	if err := w.d.enter(ctx); err != nil {
		return err
	}
	defer w.d.gate.leave()
	page := make([]indexOp, 0, pageKeys)
	err := w.d.index.scan(w.prefix, w.from, func(k, v []byte) bool {
		page = append(page, indexOp{bytes.Clone(k), append([]byte{}, v...)})
		return len(page) < pageKeys
	})
	if err != nil {
		return err
	}
	w.page, w.from = page, nil
	if len(page) == pageKeys {
		w.from = append(bytes.Clone(page[pageKeys-1].key), 0)
	}
	return nil
}

// pairs yields copies of the index's pairs under a prefix, in order.
func (d *Disk) pairs(ctx context.Context, prefix []byte) iter.Seq2[indexOp, error] {
	return func(yield func(indexOp, error) bool) {
		w := pager{d: d, prefix: prefix, from: prefix}
		for {
			op, ok, err := w.next(ctx)
			if !ok && err == nil || !yield(op, err) || err != nil {
				return
			}
		}
	}
}
