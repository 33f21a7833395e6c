package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hypha-node/hypha-node/internal/hubtest"
	"github.com/hypha-node/hypha-node/testground/rig"
)

// The links of the rows. The far one is what a window of 800 KiB gives over 50 ms.
const (
	gigabit = 125e6    // bytes per second
	farEach = 16 << 20 // bytes per second of a connection
	farWay  = 25 * time.Millisecond
	stalls  = 8 << 20 // bytes after which a connection goes silent
)

// linkRow returns one of the rows that fetch the big file over a link: one of
// 1 Gbit/s, one that is far away, and one of which a connection goes silent.
func (b *bench) linkRow(ctx context.Context, name string, nginx *rig.Nginx) (row, func() error, error) {
	s := map[string]shape{
		"link": {all: gigabit}, "far": {delay: farWay, each: farEach}, "stall": {all: 2 * gigabit},
	}[name]
	k, err := newLink(ctx, strings.TrimPrefix(nginx.URL, "http://"), s)
	if err != nil {
		return row{}, nil, err
	}
	url := "http://" + k.Addr + "/" + filepath.Base(b.file)
	fetch := func(name string, stall int64) contender {
		return contender{name, func(ctx context.Context, dir string) (func(context.Context) (sample, error), func() error, error) {
			n, err := b.node(ctx, filepath.Join(dir, "repo"))
			if err != nil {
				return nil, nil, err
			}
			return func(ctx context.Context) (sample, error) {
				k.stall.Store(stall)
				got, err := b.bridgeFetch(ctx, n, url, "origin")
				if k.stall.Swap(0) != 0 && err == nil {
					err = errors.New("no connection was stalled")
				}
				return got, err
			}, n.Stop, nil
		}}
	}
	curl := program("curl", func(dir string) rig.Program {
		return rig.Program{Path: "curl", Dir: dir, Args: []string{"-s", "-f", "-o", "f", url}}
	})
	switch name {
	case "link":
		return row{
			name: name, title: "fetch over the bridge, 1 Gbit/s",
			subject: fetch("bridge fetch", 0), rivals: []contender{curl}, goals: []goal{{rival: "curl", speed: 0.98}}, anon: localMemory,
		}, k.close, nil
	case "far":
		return row{
			name: name, title: "fetch over the bridge, 50 ms there and back, 16 MiB/s for each connection",
			subject: fetch("bridge fetch", 0), rivals: []contender{curl}, goals: []goal{{rival: "curl", speed: 4}}, anon: localMemory,
		}, k.close, nil
	}
	silent := fetch("bridge fetch, one connection goes silent", stalls)
	var extra []float64
	r := row{
		name: name, title: "what a connection costs that goes silent",
		subject: contender{silent.name, func(ctx context.Context, dir string) (func(context.Context) (sample, error), func() error, error) {
			run, cleanup, err := silent.prepare(ctx, dir)
			return func(ctx context.Context) (sample, error) {
				got, err := run(ctx)
				extra = append(extra, got.Wall-float64(b.size)/s.all)
				return got, err
			}, cleanup, err
		}},
		anon: localMemory,
		after: func(context.Context) ([]check, error) {
			return []check{{What: "more than the link takes", Got: quantile(extra, 1), Goal: 20, Unit: "s"}}, nil
		},
	}
	return r, k.close, nil
}

// expiredRow: all signed URLs of the big file expire while it is fetched, once.
func (b *bench) expiredRow(ctx context.Context) (row, func() error, error) {
	big, err := hubtest.Disk(b.file)
	if err != nil {
		return row{}, nil, err
	}
	var ahead atomic.Int64 // how far the hub's clock goes ahead, in nanoseconds
	hub, err := hubtest.New(hubtest.Config{
		Repos: []hubtest.Repo{{ID: "org/model", Files: map[string]hubtest.Content{"model.safetensors": big}}},
		Now:   func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) },
	})
	if err != nil {
		return row{}, nil, err
	}
	if err := hub.Start(); err != nil {
		return row{}, nil, err
	}
	k, err := newLink(ctx, strings.TrimPrefix(hub.CDNURL, "http://"), shape{delay: farWay, each: farEach})
	if err != nil {
		return row{}, nil, errors.Join(err, hub.Close())
	}
	hub.CDNURL = "http://" + k.Addr
	var most float64
	subject := b.fetchModel(hub.URL, func(out string) error { return b.isBig(filepath.Join(out, "model.safetensors")) })
	r := row{
		name: "expired", title: "the signed URLs of a file expire while it is fetched",
		subject: contender{subject.name, func(ctx context.Context, dir string) (func(context.Context) (sample, error), func() error, error) {
			run, cleanup, err := subject.prepare(ctx, dir)
			return func(ctx context.Context) (sample, error) {
				hub.ResetRequests()
				later := time.AfterFunc(2*time.Second, func() { ahead.Add(int64(2 * time.Hour)) })
				defer later.Stop()
				got, err := run(ctx)
				asked, refused := 0, 0
				for _, r := range hub.Requests() {
					switch {
					case r.CDN && r.Status == 403:
						refused++
					case strings.HasSuffix(r.Path, "/model.safetensors") && !r.CDN:
						asked++
					}
				}
				if refused == 0 && err == nil {
					err = errors.New("no URL expired")
				}
				most = max(most, float64(asked-1))
				return got, err
			}, cleanup, err
		}},
		anon: localMemory,
		after: func(context.Context) ([]check, error) {
			return []check{{What: "new URLs asked for", Got: most, Goal: 1, Unit: "times"}}, nil
		},
	}
	return r, func() error { return errors.Join(k.close(), hub.Close()) }, nil
}

// memoryRow: eight files at once, and one alone.
func (b *bench) memoryRow() (row, func() error, error) {
	const at = 8
	contents := map[string]hubtest.Content{}
	for i := range uint64(at) {
		contents[fmt.Sprintf("m-%d.bin", i)] = hubtest.Random(i+1, b.size/4)
	}
	hub, err := startHub(contents)
	if err != nil {
		return row{}, nil, err
	}
	var grown [at + 1]float64
	fetch := func(name string, files int) contender {
		return contender{name, func(ctx context.Context, dir string) (func(context.Context) (sample, error), func() error, error) {
			n, err := b.hubNode(ctx, dir, hub.URL)
			if err != nil {
				return nil, nil, err
			}
			return func(ctx context.Context) (sample, error) {
				before, err := rig.UsageOf(n.PID())
				if err != nil {
					return sample{}, err
				}
				args := []string{"fetch", "-q", "-o", filepath.Join(dir, "out")}
				for i := range files {
					args = append(args, fmt.Sprintf("hf://org/model/m-%d.bin", i))
				}
				got, err := working(func() error {
					_, err := n.Run(ctx, args...)
					return err
				}, n.PID())
				grown[files] = max(grown[files], mib(got.Anon-before.Anon))
				return got, err
			}, n.Stop, nil
		}}
	}
	return row{
		name: "memory", title: fmt.Sprintf("files of %d MiB from a hub, eight at once and one alone", b.size>>22),
		subject: fetch("eight at once", at), rivals: []contender{fetch("one", 1)},
		after: func(context.Context) ([]check, error) {
			return []check{
				{What: "RssAnon more for one", Got: grown[1], Goal: 64, Unit: "MiB"},
				{What: "RssAnon more for eight", Got: grown[at], Goal: 256, Unit: "MiB"},
			}, nil
		},
	}, hub.Close, nil
}
