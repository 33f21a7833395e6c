package dag

import (
	"context"
	"io"
	"runtime"
	"slices"

	"github.com/hypha-node/hypha-node/internal/pastcache"
	"golang.org/x/sync/errgroup"
)

// runBytes is what a worker reads and verifies at a time: two leaves of the
// default size, which are hashed as a pair.
const runBytes = 2 << 20

// run is a stretch of the file: leaves that follow each other.
type run struct {
	leaves []leaf
	off    int64
	size   int64
	buf    []byte // verified content, once done; of a leaf that came with its node, that
	pooled bool   // buf goes back to the pool
	err    error
	done   chan struct{} // closed when buf or err is there
}

// copier is one CopyRange: (1) one goroutine walks the tree and cuts runs, (2)
// workers fill them, verified, (3) the caller's goroutine writes them in order.
// One writer is enough: see outlets.
type copier struct {
	r        *Reader
	off, end int64
	buffers  *pool[[]byte]
	limit    int // of buffers
	per      int // leaves in a run
	cut      *run
	out      func(ctx context.Context, t *run) error // takes a run that was cut
}

// copyOrdered writes [off, end) to w.
func (r *Reader) copyOrdered(ctx context.Context, w io.Writer, off, end int64) (int64, error) {
	c := r.newCopier(off, end)
	if end-off <= runBytes { // not worth a goroutine
		var n int64
		c.out = func(ctx context.Context, t *run) error {
			r.fill(ctx, t)
			return c.write(w, t, &n)
		}
		return n, c.walk(ctx)
	}
	caller := ctx
	g, ctx := errgroup.WithContext(ctx)
	order := c.start(ctx, g)
	n, err := c.drain(w, order)
	if err != nil {
		g.Go(func() error { return err }) // stops the others
		for range order {                 // so that nobody waits to send
		}
	}
	if werr := g.Wait(); err == nil {
		err = werr
	}
	if err == nil {
		err = caller.Err()
	}
	return n, err
}

// start has g walk the file and fill what is cut. Runs come in the order in which
// they were cut, each with what is in it once its done is closed; after the last one
// the channel is closed. Whoever stops early ends ctx and takes the others.
func (c *copier) start(ctx context.Context, g *errgroup.Group) <-chan *run {
	work, order := make(chan *run, c.limit), make(chan *run, c.limit)
	c.out = func(ctx context.Context, t *run) error {
		for _, ch := range []chan *run{work, order} {
			select {
			case ch <- t:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		return nil
	}
	g.Go(func() error {
		defer close(order)
		defer close(work)
		return c.walk(ctx)
	})
	workers := c.r.workers()
	if c.end-c.off <= runBytes {
		workers = 1
	}
	for range workers {
		g.Go(func() error {
			for t := range work {
				c.r.fill(ctx, t)
				close(t.done)
			}
			return nil
		})
	}
	return order
}

// drain writes runs in the order in which they were cut.
func (c *copier) drain(w io.Writer, order <-chan *run) (n int64, err error) {
	for t := range order {
		<-t.done
		if err := c.write(w, t, &n); err != nil {
			return n, err
		}
	}
	return n, nil
}

// write writes what is wanted of a run and gives its buffer back.
func (c *copier) write(w io.Writer, t *run, n *int64) error {
	if t.err != nil {
		return t.err
	}
	defer c.release(t)
	for piece := range slices.Chunk(c.wanted(t), pastcache.Piece) {
		m, err := w.Write(piece)
		*n += int64(m)
		if err == nil && m < len(piece) {
			err = io.ErrShortWrite
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// wanted is the part of a run's content that is asked for.
func (c *copier) wanted(t *run) []byte {
	return t.buf[max(c.off-t.off, 0):min(c.end-t.off, t.size)]
}

// spread cuts the file into runs and has the workers call do with each.
func (c *copier) spread(ctx context.Context, do func(ctx context.Context, t *run) error) error {
	if c.end-c.off <= runBytes { // not worth a goroutine
		c.out = do
		return c.walk(ctx)
	}
	g, ctx := errgroup.WithContext(ctx)
	work := make(chan *run, c.limit)
	c.out = func(ctx context.Context, t *run) error {
		select {
		case work <- t:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	g.Go(func() error {
		defer close(work)
		return c.walk(ctx)
	})
	for range c.r.workers() {
		g.Go(func() error {
			for t := range work {
				if err := do(ctx, t); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// workers is how many runs are filled at once: by hashing when the content is
// here, by waiting when it comes from elsewhere.
func (r *Reader) workers() int {
	if r.local {
		return runtime.GOMAXPROCS(0)
	}
	return 32
}

func (r *Reader) newCopier(off, end int64) *copier {
	c := &copier{r: r, off: off, end: end, per: 64}
	if r.local {
		c.limit = localRuns()
		if r.ahead > 0 {
			c.limit = min(c.limit, max(2, int(r.ahead/runBytes)))
		}
	} else {
		c.limit, c.per = window/runBytes*2, 1
	}
	c.buffers = newPool(c.limit, func() []byte { return nil })
	return c
}

// walk cuts the wanted part of the file into runs.
func (c *copier) walk(ctx context.Context) error {
	err := leaves(ctx, c.r.src, c.r.root, c.r.top, c.off, c.end, func(l leaf) error { return c.add(ctx, l) })
	if err != nil {
		return err
	}
	return c.flush(ctx)
}

// add appends a leaf to the run that is being cut.
func (c *copier) add(ctx context.Context, l leaf) error {
	if l.data != nil {
		if err := c.flush(ctx); err != nil {
			return err
		}
		t := &run{leaves: []leaf{l}, off: l.off, size: l.size, buf: l.data, done: make(chan struct{})}
		return c.out(ctx, t)
	}
	if t := c.cut; t != nil && (t.size+l.size > runBytes || len(t.leaves) >= c.per) {
		if err := c.flush(ctx); err != nil {
			return err
		}
	}
	if c.cut == nil {
		c.cut = &run{off: l.off, done: make(chan struct{})}
	}
	c.cut.leaves = append(c.cut.leaves, l)
	c.cut.size += l.size
	return nil
}

// flush sends the run that is being cut on its way, as soon as there is a buffer.
func (c *copier) flush(ctx context.Context) (err error) {
	t := c.cut
	if t == nil {
		return nil
	}
	c.cut = nil
	if t.buf, err = c.buffers.get(ctx); err != nil {
		return err
	}
	t.buf, t.pooled = fit(t.buf, t.size), true
	return c.out(ctx, t)
}

// fit returns b, or a larger one when size does not fit.
func fit(b []byte, size int64) []byte {
	if int64(len(b)) < size {
		if size > runBytes/2 {
			size = runBytes
		}
		return make([]byte, size)
	}
	return b
}

// release gives the buffer of a run that was written back.
func (c *copier) release(t *run) {
	if t.pooled {
		c.buffers.put(t.buf)
	}
	t.buf = nil
}
