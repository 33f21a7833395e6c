package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/hypha-node/hypha-node/testground/rig"
	"github.com/ipfs/go-cid"
	mh "github.com/multiformats/go-multihash"
)

const (
	findNodes = 20
	findFiles = 20
)

// findRow: how long a file of 4 KiB takes that one of twenty nodes has, who know each
// other through one bootstrap node alone: for a node that has been there, and for one
// that was started this moment, each time. On loopback the round trips take nothing,
// so that all is what a node waits or works.
func (b *bench) findRow() row {
	var there, fresh []float64 // ms, of each round
	return row{
		name: "find", title: fmt.Sprintf("a file of 4 KiB that one of %d nodes has, the median of %d files", findNodes, findFiles),
		subject: contender{"bridge fetch, the node has been there", func(ctx context.Context, dir string) (func(context.Context) (sample, error), func() error, error) {
			c, err := b.crowd(ctx, dir)
			return func(ctx context.Context) (sample, error) {
				var warm, cold []float64
				s, err := working(func() (err error) {
					for i := range findFiles {
						if warm, err = c.find(ctx, c.asker, i, warm); err != nil {
							return err
						}
					}
					for i := range findFiles {
						if cold, err = c.findFresh(ctx, i, cold); err != nil {
							return err
						}
					}
					return nil
				})
				s.Wall = median(warm)
				there, fresh = append(there, 1000*s.Wall), append(fresh, 1000*median(cold))
				return s, err
			}, c.stop, err
		}},
		after: func(context.Context) ([]check, error) {
			return []check{
				{What: "a node that has been there", Got: median(there), Goal: 50, Unit: "ms"},
				{What: "a node that was just started", Got: median(fresh), Goal: 50, Unit: "ms"},
			}, nil
		},
	}
}

// crowd is the network of a find row.
type crowd struct {
	b     *bench
	dir   string
	first string // address of the bootstrap node
	nodes []*rig.Node
	asker *rig.Node
	files []cid.Cid
}

// crowd starts the nodes; each file is on one of them.
func (b *bench) crowd(ctx context.Context, dir string) (c *crowd, err error) {
	c = &crowd{b: b, dir: dir}
	tree := filepath.Join(dir, "tree")
	if err := smallFiles(tree, 1<<34, findFiles); err != nil {
		return c, err
	}
	for i := range findNodes {
		if _, err := c.start(ctx, fmt.Sprintf("node-%d", i)); err != nil {
			return c, err
		}
	}
	c.asker = c.nodes[findNodes-1]
	for i := range findFiles {
		path := filepath.Join(tree, "000", fmt.Sprintf("%02d", i))
		if _, err := c.nodes[1+i%(findNodes-2)].Run(ctx, "add", "-q", path); err != nil {
			return c, err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return c, err
		}
		sum := sha256.Sum256(data)
		hash, err := mh.Encode(sum[:], mh.SHA2_256)
		if err != nil {
			return c, err
		}
		c.files = append(c.files, cid.NewCidV1(cid.Raw, hash))
	}
	return c, nil
}

// start starts a node that knows the first one.
func (c *crowd) start(ctx context.Context, name string) (*rig.Node, error) {
	cfg := rig.Config{Binary: c.b.binary, Repo: filepath.Join(c.dir, name)}
	if c.first != "" {
		cfg.Args = []string{"--bootstrap", c.first}
	}
	n, err := rig.StartNode(ctx, cfg)
	if err != nil {
		return nil, err
	}
	c.nodes = append(c.nodes, n)
	if c.first == "" {
		c.first, err = n.Address(ctx)
	}
	return n, err
}

// find fetches a file at a node and appends how long that took, in seconds.
func (c *crowd) find(ctx context.Context, n *rig.Node, file int, took []float64) ([]float64, error) {
	job, err := n.CreateJob(ctx)
	if err != nil {
		return took, err
	}
	begin := time.Now()
	if _, err := job.Fetch(ctx, rig.URI("ipfs://"+c.files[file].String())); err != nil {
		return took, fmt.Errorf("file %d: %w", file, err)
	}
	return append(took, time.Since(begin).Seconds()), nil
}

// findFresh is find at a node that is started for it.
func (c *crowd) findFresh(ctx context.Context, file int, took []float64) ([]float64, error) {
	n, err := c.start(ctx, fmt.Sprintf("fresh-%d", file))
	if err != nil {
		return took, err
	}
	took, err = c.find(ctx, n, file, took)
	c.nodes = c.nodes[:len(c.nodes)-1]
	return took, errors.Join(err, n.Stop())
}

// stop ends the nodes.
func (c *crowd) stop() error {
	var errs []error
	for _, n := range c.nodes {
		errs = append(errs, n.Stop())
	}
	return errors.Join(errs...)
}
