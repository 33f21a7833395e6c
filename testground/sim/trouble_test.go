package sim

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	boxoblockstore "github.com/ipfs/boxo/blockstore"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/dag"
)

// corrupt serves other bytes than those that are asked for, but for nodes.
type corrupt struct{ *blockstore.Disk }

func (s corrupt) View(ctx context.Context, c cid.Cid, f func([]byte) error) error {
	return s.Disk.View(ctx, c, func(data []byte) error {
		if c.Type() == cid.Raw {
			data = append([]byte{data[0] + 1}, data[1:]...)
		}
		return f(data)
	})
}

func (s corrupt) Get(ctx context.Context, c cid.Cid) (blocks.Block, error) {
	var blk blocks.Block
	err := s.View(ctx, c, func(data []byte) (err error) {
		blk, err = blocks.NewBlockWithCid(append([]byte{}, data...), c)
		return err
	})
	return blk, err
}

// mute has everything and sends nothing but nodes.
type mute struct{ *blockstore.Disk }

func (s mute) View(ctx context.Context, c cid.Cid, f func([]byte) error) error {
	if c.Type() == cid.Raw {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	return s.Disk.View(ctx, c, f)
}

func (s mute) Get(ctx context.Context, c cid.Cid) (blocks.Block, error) {
	if c.Type() == cid.Raw {
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}
	return s.Disk.Get(ctx, c)
}

// wave has nodes fetch a file at the same time and returns the seconds that it took.
func wave(t *testing.T, f dag.File, nodes []*node) float64 {
	t.Helper()
	var came atomic.Int64
	var fetching sync.WaitGroup
	start := time.Now()
	for _, n := range nodes {
		fetching.Go(func() { n.fetch(t, f, &came) })
	}
	fetching.Wait()
	return time.Since(start).Seconds()
}

// TestBadSeeds has two leeches get a file from three seeds, beside one that is slow,
// one that sends other bytes and one that promises and sends nothing: they take
// not much longer than without these.
func TestBadSeeds(t *testing.T) {
	c := crowd{name: "bad seeds", seeds: 6, leech: 2, size: 32 << 20, leaf: 256 << 10}
	run := func(t *testing.T, crawl int, serve storeOf, seeds ...int) (took float64) {
		l := links{up: 20, down: 100, oneWay: 10 * time.Millisecond, crawl: crawl}
		inWorld(t, c.seeds+c.leech, l, serve, func(t *testing.T, nodes []*node) {
			f := nodes[2].add(t, c)
			for _, i := range seeds {
				nodes[i].add(t, c)
			}
			took = wave(t, f, nodes[:2])
		})
		return took
	}
	clean := run(t, 0, honest, 3, 4)
	bad := run(t, 1, func(i int, store *blockstore.Disk) boxoblockstore.Blockstore {
		switch i {
		case 5:
			return corrupt{store}
		case 6:
			return mute{store}
		}
		return store
	}, 3, 4, 5, 6, 7)
	t.Logf("%-12s %.2f s, with three bad ones %.2f s: %.2f times", c.name, clean, bad, bad/clean)
	if bad > 2*clean+1 { // measured: 1.23 to 1.30 times
		t.Errorf("bad seeds made it %.2f s instead of %.2f", bad, clean)
	}
}
