package node

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/hypha-node/hypha-node/api/control"
	"github.com/hypha-node/hypha-node/api/hub"
	"github.com/hypha-node/hypha-node/bitswap"
	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/blockstore/memo"
	"github.com/hypha-node/hypha-node/bridge"
	"github.com/hypha-node/hypha-node/connectors"
	"github.com/hypha-node/hypha-node/connectors/file"
	"github.com/hypha-node/hypha-node/connectors/hf"
	httpconn "github.com/hypha-node/hypha-node/connectors/http"
	"github.com/hypha-node/hypha-node/connectors/ingest"
	"github.com/hypha-node/hypha-node/connectors/ipfs"
	"github.com/hypha-node/hypha-node/connectors/peers"
	"github.com/hypha-node/hypha-node/connectors/s3"
	"github.com/hypha-node/hypha-node/dag"
	"github.com/hypha-node/hypha-node/jobs"
)

// Node is an open repository with everything that works on it.
type Node struct {
	cfg       Config
	log       *slog.Logger
	store     *blockstore.Disk
	exchange  *bitswap.Exchange // nil: offline
	jobs      *jobs.Supervisor
	transfers *peers.Service // nil: offline
	control   *control.Server
	hub       *hub.Server  // nil: no façade
	gateway   http.Handler // nil: none
	rpc       http.Handler // nil: none
	blocks    *ipfs.Connector
	engine    *ingest.Engine
	objects   *s3.Connector
	scrubs    scrubber
	closers   []func() error // in the order of opening
}

// Open opens the repository and wires the node; see the package comment. The
// caller must call Close. An error for a repository that another process has
// open wraps blockstore.ErrInUse.
func Open(ctx context.Context, c Config) (_ *Node, err error) {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	n := &Node{cfg: c, log: c.Logger}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.Close())
		}
	}()

	n.store, err = blockstore.Open(ctx, c.Repo, blockstore.Options{
		Holder: c.Holder, Reserve: c.Reserve, StorageMax: c.StorageMax, Links: dag.Links, Logger: c.Logger,
	})
	if err != nil {
		return nil, err
	}
	n.onClose(n.store.Close)

	var network control.Network // nil, not an interface that holds nil, when offline
	if !c.Offline {
		if n.exchange, err = n.openExchange(ctx); err != nil {
			return nil, err
		}
		n.onClose(n.exchange.Close)
		network = n.exchange
	}

	memory := dag.NewBudget(0)
	client := httpconn.New(httpconn.Config{
		Allow: c.HTTPAllow, Exempt: endpoints(c.HF.Endpoint), UserAgent: "hypha-node/" + c.Version, Logger: c.Logger,
		Memory: memory, MaxRate: c.MaxRate,
	})
	n.onClose(func() error { client.Close(); return nil })
	c.HF.Client, c.S3.Client = client.Client(), client.Client()
	var engine *ingest.Engine // the connector is asked after it was made
	c.HF.Memo = memo.New(n.store.Records("hub"), c.Logger)
	repositories := hf.New(c.HF).Knowing(func(ctx context.Context, key, scope string) (hf.File, bool) { return known(ctx, engine, key, scope) })
	objects := s3.New(c.S3)
	blocks := ipfs.New(n.store, n.exchange)
	holders, team, err := n.openCrew(memory)
	if err != nil {
		return nil, err
	}
	engine = ingest.New(ingest.Config{
		Store:      n.store,
		Connectors: connectors.Set{client, repositories, objects, blocks, file.New(nil)},
		Blocks:     blocks,
		Cache:      c.HFCache,
		Finder:     holders, Crew: team,
		OnStored: n.announce,
		Memory:   memory, Logger: c.Logger,
	})
	n.onClose(engine.Close)
	n.blocks, n.engine, n.objects = blocks, engine, objects
	if c.Hub != "" {
		n.hub = hub.New(hub.Config{
			Hub: repositories, Client: c.HF.Client, Engine: engine, Store: n.store, Memo: c.HF.Memo,
			Offline: c.HF.Offline, Logger: c.Logger,
		})
		n.onClose(n.hub.Close)
	}

	if c.Gateway != "" {
		if err := n.openGateway(blocks); err != nil {
			return nil, err
		}
	}
	if err := n.openJobs(ctx, engine); err != nil {
		return nil, err
	}

	n.control = control.NewServer(control.Config{
		Repo: c.Repo, Version: c.Version, Store: n.store, Engine: engine, Blocks: blocks,
		Jobs: n.jobs, Network: network, PeerID: n.peerID, Mend: n.mend, Scrub: n.scrubs.status, Logger: c.Logger,
	})
	if c.RPC != "" {
		if err := n.openRPC(memory); err != nil {
			return nil, err
		}
	}
	return n, nil
}

// known tells what an engine has stored under the key of a file of the Hub.
func known(ctx context.Context, engine *ingest.Engine, key, scope string) (hf.File, bool) {
	f, etag, ok := engine.Known(ctx, key, scope)
	return hf.File{Size: f.Size, SHA256: &f.SHA256, ETag: etag}, ok
}

// onClose has Close call f before everything that was opened earlier.
func (n *Node) onClose(f func() error) { n.closers = append(n.closers, f) }

