package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/hypha-node/hypha-node/testground/rig"
)

// node starts a daemon with a repository in dir.
func (b *bench) node(ctx context.Context, repo string) (*rig.Node, error) {
	return rig.StartNode(ctx, rig.Config{Binary: b.binary, Repo: repo})
}

// bridgeFetch fetches a URL over a job's socket and checks the answer.
func (b *bench) bridgeFetch(ctx context.Context, n *rig.Node, url, from string) (sample, error) {
	job, err := n.CreateJob(ctx)
	if err != nil {
		return sample{}, err
	}
	var got []rig.Fetched
	s, err := working(func() error {
		var err error
		got, err = job.Fetch(ctx, rig.URI(url))
		return err
	}, n.PID())
	if err != nil {
		return s, err
	}
	if len(got) != 1 || got[0].Checksum != "sha256:"+b.sum || got[0].Metadata.From != from {
		return s, fmt.Errorf("answer %+v, want sha256:%s from %s", got, b.sum, from)
	}
	if sum, err := rig.HashFile(filepath.Join(job.WorkDir, got[0].Path)); err != nil || sum != b.sum {
		return s, fmt.Errorf("work directory has sha256 %s, want %s (%w)", sum, b.sum, err)
	}
	return s, os.RemoveAll(filepath.Join(job.WorkDir, got[0].Path))
}

// bridgeRow: a big file from nginx over a job's socket, against curl and openssl.
func (b *bench) bridgeRow(nginx *rig.Nginx) row {
	url := nginx.URL + "/" + filepath.Base(b.file)
	r := row{
		name: "bridge", title: "fetch over the bridge from nginx: store, work directory, sha256, CIDs",
		subject: contender{"bridge fetch", func(ctx context.Context, dir string) (func(context.Context) (sample, error), func() error, error) {
			n, err := b.node(ctx, filepath.Join(dir, "repo"))
			if err != nil {
				return nil, nil, err
			}
			return func(ctx context.Context) (sample, error) { return b.bridgeFetch(ctx, n, url, "origin") }, n.Stop, nil
		}},
		rivals: []contender{program("curl, openssl", func(dir string) rig.Program {
			return rig.Program{Path: "/bin/sh", Dir: dir, Args: []string{"-c", `curl -s -f -o f "$1" && openssl dgst -sha256 f`, "sh", url}}
		})},
		goals: []goal{{rival: "curl, openssl", speed: 1 / 0.9}, {rival: "aria2, 8 connections, checksum", speed: 1 / 0.6}},
		anon:  localMemory,
	}
	if b.aria2 != "" {
		r.rivals = append(r.rivals, program("aria2, 8 connections, checksum", func(dir string) rig.Program {
			return rig.Program{Path: b.aria2, Dir: dir, Args: []string{"-q", "-x8", "-s8", "--checksum=sha-256=" + b.sum, "-o", "f", url}}
		}))
	}
	return r
}

// secondRow: the same file for the next job.
func (b *bench) secondRow(ctx context.Context, nginx *rig.Nginx) (row, func() error, error) {
	url := nginx.URL + "/" + filepath.Base(b.file)
	n, err := b.node(ctx, filepath.Join(b.dir, "second"))
	if err != nil {
		return row{}, nil, err
	}
	if _, err := b.bridgeFetch(ctx, n, url, "origin"); err != nil {
		return row{}, nil, errors.Join(err, n.Stop())
	}
	before, err := nginx.Requests("/" + filepath.Base(b.file))
	if err != nil {
		return row{}, nil, errors.Join(err, n.Stop())
	}
	return row{
		name: "second", title: "the second job's fetch of the same file",
		subject: contender{"second bridge fetch", func(context.Context, string) (func(context.Context) (sample, error), func() error, error) {
			return func(ctx context.Context) (sample, error) { return b.bridgeFetch(ctx, n, url, "store") }, nil, nil
		}},
		rivals: []contender{b.cp()},
		goals:  []goal{{rival: "cp", speed: 0.5}},
		anon:   localMemory,
		after: func(context.Context) ([]check, error) {
			all, err := nginx.Requests("/" + filepath.Base(b.file))
			sent := int64(0)
			for _, r := range all[min(len(before), len(all)):] {
				sent += r.Bytes
			}
			return []check{{What: "bytes from the origin", Got: float64(sent), Goal: 0, Unit: "bytes"}}, err
		},
	}, n.Stop, nil
}

