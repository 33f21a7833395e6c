package dag

import (
	"context"
	"io"
	"sync/atomic"

	"github.com/hypha-node/hypha-node/blockstore"
	blocks "github.com/ipfs/go-block-format"
	"golang.org/x/sync/errgroup"
)

// chunk is content that was hashed, on its way to where it belongs.
type chunk struct {
	off     int64
	content []byte
	blocks  []blocks.Block // the leaves that hold it
	left    atomic.Int32   // outlets that have not written it
	mark    *mark          // where an import is behind it; nil if that is not kept
	done    func()         // called when all have
}

// outlets write chunks to several places: each in a goroutine of its own, in the
// order in which they are sent. The kernel lets one writer at a time into a file
// anyway, so that a second one is no gain.
type outlets []outlet

type outlet struct {
	ch    chan *chunk
	begin func(context.Context) error // what comes before the first chunk
	write func(*chunk) error
}

// add makes another place; room is how many chunks there are at most.
func (o *outlets) add(room int, write func(*chunk) error) {
	none := func(context.Context) error { return nil }
	*o = append(*o, outlet{make(chan *chunk, room), none, write})
}

// addTee adds w unless it is nil.
func (o *outlets) addTee(room int, w io.WriterAt) {
	if w == nil {
		return
	}
	o.add(room, func(c *chunk) error {
		_, err := w.WriteAt(c.content, c.off)
		return err
	})
}

// addFile adds the writer of a file that consists of raw leaves, and a keeper of
// what is written, or nil.
func (o *outlets) addFile(room int, file blockstore.FileWriter, k *keeper) {
	o.add(room, func(c *chunk) error {
		off := c.off
		for _, blk := range c.blocks {
			if err := file.WriteLeaf(off, blk.Cid(), blk.RawData()); err != nil {
				return err
			}
			off += int64(len(blk.RawData()))
		}
		k.written(c.mark)
		return nil
	})
}

// start starts the goroutines, which end after close or when ctx is done.
func (o outlets) start(ctx context.Context, g *errgroup.Group) {
	for _, out := range o {
		g.Go(func() error {
			if err := out.begin(ctx); err != nil {
				return err
			}
			for c := range out.ch {
				if ctx.Err() != nil {
					return context.Cause(ctx)
				}
				if err := out.write(c); err != nil {
					return err
				}
				if c.left.Add(-1) == 0 {
					c.done()
				}
			}
			return nil
		})
	}
}

// send has a chunk written everywhere.
func (o outlets) send(ctx context.Context, c *chunk) error {
	if len(o) == 0 {
		c.done()
		return nil
	}
	c.left.Store(int32(len(o)))
	for _, out := range o {
		select {
		case out.ch <- c:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// close says that there is nothing more to send.
func (o outlets) close() {
	for _, out := range o {
		close(out.ch)
	}
}