// Close ends the node, newest part first. It may be called again.
func (n *Node) Close() error {
	var errs []error
	for _, f := range slices.Backward(n.closers) {
		errs = append(errs, f())
	}
	n.closers = nil
	return errors.Join(errs...)
}

// Handler returns the node's own API.
func (n *Node) Handler() http.Handler { return n.control }

// openJobs opens the jobs and, online, what moves files between them and jobs
// of other nodes.
func (n *Node) openJobs(ctx context.Context, engine *ingest.Engine) error {
	c := jobs.Config{
		Dir: filepath.Join(n.cfg.Repo, "jobs"), RuntimeDir: n.cfg.RuntimeDir,
		Records: n.store.Records("jobs"), Engine: engine, Store: n.store, Hold: n.store.Hold, Announce: n.announceRoot,
		Executors: n.cfg.Executors, Environ: n.cfg.Environ, Running: n.cfg.Running, LogSize: n.cfg.LogSize, Walls: n.walls(), Logger: n.log,
		Inbox: n.store.Records("inbox"),
	}
	var transfers *peers.Service
	if n.exchange != nil {
		var err error
		transfers, err = peers.New(peers.Config{Host: n.exchange.Host(), Store: n.store, Memory: engine.Memory(), FindPeer: n.exchange.FindPeer, Logger: n.log})
		if err != nil {
			return err
		}
		n.onClose(transfers.Close)
		c.Peers = transfers
	}
	var err error
	if n.jobs, err = jobs.Open(ctx, c); err != nil {
		return err
	}
	n.onClose(n.jobs.Close)
	n.transfers = transfers
	return nil
}

// openExchange makes the host and what runs on it.
func (n *Node) openExchange(ctx context.Context) (*bitswap.Exchange, error) {
	key, err := bitswap.LoadIdentity(n.cfg.Repo)
	if err != nil {
		return nil, err
	}
	swarm, err := bitswap.LoadSwarmKey(n.cfg.Repo)
	if err != nil && (n.cfg.ForcePrivate || !errors.Is(err, bitswap.ErrNoSwarmKey)) {
		return nil, err
	}
	return bitswap.New(ctx, bitswap.Config{
		SwarmKey: swarm, Allow: n.cfg.Allow, MDNS: n.cfg.MDNS, Public: n.cfg.Public, Relays: n.cfg.Relays,
		Identity: key, Listen: n.cfg.Listen, Bootstrap: n.cfg.Bootstrap, Peers: n.cfg.Peers,
		Datastore: n.store.Datastore("net"), Store: n.store.Scope(""), Roots: n.roots,
		Served: n.served, Holding: n.holding, Version: n.cfg.Version, Logger: n.log,
	})
}

// peerID returns the identity without a network.
func (n *Node) peerID() (string, error) {
	key, err := bitswap.LoadIdentity(n.cfg.Repo)
	if err != nil {
		return "", err
	}
	id, err := peer.IDFromPrivateKey(key)
	if err != nil {
		return "", fmt.Errorf("identity: %w", err)
	}
	return id.String(), nil
}

// roots yields what is announced: pinned roots that anybody may have, and files
// by their sha256.
func (n *Node) roots(ctx context.Context) iter.Seq2[cid.Cid, error] {
	return func(yield func(cid.Cid, error) bool) {
		for p, err := range n.store.Pins(ctx) {
			var all []cid.Cid
			if err == nil && !bridge.Unannounced(p.Name) {
				all, err = ingest.Announced(ctx, n.store, p.Root)
			}
			if err != nil {
				yield(cid.Undef, err)
				return
			}
			for _, c := range all {
				if !yield(c, nil) {
					return
				}
			}
		}
	}
}

// served tells whether strangers may have a block of what is being fetched: not if
// it is private.
func (n *Node) served(ctx context.Context, c cid.Cid) bool {
	private, err := blockstore.IsPrivate(ctx, n.store, c)
	return err == nil && !private
}

// announce tells the network of a file that has been fetched, unless it is
// private. What fails is done again by the next announcement cycle.
func (n *Node) announce(ctx context.Context, f dag.File, private bool) {
	if n.exchange == nil {
		return
	}
	if private {
		n.exchange.Notify()
		return
	}
	if err := n.announceRoot(ctx, f.Root); err != nil && ctx.Err() == nil {
		n.log.Warn("announce", slog.String("cid", f.Root.String()), slog.Any("error", err))
	}
}

// announceRoot tells the network of what a job has published, unless it is
// private.
func (n *Node) announceRoot(ctx context.Context, root cid.Cid) error {
	if n.exchange == nil {
		return nil
	}
	n.exchange.Notify()
	all, err := ingest.Announced(ctx, n.store, root)
	if err != nil || len(all) == 0 {
		return err
	}
	return n.exchange.Provide(ctx, all...)
}

// endpoints returns the "host:port" of what the operator has set: jobs may
// reach it wherever it is.
func endpoints(urls ...string) []string {
	var hosts []string
	for _, raw := range urls {
		u, err := url.Parse(raw)
		if err != nil || u.Host == "" {
			continue
		}
		port := u.Port()
		switch {
		case port != "":
		case u.Scheme == "http":
			port = "80"
		default:
			port = "443"
		}
		hosts = append(hosts, strings.ToLower(net.JoinHostPort(u.Hostname(), port)))
	}
	return hosts
}
