package ingest_test

import (
	"bytes"
	"context"
	"io"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/connectors"
	"github.com/hypha-node/hypha-node/connectors/ingest"
	"github.com/hypha-node/hypha-node/dag"
)

// gate is a source whose bodies give nothing until it is opened.
type gate struct {
	open         chan struct{}
	active, most atomic.Int64 // bodies that were opened and not closed
	opened       atomic.Int64
}

// item is one of size bytes; the body says how many that are, if told. That of a
// large one breaks when the gate is opened.
func (g *gate) item(n, size int, listed, told bool) connectors.Item {
	content := random(byte(n), min(size, large))
	it := connectors.Item{Path: strconv.Itoa(n), URL: "gate:" + strconv.Itoa(n), Size: -1}
	if listed {
		it.Size = int64(size)
	}
	it.Open = func(context.Context, int64, int64, []byte) (*connectors.Body, error) {
		g.opened.Add(1)
		for now := g.active.Add(1); ; {
			most := g.most.Load()
			if now <= most || g.most.CompareAndSwap(most, now) {
				break
			}
		}
		b := &connectors.Body{ReadCloser: &gated{g: g, Reader: bytes.NewReader(content)}, Size: -1}
		if told {
			b.Size = int64(size)
		}
		return b, nil
	}
	return it
}

// large is a size from which the content does not matter, in bytes.
const large = 4 << 20

type gated struct {
	*bytes.Reader
	g *gate
}

func (b *gated) Read(p []byte) (int, error) {
	<-b.g.open
	return b.Reader.Read(p)
}

func (b *gated) Close() error {
	b.g.active.Add(-1)
	return nil
}

var _ io.ReadCloser = (*gated)(nil)

// TestMemoryIsShared: however many files are fetched at once, those that are
// under way have room in the budget together.
func TestMemoryIsShared(t *testing.T) {
	const items = 8
	for _, c := range []struct {
		name         string
		windows      int64
		size         int
		listed, told bool
		want         int64 // bodies at once
	}{
		{name: "large, listed", windows: 2, size: 40 << 20, listed: true, told: true, want: 2},
		{name: "of unknown size", windows: 3, size: 3 << 20, want: 3},
		{name: "small, listed", windows: 1, size: 1 << 10, listed: true, want: items},
		// Known when the body is opened: the rest of the share goes to the next.
		{name: "small, told by the body", windows: 1, size: 1 << 10, told: true, want: items},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := blockstore.NewMemory()
			t.Cleanup(func() { must(t, s.Close()) })
			room := c.windows * dag.ImportMemory(-1)
			if c.want == items {
				room += items * dag.ImportMemory(int64(c.size))
			}
			budget := dag.NewBudget(room)
			e := newEngine(t, ingest.Config{Store: s, Memory: budget})
			g := &gate{open: make(chan struct{})}
			var wg sync.WaitGroup
			for n := range items {
				it := g.item(n, c.size, c.listed, c.told)
				wg.Go(func() {
					if _, err := e.Fetch(t.Context(), it, ingest.Options{}); (err != nil) != (c.size > large) {
						t.Error(err)
					}
				})
			}
			until(t, "as many are opened as have room, and the others wait", func() bool {
				return g.opened.Load() == c.want && budget.Waiting() == items-c.want
			})
			close(g.open)
			wg.Wait()
			if g.opened.Load() != items || g.most.Load() > c.want {
				t.Errorf("%d opened, %d at once; want %d, at most %d", g.opened.Load(), g.most.Load(), items, c.want)
			}
			whole, err := budget.Take(t.Context(), 1<<62)
			must(t, err)
			whole.Release()
		})
	}
}

// TestMemoryIsGivenUp: who is not waited for any more does not keep waiting for
// memory, and takes none.
func TestMemoryIsGivenUp(t *testing.T) {
	s := blockstore.NewMemory()
	t.Cleanup(func() { must(t, s.Close()) })
	budget := dag.NewBudget(0)
	all, err := budget.Take(t.Context(), 1<<62)
	must(t, err)
	e := newEngine(t, ingest.Config{Store: s, Memory: budget})
	g := &gate{open: make(chan struct{})}
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	go func() {
		_, err := e.Fetch(ctx, g.item(1, 100, true, true), ingest.Options{})
		failed <- err
	}()
	until(t, "the fetch waits for memory", func() bool { return budget.Waiting() == 1 })
	cancel()
	if err := <-failed; err == nil {
		t.Error("fetched without memory")
	}
	until(t, "nobody waits", func() bool { return budget.Waiting() == 0 })
	all.Release()
	if g.opened.Load() != 0 {
		t.Error("opened without memory")
	}
}
