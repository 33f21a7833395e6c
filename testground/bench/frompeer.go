package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hypha-node/hypha-node/testground/rig"
	"github.com/ipfs/go-cid"
	mh "github.com/multiformats/go-multihash"
)

// What the rows of small files move: a rival that takes 20 ms a file gets fewer.
const (
	smallEach  = 4 << 10
	treeFiles  = 10_000
	kuboFiles  = 500
	firstFiles = 100
)

// smallFiles writes n files of 4 KiB into a new directory, 100 in each below it.
func smallFiles(dir string, seed uint64, n int) error {
	for i := range n {
		sub := filepath.Join(dir, fmt.Sprintf("%03d", i/100))
		if err := os.MkdirAll(sub, 0o700); err != nil {
			return err
		}
		if _, err := rig.WriteRandom(filepath.Join(sub, fmt.Sprintf("%02d", i%100)), seed+uint64(i), smallEach); err != nil {
			return err
		}
	}
	return nil
}

// pair is two nodes of one kind that are connected; the first has content.
type pair struct {
	root string // of a tree
	pids []int
	get  func(ctx context.Context, out string) error
	// first gets a file from the other node, to its last byte.
	first func(ctx context.Context, c cid.Cid) error
	stop  func() error
}

// hyphaPair starts two of ours, the first of which has a tree.
func (b *bench) hyphaPair(ctx context.Context, dir, tree string) (p pair, err error) {
	p.stop = func() error { return nil }
	from := filepath.Join(dir, "from")
	r, err := b.hypha(from, "add", "-q", "-r", tree).Run(ctx)
	if err != nil {
		return p, err
	}
	lines := strings.Fields(r.Stdout)
	p.root = lines[len(lines)-1]
	a, err := b.node(ctx, from)
	if err != nil {
		return p, err
	}
	p.stop = a.Stop
	n, err := b.node(ctx, filepath.Join(dir, "to"))
	if err != nil {
		return p, err
	}
	p.stop = func() error { return errors.Join(n.Stop(), a.Stop()) }
	p.pids = []int{a.PID(), n.PID()}
	address, err := a.Address(ctx)
	if err != nil {
		return p, err
	}
	if _, err := n.Run(ctx, "connect", address); err != nil {
		return p, err
	}
	job, err := n.CreateJob(ctx)
	if err != nil {
		return p, err
	}
	p.get = func(ctx context.Context, out string) error {
		_, err := n.Run(ctx, "get", p.root, "-o", out)
		return err
	}
	p.first = func(ctx context.Context, c cid.Cid) error {
		_, err := job.Fetch(ctx, rig.URI("ipfs://"+c.String()))
		return err
	}
	return p, nil
}

// kuboPair does the same with Kubo.
func (b *bench) kuboPair(ctx context.Context, dir, tree string) (p pair, err error) {
	p.stop = func() error { return nil }
	a, err := rig.NewKubo(ctx, b.kubo, filepath.Join(dir, "from"), "v1-2025")
	if err != nil {
		return p, err
	}
	if p.root, err = a.Add(ctx, tree); err != nil {
		return p, err
	}
	if err := a.Start(ctx); err != nil {
		return p, err
	}
	p.stop = a.Stop
	n, err := rig.NewKubo(ctx, b.kubo, filepath.Join(dir, "to"), "v1-2025")
	if err != nil {
		return p, err
	}
	if err := n.Start(ctx); err != nil {
		return p, err
	}
	p.stop = func() error { return errors.Join(n.Stop(), a.Stop()) }
	p.pids = []int{a.PID(), n.PID()}
	address, err := a.Address(ctx)
	if err != nil {
		return p, err
	}
	if _, err := n.Run(ctx, "swarm", "connect", address); err != nil {
		return p, err
	}
	api, err := n.API()
	if err != nil {
		return p, err
	}
	p.get = func(ctx context.Context, out string) error {
		_, err := n.Run(ctx, "get", "--progress=false", "-o", out, p.root)
		return err
	}
	p.first = func(ctx context.Context, c cid.Cid) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, api+"/api/v0/cat?arg="+c.String(), http.NoBody)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if n, err := io.Copy(io.Discard, resp.Body); err != nil || n != smallEach || resp.StatusCode != http.StatusOK {
			return fmt.Errorf("cat %s: status %d, %d bytes: %w", c, resp.StatusCode, n, err)
		}
		return nil
	}
	return p, nil
}

