package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/hypha-node/hypha-node/internal/hubtest"
	"github.com/hypha-node/hypha-node/testground/rig"
)

// hfCommand is what the script hf does, wherever its interpreter was moved.
const hfCommand = "import sys; from huggingface_hub.cli.hf import main; sys.exit(main())"

// snapshotCommand fetches a repository as programs do that use the library.
const snapshotCommand = "import sys; from huggingface_hub import snapshot_download; snapshot_download(sys.argv[1], local_dir=sys.argv[2])"

// python is a program of huggingface_hub with a cache of its own below dir.
func (b *bench) python(endpoint, dir, command string, args ...string) rig.Program {
	return rig.Program{
		Path: b.hf, Args: append([]string{"-c", command}, args...), Dir: dir,
		Env: []string{
			"HF_ENDPOINT=" + endpoint, "HF_HOME=" + filepath.Join(dir, "hf"), "HF_TOKEN=", "HF_HUB_DISABLE_XET=1",
			"HF_HUB_DISABLE_TELEMETRY=1", "HF_HUB_DISABLE_PROGRESS_BARS=1", "NO_PROXY=127.0.0.1",
		},
	}
}

// startHub starts a hub with one repository, org/model.
func startHub(files map[string]hubtest.Content) (*hubtest.Hub, error) {
	hub, err := hubtest.New(hubtest.Config{Repos: []hubtest.Repo{{ID: "org/model", Files: files}}})
	if err != nil {
		return nil, err
	}
	return hub, hub.Start()
}

// bigHub starts a hub that has the big file.
func (b *bench) bigHub() (*hubtest.Hub, error) {
	big, err := hubtest.Disk(b.file)
	if err != nil {
		return nil, err
	}
	return startHub(map[string]hubtest.Content{"model.safetensors": big})
}

// hubNode starts a node whose hub is at endpoint.
func (b *bench) hubNode(ctx context.Context, dir, endpoint string, args ...string) (*rig.Node, error) {
	return rig.StartNode(ctx, rig.Config{
		Binary: b.binary, Repo: filepath.Join(dir, "repo"), Args: args,
		Env: []string{"HF_ENDPOINT=" + endpoint, "HF_TOKEN=", "HF_HOME=" + filepath.Join(dir, "hf-home"), "NO_PROXY=127.0.0.1"},
	})
}

// fetchModel is `fetch hf://org/model` with a daemon that has nothing yet.
func (b *bench) fetchModel(endpoint string, check func(out string) error) contender {
	return contender{"hypha-node fetch", func(ctx context.Context, dir string) (func(context.Context) (sample, error), func() error, error) {
		n, err := b.hubNode(ctx, dir, endpoint)
		if err != nil {
			return nil, nil, err
		}
		out := filepath.Join(dir, "out")
		return func(ctx context.Context) (sample, error) {
			return b.watched(ctx, n.Program("fetch", "-q", "hf://org/model", "-o", out), func() error { return check(out) }, n.PID())
		}, n.Stop, nil
	}}
}

// watched measures a command together with the daemons that work for it, and
// checks what it brought.
func (b *bench) watched(ctx context.Context, p rig.Program, check func() error, pids ...int) (sample, error) {
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
	return s, check()
}

// isBig checks that a file is the big one.
func (b *bench) isBig(name string) error {
	got, err := rig.HashFile(name)
	if err == nil && got != b.sum {
		err = fmt.Errorf("%s has sha256 %s, want %s", name, got, b.sum)
	}
	return err
}

// hfRow: the big file from a hub, against hf and openssl.
func (b *bench) hfRow() (row, func() error, error) {
	hub, err := b.bigHub()
	if err != nil {
		return row{}, nil, err
	}
	r := row{
		name: "hf", title: "fetch the big file from a hub: store, CIDs, sha256, file",
		subject: b.fetchModel(hub.URL, func(out string) error { return b.isBig(filepath.Join(out, "model.safetensors")) }),
		goals:   []goal{{rival: "hf download, openssl", speed: 1 / 0.8}},
		anon:    localMemory,
	}
	if b.hf != "" {
		r.rivals = []contender{program("hf download, openssl", func(dir string) rig.Program {
			p := b.python(hub.URL, dir, hfCommand, "download", "org/model", "--local-dir", "out")
			p.Args = append([]string{"-c", `"$0" "$@" && openssl dgst -sha256 out/model.safetensors`, p.Path}, p.Args...)
			p.Path = "/bin/sh"
			return p
		})}
	}
	return r, hub.Close, nil
}

