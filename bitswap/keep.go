package bitswap

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
)

// Redialling: from minRedial, doubling, to maxRedial.
const (
	minRedial = time.Second
	maxRedial = time.Minute
	// maxRecall is maxRedial for peers of earlier runs, who may be gone for good.
	maxRecall = 10 * time.Minute
	// steadyFor is how long a connection must have held for its end to be answered
	// with a dial at once: who takes a connection and drops it is waited for.
	steadyFor = 10 * time.Second
	// fewPeers is the size of the routing table under which bootstrap peers, and
	// those of earlier runs, are dialled again.
	fewPeers = 4
	// Peers of earlier runs that are dialled at once.
	recallWidth = 4
)

// keeper dials again and again, as long as that is needed.
type keeper struct {
	needed func() bool
	dial   func(ctx context.Context) error
	failed func(err error, again time.Duration) // is told of errors
	gone   <-chan struct{}                      // a connection has ended; nil: nobody tells
	max    time.Duration                        // between two dials
}

// run dials until ctx ends. tried is called after the first dial, and when none
// was needed.
func (k keeper) run(ctx context.Context, tried func()) {
	delay := minRedial
	var since time.Time // of the last dial
	for ctx.Err() == nil {
		wait := k.max
		if k.needed() {
			err := k.dial(ctx)
			since = time.Now()
			if err != nil {
				k.failed(err, delay)
				wait, delay = delay, min(2*delay, k.max)
			}
		}
		tried()
		if ended := pause(ctx, jitter(wait), k.gone); !ended {
			continue
		}
		if time.Since(since) >= steadyFor {
			delay = minRedial
			continue
		}
		pause(ctx, jitter(delay), nil)
		delay = min(2*delay, k.max)
	}
}

// jitter returns half to all of a wait, so that a cluster that starts at once does
// not dial in step.
func jitter(wait time.Duration) time.Duration {
	return wait/2 + rand.N(wait/2) //nolint:gosec // jitter, not a secret
}

// pause waits for d, for gone or for ctx, and tells whether it was gone.
func pause(ctx context.Context, d time.Duration, gone <-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-gone:
		return true
	case <-timer.C:
	case <-ctx.Done():
	}
	return false
}

// keepPeers dials the configured peers and those of earlier runs, and dials them
// again when they are gone, until ctx ends.
func (e *Exchange) keepPeers(ctx context.Context) {
	var all, first sync.WaitGroup
	defer all.Wait()
	tried := sync.OnceFunc(func() { close(e.dialled) })
	first.Add(1)
	all.Go(func() { e.recall(ctx, sync.OnceFunc(first.Done), tried) })
	for _, t := range e.static {
		if t.info.ID == e.host.ID() {
			continue // one list for a whole cluster names this node too
		}
		first.Add(1)
		all.Go(func() { e.keep(ctx, t, sync.OnceFunc(first.Done), tried) })
	}
	first.Wait()
	tried()
}

// keep holds the connection to one peer; done is called after the first dial, and
// reached when it has brought a connection.
func (e *Exchange) keep(ctx context.Context, t target, done, reached func()) {
	defer done()
	gone := make(chan struct{}, 1)
	bundle := &network.NotifyBundle{DisconnectedF: func(_ network.Network, c network.Conn) {
		if c.RemotePeer() == t.info.ID {
			select {
			case gone <- struct{}{}:
			default:
			}
		}
	}}
	e.host.Network().Notify(bundle)
	defer e.host.Network().StopNotify(bundle)
	keeper{
		needed: func() bool {
			if t.keep {
				return e.host.Network().Connectedness(t.info.ID) != network.Connected
			}
			return e.dht.RoutingTable().Size() < fewPeers
		},
		dial: func(ctx context.Context) error {
			err := e.dialOnce(ctx, t.info)
			if err == nil {
				reached()
			}
			return err
		},
		failed: func(err error, again time.Duration) {
			e.log.Info("peer not reached", slog.String("peer", t.info.ID.String()), slog.Duration("again_in", again), slog.Any("error", err))
		},
		gone: gone,
		max:  maxRedial,
	}.run(ctx, done)
}

// errNoneReached says that no peer of an earlier run was reached.
var errNoneReached = errors.New("no peer of an earlier run was reached")

// recall enters the network again through peers that were reached before, until
// ctx ends; done and reached are as keep has them.
func (e *Exchange) recall(ctx context.Context, done, reached func()) {
	defer done()
	keeper{
		needed: func() bool { return len(e.lost()) > 0 && e.dht.RoutingTable().Size() < fewPeers },
		dial: func(ctx context.Context) error {
			var dialling sync.WaitGroup
			slots := make(chan struct{}, recallWidth)
			var once sync.Once
			err := errNoneReached
			for _, info := range e.lost() {
				slots <- struct{}{}
				dialling.Go(func() {
					defer func() { <-slots }()
					if e.dialOnce(ctx, info) == nil {
						once.Do(func() { err = nil; reached() })
					}
				})
			}
			dialling.Wait()
			return err
		},
		failed: func(err error, again time.Duration) {
			e.log.Debug("recall", slog.Duration("again_in", again), slog.Any("error", err))
		},
		max: maxRecall,
	}.run(ctx, done)
}

// lost returns the peers of earlier runs that there is no connection to.
func (e *Exchange) lost() []peer.AddrInfo {
	var lost []peer.AddrInfo
	for _, info := range e.known.list() {
		if e.host.Network().Connectedness(info.ID) != network.Connected {
			lost = append(lost, info)
		}
	}
	return lost
}

// dialOnce is one bounded attempt.
func (e *Exchange) dialOnce(ctx context.Context, info peer.AddrInfo) error {
	dctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	err := e.dial(dctx, info)
	if err != nil && ctx.Err() != nil {
		return errors.Join(ctx.Err(), err)
	}
	return err
}