// peerRow: a big file from another node over loopback TCP: stored, written out,
// verified.
func (b *bench) peerRow(ctx context.Context) (row, func() error, error) {
	if err := b.store(ctx); err != nil {
		return row{}, nil, err
	}
	a, err := b.node(ctx, b.stored)
	if err != nil {
		return row{}, nil, err
	}
	address, err := a.Address(ctx)
	if err != nil {
		return row{}, nil, errors.Join(err, a.Stop())
	}
	stop := a.Stop
	r := row{
		name: "peer", title: "node B gets a big file from node A: stored, written, verified",
		subject: contender{"hypha-node get from a peer", func(ctx context.Context, dir string) (func(context.Context) (sample, error), func() error, error) {
			n, err := b.node(ctx, filepath.Join(dir, "repo"))
			if err != nil {
				return nil, nil, err
			}
			if _, err := n.Run(ctx, "connect", address); err != nil {
				return nil, n.Stop, err
			}
			return transfer(n.Program("get", b.root, "-o", filepath.Join(dir, "out")), filepath.Join(dir, "out"), b.sum, a.PID(), n.PID()), n.Stop, nil
		}},
		goals: []goal{{rival: "ipfs get from a peer", speed: 2.5, cpu: 0.4}},
		anon:  transferMemory,
	}
	if b.kubo == "" {
		return r, stop, nil
	}
	if err := b.kuboStored.Start(ctx); err != nil {
		return row{}, nil, errors.Join(err, stop())
	}
	stop = func() error { return errors.Join(a.Stop(), b.kuboStored.Stop()) }
	from, err := b.kuboStored.Address(ctx)
	if err != nil {
		return row{}, nil, errors.Join(err, stop())
	}
	r.rivals = []contender{{"ipfs get from a peer", func(ctx context.Context, dir string) (func(context.Context) (sample, error), func() error, error) {
		k, err := rig.NewKubo(ctx, b.kubo, filepath.Join(dir, "kubo"), "v1-2025")
		if err != nil {
			return nil, nil, err
		}
		if err := k.Start(ctx); err != nil {
			return nil, nil, err
		}
		if _, err := k.Run(ctx, "swarm", "connect", from); err != nil {
			return nil, k.Stop, err
		}
		out := filepath.Join(dir, "out")
		return transfer(k.Program("get", "--progress=false", "-o", out, b.kuboRoot), out, b.sum, b.kuboStored.PID(), k.PID()), k.Stop, nil
	}}}
	return r, stop, nil
}

// transfer measures a command together with the daemons that work for it, and
// checks the file that it writes.
func transfer(p rig.Program, out, sum string, pids ...int) func(context.Context) (sample, error) {
	return func(ctx context.Context) (sample, error) {
		var client rig.Result
		s, err := working(func() error {
			var err error
			client, err = p.Run(ctx)
			return err
		}, pids...)
		s.CPU += client.CPU.Seconds()
		s.Anon = max(s.Anon, client.Anon)
		if err != nil {
			return s, err
		}
		if got, err := rig.HashFile(out); err != nil || got != sum {
			return s, fmt.Errorf("%s has sha256 %s, want %s (%w)", out, got, sum, err)
		}
		return s, nil
	}
}

// readyRow: how long a daemon takes to be ready with a big file stored, and what
// it needs while nothing happens.
func (b *bench) readyRow(ctx context.Context) (row, error) {
	if err := b.store(ctx); err != nil {
		return row{}, err
	}
	var ready, idle []float64
	r := row{
		name: "ready", title: "`daemon ready` with a big file stored, then idle",
		subject: contender{"hypha-node daemon", func(context.Context, string) (func(context.Context) (sample, error), func() error, error) {
			return func(ctx context.Context) (sample, error) {
				n, err := b.node(ctx, b.stored)
				if err != nil {
					return sample{}, err
				}
				ready = append(ready, n.ReadyIn.Seconds()*1000)
				u, err := settled(ctx, n.PID())
				idle = append(idle, mib(u.RSS))
				return sample{Wall: n.ReadyIn.Seconds(), CPU: u.CPU.Seconds(), Anon: u.Anon}, errors.Join(err, n.Stop())
			}, nil, nil
		}},
		after: func(context.Context) ([]check, error) {
			return []check{
				{What: "ready", Got: median(ready), Goal: 100, Unit: "ms"},
				{What: "idle RSS", Got: median(idle), Goal: 40, Unit: "MiB"},
			}, nil
		},
	}
	if b.kubo != "" {
		r.rivals = []contender{{"ipfs daemon", func(context.Context, string) (func(context.Context) (sample, error), func() error, error) {
			return func(ctx context.Context) (sample, error) {
				begin := time.Now()
				if err := b.kuboStored.Start(ctx); err != nil {
					return sample{}, err
				}
				took := time.Since(begin)
				u, err := settled(ctx, b.kuboStored.PID())
				return sample{Wall: took.Seconds(), CPU: u.CPU.Seconds(), Anon: u.Anon}, errors.Join(err, b.kuboStored.Stop())
			}, nil, nil
		}}}
	}
	return r, nil
}

// settled waits until a process has used no CPU time for a second and returns
// what it has then; after 15 s it takes what there is.
func settled(ctx context.Context, pid int) (rig.Usage, error) {
	last, err := rig.UsageOf(pid)
	if err != nil {
		return last, err
	}
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for quiet, i := 0, 0; quiet < 4 && i < 60; i++ {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return last, ctx.Err()
		}
		now, err := rig.UsageOf(pid)
		if err != nil {
			return last, err
		}
		quiet++
		if now.CPU > last.CPU {
			quiet = 0
		}
		last = now
	}
	return last, nil
}
