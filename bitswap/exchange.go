package bitswap

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	boxobitswap "github.com/ipfs/boxo/bitswap"
	"github.com/ipfs/boxo/bitswap/client"
	"github.com/ipfs/boxo/bitswap/network"
	"github.com/ipfs/boxo/bitswap/network/bsnet"
	boxoblockstore "github.com/ipfs/boxo/blockstore"
	"github.com/ipfs/boxo/routing/providerquerymanager"
	"github.com/ipfs/go-cid"
	"github.com/ipfs/go-datastore"
	"github.com/ipfs/go-datastore/namespace"
	dssync "github.com/ipfs/go-datastore/sync"
	dht "github.com/libp2p/go-libp2p-kad-dht"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"golang.org/x/sync/errgroup"

	"github.com/hypha-node/hypha-node/bitswap/swarm"
)

// Exchange is this node in the network. It is safe for concurrent use.
type Exchange struct {
	cfg   Config
	log   *slog.Logger
	store boxoblockstore.Blockstore

	host    host.Host
	ownHost bool
	dht     *dht.IpfsDHT
	public  *dht.IpfsDHT // of the public network; nil: not joined
	lookup  *providerquerymanager.ProviderQueryManager
	net     network.BitSwapNetwork
	meter   *meter // the host as net sees it
	unhook  func() // takes the meter's notifications off the host
	bitswap *boxobitswap.Bitswap
	prov    *provider
	swarm   *swarm.Service

	publicProv *provider // nil: not joined

	shunning sync.Mutex
	shunned  map[peer.ID]time.Time // peers that Holders does not ask → until when

	static    []target      // Config.Peers and Config.Bootstrap, parsed
	known     *known        // peers of earlier runs, and of this one
	dialled   chan struct{} // closed when Run has reached a peer, or has tried all once
	wake      chan struct{} // capacity 1: Notify was called
	closing   chan struct{}
	closeOnce sync.Once
	runOnce   sync.Once
	closeErr  error
	spawning  sync.RWMutex   // orders spawn before the wait in Close
	wg        sync.WaitGroup // goroutines of spawn
}

// New opens the host, the DHT, bitswap and the provider. Peers can connect and
// are served when it returns; nobody is dialled before Run. The caller must
// call Close.
func New(ctx context.Context, cfg Config) (*Exchange, error) {
	if cfg.Store == nil {
		return nil, errors.New("bitswap: no store")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.ProtocolPrefix == "" {
		cfg.ProtocolPrefix = DefaultPrefix
	}
	if cfg.Datastore == nil {
		cfg.Datastore = dssync.MutexWrap(datastore.NewMapDatastore())
	}
	cfg.Datastore = steady{cfg.Datastore}
	static, err := parseTargets(cfg.Peers, cfg.Bootstrap)
	if err != nil {
		return nil, err
	}
	e := &Exchange{
		cfg:     cfg,
		log:     cfg.Logger,
		store:   cfg.Store,
		host:    cfg.Host,
		static:  static,
		dialled: make(chan struct{}),
		wake:    make(chan struct{}, 1),
		closing: make(chan struct{}),
		shunned: make(map[peer.ID]time.Time),
	}
	if err := e.open(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("bitswap: %w", err), e.Close())
	}
	return e, nil
}

// open starts the parts in the order in which Close ends them backwards.
func (e *Exchange) open(ctx context.Context) (err error) {
	if e.host == nil {
		e.ownHost = true
		if e.host, err = newHost(e.cfg); err != nil {
			return err
		}
	}
	e.host = direct{e.host}
	e.dht, err = dht.New(e.host,
		dht.ProtocolPrefix(protocol.ID(e.cfg.ProtocolPrefix)),
		dht.Mode(dht.ModeServer),
		dht.Datastore(namespace.Wrap(e.cfg.Datastore, datastore.NewKey("dht"))),
		dht.DisableValues(), // only provider records: strangers store nothing else here
	)
	if err != nil {
		return err
	}
	if err := e.joinPublic(); err != nil {
		return err
	}
	if e.known, err = newKnown(ctx, e.cfg.Datastore, e.network(), time.Now); err != nil {
		e.log.Warn("begin without peers", slog.Any("error", err))
	}
	// The context of New bounds opening; what runs on is ended by Close.
	life := context.WithoutCancel(ctx)
	e.meter = newMeter(e.host)
	e.unhook = e.meter.follow()
	e.net = bsnet.NewFromIpfsHost(e.meter)
	e.lookup, err = providerquerymanager.New(e.net, dhts{e},
		providerquerymanager.WithMaxProviders(maxProviders),
		providerquerymanager.WithMaxTimeout(lookupTimeout),
		providerquerymanager.WithFindPeerFallback(dhts{e}),
		providerquerymanager.WithIgnoreProviders(e.host.ID()))
	if err != nil {
		return err
	}
	e.bitswap = boxobitswap.New(life, e.net, finder{e.lookup}, served{e.store},
		boxobitswap.MaxOutstandingBytesPerPeer(maxOutstandingBytes),
		boxobitswap.WithTargetMessageSize(targetMessageSize),
		boxobitswap.MaxQueuedWantlistEntriesPerPeer(maxQueuedWants),
		boxobitswap.EngineBlockstoreWorkerCount(readWorkers),
		boxobitswap.TaskWorkerCount(sendWorkers),
		boxobitswap.ProviderSearchDelay(searchDelay),
		boxobitswap.WithoutDuplicatedBlockStats(), // else the client asks the store about every block
		boxobitswap.WithClientOption(client.WithDefaultProviderQueryManager(false)),
		boxobitswap.WithClientOption(client.WithDontHaveTimeoutConfig(patience())),
		boxobitswap.WithClientOption(client.WithTraceBlock(true)), // sessions know who sent what
		boxobitswap.WithClientOption(client.BroadcastControlEnable(true)),
		boxobitswap.WithClientOption(client.BroadcastControlMaxRandomPeers(maxProviders)))
	if e.prov, err = newProvider(e.host, e.dht, e.cfg.Datastore); err != nil {
		return err
	}
	e.swarm, err = swarm.New(swarm.Config{Host: e.host, Store: e.store, Served: e.cfg.Served, Logger: e.log})
	if err != nil {
		return err
	}
	e.answerQuestions()
	return e.spawn(e.serveWaiting)
}

