// Command demo shows the main job of hypha-node on this machine alone, with the
// real binary: a local origin that stands for the Hub, a daemon, a job that
// fetches a file of a model's size over its socket, a second job that gets it for
// 0 bytes of the origin, and a second node that gets it by its CID. Every step
// checks what it got; the first that is wrong ends the demo with exit code 1.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/hypha-node/hypha-node/internal/hubtest"
	"github.com/hypha-node/hypha-node/testground/rig"
)

const repository, weights = "demo/model", "model.safetensors"

func main() {
	binary := flag.String("binary", "bin/hypha-node", "the command to show")
	size := flag.Int64("size", 512<<20, "bytes of the file")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, *binary, *size)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// demo is what the steps share.
type demo struct {
	binary, dir string
	size        int64
	sum         string // sha256 of the file, hex
	root        string // its CID, once it is known
	hub         *hubtest.Hub
	env         []string
}

// run sets the origin up, plays the steps and takes everything down again.
func run(ctx context.Context, binary string, size int64) (err error) {
	begin := time.Now()
	dir, err := os.MkdirTemp("", "hypha-demo")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if binary, err = filepath.Abs(binary); err != nil {
		return err
	}
	d := &demo{binary: binary, dir: dir, size: size}
	fmt.Println("One origin, two nodes, two jobs. Nothing leaves this machine.")

	if err := d.origin(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.hub.Close()) }()
	a, err := d.node(ctx, "a")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.Stop()) }()
	if err := d.job(ctx, a, 1, "origin"); err != nil {
		return fmt.Errorf("first job: %w", err)
	}
	if err := d.job(ctx, a, 2, "store"); err != nil {
		return fmt.Errorf("second job: %w", err)
	}
	b, err := d.node(ctx, "b")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Stop()) }()
	if err := d.peer(ctx, a, b); err != nil {
		return fmt.Errorf("second node: %w", err)
	}
	fmt.Printf("\nAll checks passed in %.1f s.\n", time.Since(begin).Seconds())
	return nil
}

// origin starts a hub that has one model.
func (d *demo) origin() (err error) {
	content := hubtest.Random(1, d.size)
	if d.sum, err = content.SHA256(); err != nil {
		return err
	}
	d.hub, err = hubtest.New(hubtest.Config{Repos: []hubtest.Repo{{
		ID: repository, Files: map[string]hubtest.Content{weights: content, "config.json": hubtest.Bytes([]byte("{}"))},
	}}})
	if err != nil {
		return err
	}
	if err := d.hub.Start(); err != nil {
		return err
	}
	d.env = []string{"HF_ENDPOINT=" + d.hub.URL, "HF_HOME=" + filepath.Join(d.dir, "hf"), "HF_TOKEN=", "NO_PROXY=127.0.0.1"}
	fmt.Printf("\norigin    %s has hf://%s/%s\n          %s, sha256 %s\n", d.hub.URL, repository, weights, mib(d.size), d.sum)
	return nil
}

// node starts a daemon with a new repository.
func (d *demo) node(ctx context.Context, name string) (*rig.Node, error) {
	n, err := rig.StartNode(ctx, rig.Config{Binary: d.binary, Repo: filepath.Join(d.dir, name), Env: d.env})
	if err != nil {
		return nil, err
	}
	fmt.Printf("\nnode %s    hypha-node --repo %s daemon\n          ready in %d ms: %s\n", name, n.Repo, n.ReadyIn.Milliseconds(), n.Ready)
	return n, nil
}

// job creates a job, fetches the file over its socket as an executor would, and
// checks the file in its work directory.
func (d *demo) job(ctx context.Context, n *rig.Node, number int, from string) error {
	job, err := n.CreateJob(ctx)
	if err != nil {
		return err
	}
	d.hub.ResetRequests()
	begin := time.Now()
	got, err := job.Fetch(ctx, map[string]any{"type": "HuggingFace", "repository": repository, "filenames": []string{weights}})
	if err != nil {
		return err
	}
	took := time.Since(begin)
	if len(got) != 1 || got[0].Size != d.size || got[0].Checksum != "sha256:"+d.sum || got[0].Metadata.From != from {
		return fmt.Errorf("the bridge answers %+v, want %d bytes, sha256:%s, from %s", got, d.size, d.sum, from)
	}
	d.root = got[0].CID
	fmt.Printf("\njob %d     curl --unix-socket %s http://hypha/resources/fetch …\n          %s from %s in %s\n",
		number, job.Socket, d.speed(took), from, filepath.Join(job.WorkDir, got[0].Path))
	return d.check(filepath.Join(job.WorkDir, got[0].Path), from == "origin")
}

// peer connects the second node to the first and gets the file by its CID.
func (d *demo) peer(ctx context.Context, a, b *rig.Node) error {
	address, err := a.Address(ctx)
	if err != nil {
		return err
	}
	if _, err := b.Run(ctx, "connect", address); err != nil {
		return err
	}
	d.hub.ResetRequests()
	out := filepath.Join(d.dir, "from-a-peer.safetensors")
	begin := time.Now()
	if _, err := b.Run(ctx, "get", d.root, "-o", out); err != nil {
		return err
	}
	took := time.Since(begin)
	fmt.Printf("\nnode b    hypha-node get %s\n          %s from node a\n", d.root, d.speed(took))
	return d.check(out, false)
}

// check holds a file to the origin's sha256, and the origin's log to whether the
// content was asked for since it was emptied.
func (d *demo) check(name string, fromOrigin bool) error {
	sum, err := rig.HashFile(name)
	if err != nil {
		return err
	}
	if sum != d.sum {
		return fmt.Errorf("%s has sha256 %s, want %s", name, sum, d.sum)
	}
	requests := 0
	for _, r := range d.hub.Requests() {
		if r.CDN {
			requests++
		}
	}
	if (requests > 0) != fromOrigin {
		return fmt.Errorf("the origin was asked for content %d times", requests)
	}
	fmt.Printf("          sha256 %s, requests for content at the origin: %d\n", sum, requests)
	return nil
}

// speed says how much went in which time.
func (d *demo) speed(took time.Duration) string {
	return fmt.Sprintf("%s in %.2f s, %.0f MiB/s", mib(d.size), took.Seconds(), float64(d.size)/(1<<20)/took.Seconds())
}

// mib prints bytes.
func mib(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }
