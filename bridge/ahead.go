package bridge

import (
	"context"
	"iter"
	"math"

	"github.com/hypha-node/hypha-node/connectors"
	"github.com/hypha-node/hypha-node/connectors/ingest"
)

// lookAhead is how many files of a reference are counted before the first of them is
// fetched: what a listing gives in one page.
const lookAhead = 1000

// ahead yields items, the first ones when it is known that there is room for all of
// these: a repository that can't come as a whole is refused before a byte of it comes.
// Of what peers tell, where each directory is a fetch of its own, only the first is
// waited for.
func (b *batch) ahead(ctx context.Context, items iter.Seq2[connectors.Item, error]) iter.Seq2[connectors.Item, error] {
	return func(yield func(connectors.Item, error) bool) {
		var held []connectors.Item
		counted := false
		release := func() bool {
			counted = true
			err := b.room(ctx, held)
			for _, it := range held {
				if !yield(it, err) || err != nil {
					return false
				}
			}
			held = nil
			return true
		}
		for it, err := range items {
			switch {
			case counted || err != nil:
				if !counted && !release() || !yield(it, err) || err != nil {
					return
				}
			default:
				held = append(held, it)
				_, bad := inDir(b.dir, it.Path) // which ends the request
				if (len(held) == lookAhead || it.Root.Defined() || bad != nil) && !release() {
					return
				}
			}
		}
		if !counted {
			release()
		}
	}
}

// room returns why files can't all be brought, as far as their sizes are known.
func (b *batch) room(ctx context.Context, items []connectors.Item) error {
	all, fresh := int64(0), int64(0) // bytes; of them, those that the store lacks
	seen := make(map[any]bool)       // contents, by digest
	for _, it := range items {
		size := max(it.Size, 0)
		if all > math.MaxInt64/2-size {
			size = math.MaxInt64/2 - all // more than there is anywhere
		}
		all += size
		if digest := digestOf(it); digest != nil {
			if seen[digest] {
				continue
			}
			seen[digest] = true
		}
		if size > 0 && !b.stored(ctx, it) {
			fresh += size
		}
	}
	if b.staging != nil {
		if err := b.job.limits.fits(int64(len(items)), all); err != nil {
			return err
		}
	}
	if s, ok := b.job.store.(interface {
		Fits(ctx context.Context, n int64) error
	}); ok && fresh > 0 {
		return s.Fits(ctx, fresh)
	}
	return nil
}

// digestOf returns what tells an item's content from others, nil if nothing does.
func digestOf(it connectors.Item) any {
	switch {
	case it.SHA256 != nil:
		return *it.SHA256
	case it.GitSHA1 != nil:
		return *it.GitSHA1
	}
	return nil
}

// stored tells whether the store has a file already, as far as that can be told
// without asking anybody.
func (b *batch) stored(ctx context.Context, it connectors.Item) bool {
	e, ok := b.job.engine.(interface {
		Find(ctx context.Context, it connectors.Item) (ingest.Fetched, bool, error)
	})
	if !ok {
		return false
	}
	_, ok, err := e.Find(ctx, it)
	return ok && err == nil
}