// treeRow: a tree of small files from another node into a directory.
func (b *bench) treeRow() row {
	rates := map[string][]float64{} // files per second
	with := func(name string, files int, start func(ctx context.Context, dir, tree string) (pair, error)) contender {
		return contender{name, func(ctx context.Context, dir string) (func(context.Context) (sample, error), func() error, error) {
			tree, out := filepath.Join(dir, "tree"), filepath.Join(dir, "out")
			if err := smallFiles(tree, 1<<32, files); err != nil {
				return nil, nil, err
			}
			p, err := start(ctx, dir, tree)
			return func(ctx context.Context) (sample, error) {
				s, err := working(func() error { return p.get(ctx, out) }, p.pids...)
				if err != nil {
					return s, err
				}
				rates[name] = append(rates[name], float64(files)/s.Wall)
				_, err = rig.SameTree(tree, out)
				return s, err
			}, p.stop, err
		}}
	}
	ours, theirs := "hypha-node get, 10,000 files", "ipfs get, 500 files"
	r := row{
		name: "tree", title: "files of 4 KiB from a connected peer into a directory",
		subject: with(ours, treeFiles, b.hyphaPair), anon: transferMemory,
		after: func(context.Context) ([]check, error) {
			checks := []check{{What: "files per second", Got: median(rates[ours]), Goal: 4700, Least: true, Unit: "/s"}}
			if b.kubo != "" {
				checks = append(checks, check{What: "files per second against ipfs get", Got: medianOfRatios(rates[ours], rates[theirs]), Goal: 100, Least: true, Unit: "×"})
			}
			return checks, nil
		},
	}
	if b.kubo != "" {
		r.rivals = []contender{with(theirs, kuboFiles, b.kuboPair)}
	}
	return r
}

func medianOfRatios(a, b []float64) float64 {
	ratios := make([]float64, min(len(a), len(b)))
	for i := range ratios {
		ratios[i] = a[i] / b[i]
	}
	return median(ratios)
}

// firstRow: how long a small file takes that a connected peer has: in a job's
// directory, durable and with its sha256; to the last byte of Kubo's answer. The
// wall time is the median of 100 files, one after the other.
func (b *bench) firstRow() row {
	var all []float64 // ours, ms
	with := func(name string, mine bool, start func(ctx context.Context, dir, tree string) (pair, error)) contender {
		return contender{name, func(ctx context.Context, dir string) (func(context.Context) (sample, error), func() error, error) {
			tree := filepath.Join(dir, "tree")
			if err := smallFiles(tree, 1<<33, firstFiles); err != nil {
				return nil, nil, err
			}
			p, err := start(ctx, dir, tree)
			return func(ctx context.Context) (sample, error) {
				var took []float64
				s, err := working(func() error {
					for i := range firstFiles {
						data, err := os.ReadFile(filepath.Join(tree, "000", fmt.Sprintf("%02d", i)))
						if err != nil {
							return err
						}
						sum := sha256.Sum256(data)
						hash, err := mh.Encode(sum[:], mh.SHA2_256)
						if err != nil {
							return err
						}
						begin := time.Now()
						if err := p.first(ctx, cid.NewCidV1(cid.Raw, hash)); err != nil {
							return fmt.Errorf("file %d: %w", i, err)
						}
						took = append(took, time.Since(begin).Seconds())
					}
					return nil
				}, p.pids...)
				s.Wall = median(took)
				if mine {
					all = append(all, s.Wall*1000)
				}
				return s, err
			}, p.stop, err
		}}
	}
	r := row{
		name: "first", title: "a file of 4 KiB from a connected peer, the median of 100 files",
		subject: with("bridge fetch", true, b.hyphaPair), anon: transferMemory,
		after: func(context.Context) ([]check, error) {
			return []check{{What: "bridge fetch", Got: median(all), Goal: 3, Unit: "ms"}}, nil
		},
	}
	if b.kubo != "" {
		r.rivals = []contender{with("ipfs cat over its API", false, b.kuboPair)}
	}
	return r
}
