package bridgetest

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/bridge"
	"github.com/hypha-node/hypha-node/connectors"
	"github.com/hypha-node/hypha-node/connectors/hf"
	httpconn "github.com/hypha-node/hypha-node/connectors/http"
	"github.com/hypha-node/hypha-node/connectors/ingest"
	"github.com/hypha-node/hypha-node/connectors/ipfs"
	"github.com/hypha-node/hypha-node/internal/hubtest"
)

// Options say what a World has. The zero value is a memory store and an empty hub.
type Options struct {
	Store blockstore.Store // closed by the test; nil: a memory store
	Now   func() time.Time // of jobs; nil: time.Now
	Hub   hubtest.Config
	First connectors.Set // connectors that are asked before the real ones
	Guard bool           // refuse loopback to jobs, as a node does without --http-allow
}

// World is a node's inside: store, engine, origins.
type World struct {
	Store  blockstore.Store
	Engine *ingest.Engine
	Hub    *hubtest.Hub
	Origin *Origin

	now func() time.Time
}

// New builds a world that ends with the test.
func New(t testing.TB, o Options) *World {
	t.Helper()
	w := &World{Store: o.Store, Origin: NewOrigin(t), now: o.Now}
	if w.Store == nil {
		m := blockstore.NewMemory()
		t.Cleanup(func() { closed(t, m.Close) })
		w.Store = m
	}
	hub, err := hubtest.New(o.Hub)
	if err == nil {
		err = hub.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closed(t, hub.Close) })
	w.Hub = hub
	conf := httpconn.Config{Retries: 2, Delay: time.Millisecond}
	if !o.Guard {
		conf.Allow = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	}
	http := httpconn.New(conf)
	t.Cleanup(http.Close)
	cids := ipfs.New(w.Store, nil)
	w.Engine = ingest.New(ingest.Config{
		Store:      w.Store,
		Connectors: append(o.First, http, hf.New(hf.Config{Endpoint: hub.URL, Client: http.Client()}), cids),
		Blocks:     cids,
	})
	t.Cleanup(func() { closed(t, w.Engine.Close) })
	return w
}

// Disk opens a real repository, closed with the test.
func Disk(t testing.TB, dir string) *blockstore.Disk {
	t.Helper()
	// Test machines have small disks: the default reserve is not their business.
	d, err := blockstore.Open(t.Context(), dir, blockstore.Options{Reserve: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closed(t, d.Close) })
	return d
}

// Open opens a job with a work directory of its own, closed with the test.
func (w *World) Open(t testing.TB, id string) *bridge.Job {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "work")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return w.OpenIn(t, id, dir)
}

// OpenIn opens a job in a directory.
func (w *World) OpenIn(t testing.TB, id, dir string) *bridge.Job {
	t.Helper()
	return w.OpenWith(t, w.Config(id, dir))
}

// Config returns what opens a job in a directory, offline.
func (w *World) Config(id, dir string) bridge.Config {
	return bridge.Config{
		ID: id, WorkDir: dir, Socket: filepath.Join(filepath.Dir(dir), "bridge.sock"),
		Created: time.Unix(1_790_000_000, 0), Engine: w.Engine, Store: w.Store, StoreDir: filepath.Dir(dir), Now: w.now,
	}
}

// OpenWith opens a job, closed with the test.
func (w *World) OpenWith(t testing.TB, c bridge.Config) *bridge.Job {
	t.Helper()
	j, err := bridge.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closed(t, j.Close) })
	return j
}

// Wait returns when c is closed and fails the test if that takes a minute.
func Wait(t testing.TB, c <-chan struct{}, what string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	select {
	case <-c:
	case <-ctx.Done():
		t.Fatalf("%s did not happen", what)
	}
}

// Until returns when ok does, asked again and again, and fails the test if that
// takes a minute.
func Until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%s did not happen", what)
		}
	}
}

// closed closes something at the end of a test.
func closed(t testing.TB, closing func() error) {
	t.Helper()
	if err := closing(); err != nil {
		t.Error(err)
	}
}
