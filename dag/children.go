package dag

import (
	"context"
	"fmt"
	"iter"
	"sync"

	"github.com/ipfs/go-cid"
)

// sizer is the part of a Store that tells the size of a block without reading it.
type sizer interface {
	GetSize(ctx context.Context, c cid.Cid) (int, error)
}

// looked is an entry of a directory after a look at its root block, which is nil
// for a raw one: that is not read.
type looked struct {
	Entry
	node *node
}

// child looks at the root of a directory's entry. What a raw block holds is
// known from the store, or as its link claims where src is none.
func child(ctx context.Context, src Getter, l link) (looked, error) {
	e := looked{Entry: Entry{Path: l.name, Cid: l.cid, Type: TypeFile}}
	if err := checkCID(l.cid); err != nil {
		return e, err
	}
	if l.cid.Type() == cid.Raw {
		e.Size = int64(min(l.size, maxBlock))
		if s, ok := src.(sizer); ok {
			size, err := s.GetSize(ctx, l.cid)
			if err != nil {
				return e, blockErr(l.cid, err)
			}
			if e.Size = int64(size); size > maxBlock {
				return e, fmt.Errorf("block %s of %d bytes: %w", l.cid, size, ErrTooLarge)
			}
		}
		return e, nil
	}
	n, err := getNode(ctx, src, l.cid)
	if err != nil {
		return e, err
	}
	info := n.info(l.cid, 0)
	e.Type, e.Size, e.Target, e.node = info.Type, info.Size, info.Target, n
	return e, nil
}

// aheadChildren is how many entries are looked at at once where each look may be
// a request to a peer.
const aheadChildren = 32

// children looks at each entry, in order.
func children(ctx context.Context, src Getter, links iter.Seq2[link, error]) iter.Seq2[looked, error] {
	if _, local := src.(sizer); !local {
		return childrenAhead(ctx, src, links)
	}
	return func(yield func(looked, error) bool) {
		for l, err := range links {
			var e looked
			if err == nil {
				if e, err = child(ctx, src, l); err != nil {
					err = fmt.Errorf("%q: %w", l.name, err)
				}
			}
			if !yield(e, err) || err != nil {
				return
			}
		}
	}
}

// look is a look at an entry that is under way.
type look struct {
	e    looked
	err  error
	done chan struct{}
}

// childrenAhead is children with several looks under way.
func childrenAhead(ctx context.Context, src Getter, links iter.Seq2[link, error]) iter.Seq2[looked, error] {
	return func(yield func(looked, error) bool) {
		next, stop := iter.Pull2(links)
		defer stop()
		ctx, cancel := context.WithCancel(ctx)
		var wg sync.WaitGroup
		defer wg.Wait()
		defer cancel()
		var queue []*look
		for more := true; more || len(queue) > 0; {
			for more && len(queue) < aheadChildren {
				var l link
				k := &look{done: make(chan struct{})}
				if l, k.err, more = next(); !more {
					break
				}
				queue = append(queue, k)
				if k.err != nil {
					close(k.done)
					more = false
					break
				}
				wg.Go(func() {
					defer close(k.done)
					if k.e, k.err = child(ctx, src, l); k.err != nil {
						k.err = fmt.Errorf("%q: %w", l.name, k.err)
					}
				})
			}
			if len(queue) == 0 {
				return
			}
			k := queue[0]
			queue = queue[1:]
			<-k.done
			if !yield(k.e, k.err) || k.err != nil {
				return
			}
		}
	}
}
