package virtual

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/hypha-node/hypha-node/testground/cases"
	"github.com/hypha-node/hypha-node/testground/stock"
)

// world is the swarm as one instance sees it.
type world struct {
	index  int
	hall   *hall
	node   cases.Node
	origin *origin // nil: none
}

var _ cases.World = (*world)(nil)

// Index implements cases.World.
func (w *world) Index() int { return w.index }

// Node implements cases.World.
func (w *world) Node() cases.Node { return w.node }

// Origin implements cases.World.
func (w *world) Origin(context.Context) (url string, sent int64, err error) {
	if w.origin == nil {
		return "", 0, nil
	}
	sent, _ = w.origin.wire.moved()
	return w.origin.url(), sent, nil
}

// Now implements cases.World.
func (w *world) Now() time.Time { return time.Now() }

// Sync implements cases.World. Nodes have settled when it returns: libraries
// tell each other what they speak after connecting.
func (w *world) Sync(ctx context.Context, point string) error {
	if _, err := w.hall.come(ctx, "point "+point, w.index, nil); err != nil {
		return err
	}
	select {
	case <-time.After(2 * time.Second):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Share implements cases.World.
func (w *world) Share(ctx context.Context, topic string, value []byte) ([][]byte, error) {
	return w.hall.come(ctx, "topic "+topic, w.index, value)
}

// member is a node that was started.
type member interface {
	cases.Node
	close() error
}

// newMember starts the node of an instance.
func (n *links) newMember(ctx context.Context, c cases.Case, dir string, index int) (member, error) {
	if c.Stock {
		return n.newStock(ctx, index, c.Chunk)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	return n.newNode(ctx, dir, index, c.Fault(index))
}

// stocked is a node of stock bitswap with the end of its host.
type stocked struct {
	*stock.Node
	closeHost func() error
}

// newStock starts a node of stock bitswap.
func (n *links) newStock(ctx context.Context, index int, chunk int64) (member, error) {
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	h, w, closeHost, err := n.newHost(index, key, n.link.Up)
	if err != nil {
		return nil, err
	}
	return stocked{stock.New(ctx, h, w.moved, chunk), closeHost}, nil
}

// close ends it.
func (s stocked) close() error { return errors.Join(s.Close(), s.closeHost()) }

// Play plays a case with its files below dir. It must run in a testing/synctest
// bubble, and everything that it started has ended when it returns. What the nodes
// ask of each other, and when it came, goes to trace at level debug, unless trace is
// nil; the nodes are numbered, and "node" tells which peer each of them is.
func Play(ctx context.Context, c cases.Case, dir string, trace *slog.Logger) (row cases.Row, err error) {
	if c.Chunk == 0 {
		c.Chunk = cases.DefaultChunk
	}
	if c.Raw {
		if c.Bound, err = raw(ctx, c.Link, c.Size); err != nil {
			return row, fmt.Errorf("bare stream: %w", err)
		}
	}
	if len(c.Bad) > 0 {
		clean, err := Play(ctx, c.Clean(), filepath.Join(dir, "clean"), nil)
		if err != nil {
			return row, fmt.Errorf("without faults: %w", err)
		}
		c.Bound = clean.Measured
	}
	l := newLinks(c.Link, trace)
	defer l.close()
	if c.Origin > 0 {
		if l.origin, err = l.newOrigin(c); err != nil {
			return row, fmt.Errorf("origin: %w", err)
		}
		defer func() { err = errors.Join(err, l.origin.close()) }()
	}
	nodes := make([]member, c.Instances())
	defer func() {
		for _, n := range nodes {
			if n != nil {
				err = errors.Join(err, n.close())
			}
		}
	}()
	for i := range nodes {
		if nodes[i], err = l.newMember(ctx, c, filepath.Join(dir, strconv.Itoa(i)), i); err != nil {
			return row, fmt.Errorf("node %d: %w", i, err)
		}
	}
	h := newHall(len(nodes))
	rows := make([]cases.Row, len(nodes))
	g, ctx := errgroup.WithContext(ctx)
	for i, n := range nodes {
		g.Go(func() (err error) {
			if rows[i], err = c.Play(ctx, &world{index: i, hall: h, node: n, origin: l.origin}); err != nil {
				return fmt.Errorf("instance %d: %w", i, err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return row, err
	}
	return rows[0], nil
}