// tinyRow: many small files from a hub that is 20 ms away.
func (b *bench) tinyRow(ctx context.Context) (row, func() error, error) {
	const files, each = 1000, 10 << 10
	contents := map[string]hubtest.Content{}
	for i := range uint64(files) {
		contents[fmt.Sprintf("part-%02d/%04d.json", i%20, i)] = hubtest.Random(i+1, each)
	}
	hub, err := startHub(contents)
	if err != nil {
		return row{}, nil, err
	}
	k, err := newLink(ctx, strings.TrimPrefix(hub.URL, "http://"), shape{delay: 10 * time.Millisecond})
	if err != nil {
		return row{}, nil, errors.Join(err, hub.Close())
	}
	r := row{
		name: "tiny", title: "1,000 files of 10 KiB from a hub, 20 ms there and back",
		subject: b.fetchModel("http://"+k.Addr, func(out string) error {
			for name, c := range contents {
				got, err := rig.HashFile(filepath.Join(out, filepath.FromSlash(name)))
				if err != nil {
					return err
				}
				if want, err := c.SHA256(); err != nil || got != want {
					return fmt.Errorf("%s has sha256 %s, want %s (%w)", name, got, want, err)
				}
			}
			return nil
		}),
		goals: []goal{{rival: "hf download", speed: 3}},
		anon:  localMemory,
	}
	if b.hf != "" {
		r.rivals = []contender{program("hf download", func(dir string) rig.Program {
			return b.python("http://"+k.Addr, dir, hfCommand, "download", "org/model", "--local-dir", "out")
		})}
	}
	return r, func() error { return errors.Join(k.close(), hub.Close()) }, nil
}

// facadeRow: a client of the Hub with the façade of a node that has the content,
// against the same client with the hub itself.
func (b *bench) facadeRow(ctx context.Context) (row, func() error, error) {
	if b.hf == "" {
		return row{}, nil, fmt.Errorf("row facade needs huggingface_hub: %w", errLacking)
	}
	hub, err := b.bigHub()
	if err != nil {
		return row{}, nil, err
	}
	n, err := b.hubNode(ctx, filepath.Join(b.dir, "facade"), hub.URL, "--hub", "0")
	if err != nil {
		return row{}, nil, errors.Join(err, hub.Close())
	}
	stop := func() error { return errors.Join(n.Stop(), hub.Close()) }
	_, facade, found := strings.Cut(n.Ready, ", hub on ")
	if !found {
		return row{}, nil, errors.Join(fmt.Errorf("no address of the hub in %q", n.Ready), stop())
	}
	if _, err := n.Run(ctx, "fetch", "-q", "hf://org/model"); err != nil {
		return row{}, nil, errors.Join(err, stop())
	}
	client := func(name, endpoint string, pids ...int) contender {
		return contender{name, func(_ context.Context, dir string) (func(context.Context) (sample, error), func() error, error) {
			return func(ctx context.Context) (sample, error) {
				return b.watched(ctx, b.python(endpoint, dir, snapshotCommand, "org/model", "out"), func() error {
					return b.isBig(filepath.Join(dir, "out", "model.safetensors"))
				}, pids...)
			}, nil, nil
		}}
	}
	return row{
		name: "facade", title: "`snapshot_download` of the big file: façade, warm",
		subject: client("façade", facade, n.PID()),
		rivals:  []contender{client("hub itself", hub.URL)},
		goals:   []goal{{rival: "hub itself", speed: 1 / 1.1}},
		anon:    2 * localMemory, // the client's own included
	}, stop, nil
}
