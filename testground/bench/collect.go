package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hypha-node/hypha-node/testground/rig"
)

// gcFiles is how many files row gc stores; half of them are pinned.
const gcFiles = 1000

// gcRow: a collection that takes half of what is stored.
func (b *bench) gcRow() (row, func() error, error) {
	dir := filepath.Join(b.dir, "garbage")
	stop := func() error { return os.RemoveAll(dir) }
	keep, drop := filepath.Join(dir, "keep"), filepath.Join(dir, "drop")
	for part, name := range []string{keep, drop} {
		if err := os.MkdirAll(name, 0o700); err != nil {
			return row{}, stop, err
		}
		for i := range gcFiles / 2 {
			seed := uint64(1000 + part*gcFiles + i) //nolint:gosec // small
			if _, err := rig.WriteRandom(filepath.Join(name, fmt.Sprintf("%04d", i)), seed, b.garbage/gcFiles); err != nil {
				return row{}, stop, err
			}
		}
	}
	var left int64
	r := row{
		name: "gc", title: fmt.Sprintf("collect half of %d MiB in %d files", b.garbage>>20, gcFiles),
		subject: contender{"hypha-node gc", func(ctx context.Context, dir string) (func(context.Context) (sample, error), func() error, error) {
			repo := filepath.Join(dir, "repo")
			return collecting(ctx, repo, &left, b.hypha(repo, "add", "-q", "-r", keep), b.hypha(repo, "add", "-q", "-r", "--no-pin", drop), b.hypha(repo, "gc"))
		}},
		anon: localMemory,
		after: func(context.Context) ([]check, error) {
			return []check{{What: "disk that did not come back", Got: mib(left), Goal: mib(b.garbage/2000 + 4<<20), Unit: "MiB"}}, nil
		},
	}
	if b.kubo != "" {
		r.goals = []goal{{rival: "ipfs repo gc", speed: 10}}
		r.rivals = []contender{{"ipfs repo gc", func(ctx context.Context, dir string) (func(context.Context) (sample, error), func() error, error) {
			k, err := rig.NewKubo(ctx, b.kubo, filepath.Join(dir, "kubo"), "v1-2025")
			if err != nil {
				return nil, nil, err
			}
			add := []string{"add", "-Q", "-r", "--progress=false"}
			return collecting(ctx, k.Path, new(int64), k.Program(append(add, keep)...), k.Program(append(add, "--pin=false", drop)...), k.Program("repo", "gc", "-q"))
		}}}
	}
	return r, stop, nil
}

// collecting stores what is kept and what is not, and measures the collection. left is
// told how much more is on the disk afterwards than what is kept took alone.
func collecting(ctx context.Context, repo string, left *int64, keep, drop, gc rig.Program) (func(context.Context) (sample, error), func() error, error) {
	if _, err := keep.Run(ctx); err != nil {
		return nil, nil, err
	}
	alone, err := rig.DiskUsage(repo)
	if err != nil {
		return nil, nil, err
	}
	if _, err := drop.Run(ctx); err != nil {
		return nil, nil, err
	}
	return func(ctx context.Context) (sample, error) {
		r, err := gc.Run(ctx)
		if err != nil {
			return sample{}, err
		}
		now, err := rig.DiskUsage(repo) // before anything else could give room back
		*left = max(*left, now-alone)
		return ofResult(r), err
	}, nil, nil
}

// millionRow: the start of a daemon with very many blocks, and what it needs while
// nothing happens.
func (b *bench) millionRow(ctx context.Context) (row, func() error, error) {
	const each = 1 << 10
	dir := filepath.Join(b.dir, "million")
	stop := func() error { return os.RemoveAll(dir) }
	repo, file := filepath.Join(dir, "repo"), filepath.Join(dir, "file")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return row{}, stop, err
	}
	if _, err := rig.WriteRandom(file, 7, int64(b.blocks)*each); err != nil {
		return row{}, stop, err
	}
	mine, err := b.hypha(repo, "add", "-q", "--chunker", fmt.Sprintf("size-%d", each), file).Run(ctx)
	if err != nil {
		return row{}, stop, err
	}
	rss := map[string][]float64{}
	const ours, theirs = "hypha-node daemon", "ipfs daemon"
	r := row{
		name: "million", title: fmt.Sprintf("`daemon ready` with %d blocks stored, then idle", b.blocks),
		subject: contender{ours, func(context.Context, string) (func(context.Context) (sample, error), func() error, error) {
			return func(ctx context.Context) (sample, error) {
				n, err := b.node(ctx, repo)
				if err != nil {
					return sample{}, err
				}
				u, err := settled(ctx, n.PID())
				rss[ours] = append(rss[ours], mib(u.RSS))
				return sample{Wall: n.ReadyIn.Seconds(), CPU: u.CPU.Seconds(), Anon: u.Anon}, errors.Join(err, n.Stop())
			}, nil, nil
		}},
	}
	if b.kubo == "" {
		return r, stop, nil
	}
	k, err := rig.NewKubo(ctx, b.kubo, filepath.Join(dir, "kubo"), "v1-2025")
	if err != nil {
		return row{}, stop, err
	}
	root, err := k.Add(ctx, file, "--chunker", fmt.Sprintf("size-%d", each))
	if err == nil && root != strings.TrimSpace(mine.Stdout) {
		err = fmt.Errorf("our root %s, Kubo's %s", mine.Stdout, root)
	}
	if err != nil {
		return row{}, stop, err
	}
	r.goals = []goal{{rival: theirs, speed: 2}}
	r.rivals = []contender{{theirs, func(context.Context, string) (func(context.Context) (sample, error), func() error, error) {
		return func(ctx context.Context) (sample, error) {
			begin := time.Now()
			if err := k.Start(ctx); err != nil {
				return sample{}, err
			}
			took := time.Since(begin)
			u, err := settled(ctx, k.PID())
			rss[theirs] = append(rss[theirs], mib(u.RSS))
			return sample{Wall: took.Seconds(), CPU: u.CPU.Seconds(), Anon: u.Anon}, errors.Join(err, k.Stop())
		}, nil, nil
	}}}
	r.after = func(context.Context) ([]check, error) {
		return []check{{What: "idle RSS against " + theirs, Got: median(rss[ours]) / max(median(rss[theirs]), 1e-9), Goal: 0.5, Unit: "×"}}, nil
	}
	return r, stop, nil
}
