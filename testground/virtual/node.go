package virtual

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/libp2p/go-libp2p/core/crypto"

	"github.com/hypha-node/hypha-node/bitswap"
	"github.com/hypha-node/hypha-node/bitswap/crew"
	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/bridge"
	"github.com/hypha-node/hypha-node/bridge/rest"
	"github.com/hypha-node/hypha-node/connectors"
	httpconn "github.com/hypha-node/hypha-node/connectors/http"
	"github.com/hypha-node/hypha-node/connectors/ingest"
	"github.com/hypha-node/hypha-node/connectors/ipfs"
	"github.com/hypha-node/hypha-node/connectors/peers"
	"github.com/hypha-node/hypha-node/dag"
	"github.com/hypha-node/hypha-node/testground/cases"
	"github.com/hypha-node/hypha-node/testground/faulty"
)

// node is one node of the swarm: what package node wires, with one job and
// without sockets of the system.
type node struct {
	links *links
	dir   string
	index int
	fault cases.Fault
	key   crypto.PrivKey

	mu      sync.Mutex // of what follows, when the node is started again
	running            // what was started
	before  cases.Traffic
}

// running is a node that runs.
type running struct {
	cases.Host
	wire    *wire
	store   *blockstore.Disk
	ex      *bitswap.Exchange
	engine  *ingest.Engine
	workDir string
	client  *http.Client
	closers []func() error

	transfers *peers.Service
}

var (
	_ cases.Node      = (*node)(nil)
	_ cases.Restarter = (*node)(nil)
)

// newNode starts a node whose files are below dir.
func (n *links) newNode(ctx context.Context, dir string, index int, fault cases.Fault) (*node, error) {
	nd := &node{links: n, dir: dir, index: index, fault: fault}
	var err error
	if nd.key, err = newKey(); err != nil {
		return nil, err
	}
	return nd, nd.start(ctx)
}

// start starts what runs, on the files that are there.
func (n *node) start(ctx context.Context) (err error) {
	r := running{workDir: filepath.Join(n.dir, "work")}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.close())
			return
		}
		n.mu.Lock()
		n.running = r
		n.mu.Unlock()
	}()
	h, w, closeHost, err := n.links.newHost(n.index, n.key, n.links.up(n.fault))
	if err != nil {
		return err
	}
	r.Libp2p, r.wire = h, w
	r.onClose(closeHost)
	if r.store, err = blockstore.Open(ctx, filepath.Join(n.dir, "repo"), blockstore.Options{Reserve: -1}); err != nil {
		return err
	}
	r.onClose(r.store.Close)
	var trace *slog.Logger
	if n.links.trace != nil {
		trace = n.links.trace.With(slog.Int("node", n.index))
		trace.Debug("node", slog.String("peer", h.ID().String()))
	}
	if r.ex, err = bitswap.New(ctx, bitswap.Config{Host: h, Store: faulty.Store(r.store, n.fault), Datastore: r.store.Datastore("net"), Logger: trace}); err != nil {
		return err
	}
	r.onClose(r.ex.Close)
	blocks := ipfs.New(r.store, r.ex)
	team, err := crew.New(crew.Config{Host: h, Stored: r.sender(), Logger: trace})
	if err != nil {
		return err
	}
	r.onClose(team.Close)
	web := httpconn.New(httpconn.Config{Dial: n.links.origin.dialer(h)})
	r.onClose(func() error { web.Close(); return nil })
	r.engine = ingest.New(ingest.Config{Store: r.store, Connectors: connectors.Set{web, blocks}, Blocks: blocks, Crew: team})
	r.onClose(r.engine.Close)
	if err := r.openTransfers(); err != nil {
		return err
	}
	return r.serve(ctx)
}

// Restart implements cases.Restarter. Peers hear nothing of the node until it is back.
func (n *node) Restart(ctx context.Context, abandon func()) error {
	n.wire.cut.Store(true)
	abandon()
	before, err := n.Traffic(ctx)
	if err != nil {
		return err
	}
	if err := n.close(); err != nil {
		return err
	}
	if err := n.start(ctx); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.before = before
	return nil
}

// sender returns what sends stored content to those who fetched it, too.
func (n *running) sender() func(context.Context, io.Writer, [sha256.Size]byte, int64, int64) error {
	store := n.store
	return func(ctx context.Context, w io.Writer, sum [sha256.Size]byte, off, count int64) error {
		return ingest.Send(ctx, store, w, sum, [2]int64{off, count})
	}
}

func (n *running) onClose(f func() error) { n.closers = append(n.closers, f) }

// close ends the node, newest part first.
func (n *running) close() error {
	var errs []error
	for _, f := range slices.Backward(n.closers) {
		errs = append(errs, f())
	}
	n.closers = nil
	return errors.Join(errs...)
}

// serve opens the bridge of the node's job.
func (n *running) serve(ctx context.Context) error {
	if err := os.MkdirAll(n.workDir, 0o700); err != nil {
		return err
	}
	job, err := bridge.Open(bridge.Config{
		ID: "job", WorkDir: n.workDir, Engine: n.engine, Store: n.store, Logger: slog.New(slog.DiscardHandler),
		Peers: n.transfers, Inbox: n.store.Records("inbox"),
	})
	if err != nil {
		return err
	}
	n.onClose(job.Close)
	n.transfers.Receive(taker{job})
	l := newPipes()
	transport := &http.Transport{DialContext: l.Dial}
	n.client = &http.Client{Transport: transport}
	sctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan error, 1)
	go func() { done <- rest.New(rest.Config{Job: job}).Serve(sctx, l) }()
	n.onClose(func() error {
		transport.CloseIdleConnections()
		stop()
		return <-done
	})
	return nil
}

// Add implements cases.Node.
func (n *node) Add(ctx context.Context, size, chunk int64) (string, error) {
	if chunk == 0 {
		chunk = cases.DefaultChunk
	}
	profile, err := dag.V1_2025().WithChunker(fmt.Sprintf("size-%d", chunk))
	if err != nil {
		return "", err
	}
	f, err := dag.Import(ctx, n.store, cases.Noise(size), dag.ImportOptions{Size: size, Profile: profile})
	return f.Root.String(), err
}

// Fetch implements cases.Node.
func (n *node) Fetch(ctx context.Context, what string, size int64) (int64, error) {
	ref, err := cases.Reference(what, size)
	if err != nil {
		return 0, err
	}
	var files []struct {
		Path string `json:"path"`
	}
	err = n.post(ctx, "/resources/fetch", map[string]any{"fetch": ref, "out_dir": "artifacts"}, &files)
	if err == nil && len(files) != 1 {
		err = fmt.Errorf("%d files for one CID", len(files))
	}
	if err != nil {
		return 0, err
	}
	return n.check(files[0].Path, size)
}

// Received implements cases.Meter.
func (n *node) Received() int64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	_, received := n.wire.moved()
	return n.before.Received + received
}

// Traffic implements cases.Meter.
func (n *node) Traffic(context.Context) (cases.Traffic, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	sent, received := n.wire.moved()
	blocks := n.ex.Swarm().Traffic()
	return n.before.Plus(cases.Traffic{
		Sent: sent, Received: received,
		Content: blocks.Received + blocks.Duplicate, Double: blocks.Duplicate, Control: blocks.Control,
	}), nil
}
