package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/hypha-node/hypha-node/testground/rig"
)

// errLacking says that a row is left out for something that is not installed.
var errLacking = errors.New("not installed")

// options are the flags.
type options struct {
	binary, dir, rows, json string
	rounds                  int
	size, moved             int64
	garbage                 int64
	blocks                  int
	strict                  bool
}

func main() {
	var o options
	flag.StringVar(&o.binary, "binary", "bin/hypha-node", "the command to measure")
	flag.StringVar(&o.dir, "dir", "", "where to work; on the file system to be measured (default: a temporary directory)")
	flag.StringVar(&o.rows, "rows", "add,cat,get,bridge,second,hf,tiny,facade,link,far,stall,expired,memory,small,peer,long,text,tree,first,find,gateway,ready,socket,message,burst,broadcast,flat,gc,million", "rows to measure")
	flag.StringVar(&o.json, "json", "", "also write all samples to this file")
	flag.IntVar(&o.rounds, "rounds", 5, "rounds of each row")
	flag.Int64Var(&o.size, "size", 1<<30, "bytes of the big file")
	flag.Int64Var(&o.moved, "moved", 10<<30, "bytes that row flat moves in a round")
	flag.Int64Var(&o.garbage, "garbage", 2<<30, "bytes in 1,000 files, half of which row gc collects")
	flag.IntVar(&o.blocks, "blocks", 100_000, "blocks in the repositories of row million")
	flag.BoolVar(&o.strict, "strict", false, "exit code 1 when a goal is missed")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// run makes the data, measures the rows one after the other and prints each as
// soon as it is there.
func run(ctx context.Context, o options) (err error) {
	dir, err := os.MkdirTemp(o.dir, "bench")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	binary, err := filepath.Abs(o.binary)
	if err != nil {
		return err
	}
	web := filepath.Join(dir, "web")
	if err := os.Mkdir(web, 0o700); err != nil {
		return err
	}
	b := &bench{binary: binary, dir: dir, size: o.size, moved: o.moved, garbage: o.garbage, blocks: o.blocks, file: filepath.Join(web, "big.bin")}
	rep := report{When: time.Now().UTC().Truncate(time.Second), System: system(), Size: o.size, Rounds: o.rounds}
	if b.kubo, err = rig.FindKubo(); err != nil {
		rep.Missing = append(rep.Missing, "Kubo: "+err.Error())
	}
	if b.hf, err = rig.Find("HYPHA_PYTHON", "", "huggingface_hub-2.4.0/bin/python"); err != nil {
		rep.Missing = append(rep.Missing, "huggingface_hub: "+err.Error())
	}
	if b.aria2, err = exec.LookPath("aria2c"); err != nil {
		rep.Missing = append(rep.Missing, "aria2: "+err.Error())
	}
	if _, err := exec.LookPath("openssl"); err != nil {
		return fmt.Errorf("openssl is the yardstick: %w", err)
	}
	fmt.Printf("## hypha-node bench\n\n%s; big file %d bytes, %d rounds\n\n", rep.System, o.size, o.rounds)
	for _, m := range rep.Missing {
		fmt.Printf("left out: %s\n\n", m)
	}
	if b.sum, err = rig.WriteRandom(b.file, 1, o.size); err != nil {
		return err
	}
	for name := range strings.SplitSeq(o.rows, ",") {
		done, err := b.row(ctx, strings.TrimSpace(name), o.rounds, web)
		if errors.Is(err, errLacking) {
			fmt.Printf("left out: %v\n\n", err)
			rep.Missing = append(rep.Missing, err.Error())
			continue
		}
		if err != nil {
			return err
		}
		if err := markdown(os.Stdout, done); err != nil {
			return err
		}
		rep.Rows = append(rep.Rows, done)
	}
	missed, all := rep.missed()
	fmt.Printf("%d of %d goals reached\n", all-missed, all)
	if o.json != "" {
		if err := rep.save(o.json); err != nil {
			return err
		}
	}
	if missed > 0 && o.strict {
		return fmt.Errorf("%d goals missed", missed)
	}
	return nil
}

// row sets one row up, measures it and takes it down.
func (b *bench) row(ctx context.Context, name string, rounds int, web string) (out outcome, err error) {
	var stops []func() error
	defer func() {
		for _, stop := range slices.Backward(stops) {
			err = errors.Join(err, stop())
		}
	}()
	var nginx *rig.Nginx
	if slices.Contains([]string{"bridge", "second", "link", "far", "stall", "gateway"}, name) {
		binary, err := rig.FindNginx()
		if err != nil {
			return out, fmt.Errorf("row %s needs nginx: %w: %w", name, errLacking, err)
		}
		logs, err := os.MkdirTemp(b.dir, "nginx")
		if err != nil {
			return out, err
		}
		if nginx, err = rig.StartNginx(ctx, binary, web, logs); err != nil {
			return out, err
		}
		stops = append(stops, nginx.Stop)
	}
	r, stop, err := b.build(ctx, name, nginx)
	if stop != nil {
		stops = append(stops, stop)
	}
	if err != nil {
		return out, err
	}
	r.touch = 3 * b.size // the file, its copy in the store, its copy in a directory
	return measure(ctx, r, rounds, b.dir)
}

// build sets a row up; stop, which may be nil, takes it down, also after an error.
func (b *bench) build(ctx context.Context, name string, nginx *rig.Nginx) (r row, stop func() error, err error) {
	switch name {
	case "add":
		r = b.addRow()
	case "cat":
		r, err = b.catRow(ctx)
	case "get":
		r, err = b.getRow(ctx)
	case "bridge":
		r = b.bridgeRow(nginx)
	case "second":
		r, stop, err = b.secondRow(ctx, nginx)
	case "hf":
		r, stop, err = b.hfRow()
	case "tiny":
		r, stop, err = b.tinyRow(ctx)
	case "facade":
		r, stop, err = b.facadeRow(ctx)
	case "link", "far", "stall":
		r, stop, err = b.linkRow(ctx, name, nginx)
	case "expired":
		r, stop, err = b.expiredRow(ctx)
	case "memory":
		r, stop, err = b.memoryRow()
	case "small":
		r, err = b.smallRow()
	case "peer":
		r, stop, err = b.peerRow(ctx)
	case "long":
		r, stop, err = b.longRow(ctx)
	case "text":
		r, stop, err = b.textRow(ctx)
	case "tree":
		r = b.treeRow()
	case "first":
		r = b.firstRow()
	case "find":
		r = b.findRow()
	case "gateway":
		r, stop, err = b.gatewayRow(ctx, nginx)
	case "ready":
		r, err = b.readyRow(ctx)
	case "gc":
		r, stop, err = b.gcRow()
	case "million":
		r, stop, err = b.millionRow(ctx)
	default:
		r, err = b.exchangeRow(name)
	}
	return r, stop, err
}