// spawn runs f in a goroutine that Close waits for; ErrClosed after Close. f
// must end soon after closing is closed.
func (e *Exchange) spawn(f func()) error {
	e.spawning.RLock()
	defer e.spawning.RUnlock()
	select {
	case <-e.closing:
		return ErrClosed
	default:
	}
	e.wg.Go(f)
	return nil
}

// patience says how long a peer may take to answer a want before the session
// also asks others. boxo's defaults, 50 ms to 7 s, give up on peers behind a
// slow link, where a window of 32 MiB takes longer than that.
func patience() *client.DontHaveTimeoutConfig {
	c := client.DefaultDontHaveTimeoutConfig()
	c.MinTimeout = 2 * time.Second
	c.MaxTimeout = 30 * time.Second
	c.MessageLatencyMultiplier = 4
	return c
}

// Run keeps the connections to configured peers alive, enters the network again
// through peers of earlier runs and announces what
// Config.Roots yields, until ctx ends; it then returns nil. It may be called
// once.
func (e *Exchange) Run(ctx context.Context) error {
	first := false
	e.runOnce.Do(func() { first = true })
	if !first {
		return errors.New("bitswap: Run was called before")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		select {
		case <-e.closing:
			cancel()
		case <-ctx.Done():
		}
		return nil
	})
	g.Go(func() error { e.keepPeers(ctx); return nil })
	g.Go(func() error { e.rememberPeers(ctx); return nil })
	g.Go(func() error { e.meetLocally(ctx); return nil })
	g.Go(func() error { e.syncRoots(ctx); return nil })
	return g.Wait()
}

// Close ends everything, newest part first, and returns when it has ended. A
// host that came with the Config stays open. Further calls return the same.
func (e *Exchange) Close() error {
	e.closeOnce.Do(func() {
		e.spawning.Lock()
		close(e.closing)
		e.spawning.Unlock()
		if e.host != nil {
			e.host.RemoveStreamHandler(findProtocol)
		}
		var errs []error
		if e.swarm != nil {
			errs = append(errs, e.swarm.Close())
		}
		for _, p := range e.provs() {
			if p != nil {
				errs = append(errs, p.close())
			}
		}
		if e.bitswap != nil {
			errs = append(errs, e.bitswap.Close())
		}
		e.wg.Wait()
		if e.unhook != nil {
			e.unhook()
		}
		if e.lookup != nil {
			e.lookup.Close()
		}
		for _, d := range []*dht.IpfsDHT{e.public, e.dht} {
			if d != nil {
				errs = append(errs, d.Close())
			}
		}
		if e.host != nil && e.ownHost {
			errs = append(errs, e.host.Close())
		}
		e.closeErr = errors.Join(errs...)
	})
	return e.closeErr
}

// Swarm returns what fetches and serves DAGs over the protocol of their own.
func (e *Exchange) Swarm() *swarm.Service { return e.swarm }

// Notify says that new blocks are in the store: peers and local sessions that
// have been waiting for one of them get it. It returns at once and may be called
// often. A session whose want is younger than the call may miss it until its
// next Refresh.
func (e *Exchange) Notify() {
	select {
	case e.wake <- struct{}{}:
	default: // the next round sees these blocks too
	}
}

// serveWaiting looks, after each Notify, through what is waited for.
func (e *Exchange) serveWaiting() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for {
		select {
		case <-e.closing:
			return
		case <-e.wake:
			e.serveWanted(ctx, e.bitswap.GetWantlist())
			for _, p := range e.directPeers() {
				e.serveWanted(ctx, e.bitswap.WantlistForPeer(p))
			}
		}
	}
}

// serveWanted hands those of the wanted blocks that are here to bitswap, one at
// a time, so that one block is in memory.
func (e *Exchange) serveWanted(ctx context.Context, wanted []cid.Cid) {
	for _, c := range wanted {
		select {
		case <-e.closing:
			return
		default:
		}
		if has, err := e.store.Has(ctx, c); err != nil || !has {
			continue
		}
		blk, err := e.store.Get(ctx, c)
		if err == nil {
			err = e.bitswap.NotifyNewBlocks(ctx, blk)
		}
		if err != nil {
			e.log.Warn("serve waiting peers", slog.String("cid", c.String()), slog.Any("error", err))
		}
	}
}
