package bitswap

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/ipfs/go-datastore"
	"github.com/ipfs/go-datastore/namespace"
	dht "github.com/libp2p/go-libp2p-kad-dht"
	"github.com/libp2p/go-libp2p-kad-dht/amino"
	sweep "github.com/libp2p/go-libp2p-kad-dht/provider"
	"github.com/libp2p/go-libp2p-kad-dht/provider/buffered"
	"github.com/libp2p/go-libp2p-kad-dht/provider/keystore"
	"github.com/libp2p/go-libp2p/core/host"
	mh "github.com/multiformats/go-multihash"
)

// provider announces roots: the DHT's sweeping provider over a key store that
// survives restarts, behind a queue.
type provider struct {
	keys  *keystore.ResettableKeystore
	sweep *sweep.SweepingProvider
	queue *buffered.SweepingProvider // owns sweep
	saved soon                       // of keys
}

// newProvider starts announcing what the datastore knows of earlier runs.
func newProvider(h host.Host, d *dht.IpfsDHT, ds datastore.Batching) (*provider, error) {
	saved := soon{namespace.Wrap(ds, datastore.NewKey("provider/keys"))}
	keys, err := keystore.NewResettableKeystore(saved)
	if err != nil {
		return nil, fmt.Errorf("announced roots: %w", err)
	}
	s, err := sweep.New(
		sweep.WithHost(h),
		sweep.WithPeerID(h.ID()),
		sweep.WithRouter(patientRouter{d}),
		sweep.WithMessageSender(d.MessageSender()),
		sweep.WithSelfAddrs(d.FilteredAddrs),
		sweep.WithAddLocalRecord(func(ctx context.Context, k mh.Multihash) error {
			return d.Provide(ctx, cid.NewCidV1(cid.Raw, k), false)
		}),
		sweep.WithKeystore(keys),
		sweep.WithDatastore(namespace.Wrap(ds, datastore.NewKey("provider/state"))))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("provider: %w", err), keys.Close())
	}
	queue := buffered.New(s, namespace.Wrap(ds, datastore.NewKey("provider/queue")))
	return &provider{keys: keys, sweep: s, queue: queue, saved: saved}, nil
}

// provide records roots and queues those that are new.
func (p *provider) provide(ctx context.Context, roots []cid.Cid) error {
	// Recorded here, where an error can be returned: the queue only logs it, and
	// loses what it was about to record when it is closed.
	fresh, err := p.keys.Put(ctx, hashes(roots)...)
	if err != nil {
		return fmt.Errorf("record roots to announce: %w", err)
	}
	return p.queue.StartProviding(true, fresh...)
}

// close stops announcing; what is queued or known is kept for the next run.
func (p *provider) close() error {
	return errors.Join(p.queue.Close(), p.keys.Close(), p.saved.Close())
}

// Provide announces roots to the DHT, soon and then once per cycle for as long
// as they are provided, across restarts. It returns when they are recorded and
// queued; the record is on the disk with what the datastore writes next, for
// Config.Roots names at every start what must be announced. With nobody in the
// routing table they are announced when the first peer comes.
func (e *Exchange) Provide(ctx context.Context, roots ...cid.Cid) error {
	for _, p := range e.provs() {
		if err := p.provide(ctx, roots); err != nil {
			return err
		}
	}
	return nil
}

// Unprovide announces roots no longer. What was announced before is forgotten
// by the network within two days.
func (e *Exchange) Unprovide(ctx context.Context, roots ...cid.Cid) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	var errs []error
	for _, p := range e.provs() {
		errs = append(errs, p.queue.StopProviding(hashes(roots)...))
	}
	return errors.Join(errs...)
}

// hashes returns the multihashes of CIDs: provider records know no codec.
func hashes(cs []cid.Cid) []mh.Multihash {
	keys := make([]mh.Multihash, len(cs))
	for i, c := range cs {
		keys[i] = c.Hash()
	}
	return keys
}

// syncRoots makes the announced set equal to what Config.Roots yields, now and
// once per announcement cycle, until ctx ends.
func (e *Exchange) syncRoots(ctx context.Context) {
	if e.cfg.Roots == nil {
		return
	}
	tick := time.NewTicker(amino.DefaultReprovideInterval)
	defer tick.Stop()
	for {
		for _, p := range e.provs() {
			if err := e.resetRoots(ctx, p); err != nil && ctx.Err() == nil {
				e.log.Warn("list roots to announce", slog.Any("error", err))
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// resetRoots replaces the announced set. A listing that fails half-way, or that
// ctx ends, changes nothing.
//
// The key store never closes any more when its context ends while it prepares a
// reset: its worker then waits for good to tell that it is prepared. So it gets a
// context of its own, which ends only when it has begun to take keys.
func (e *Exchange) resetRoots(ctx context.Context, p *provider) error {
	rctx, abort := context.WithCancel(context.WithoutCancel(ctx))
	defer abort()
	roots := make(chan cid.Cid)
	over := make(chan struct{}) // closed when the key store takes no more keys
	listed := make(chan error, 1)
	err := e.spawn(func() {
		err := e.listRoots(ctx, roots, over)
		if err == nil {
			close(roots)
		} else { // a closed channel would look like the end of the list
			select {
			case roots <- cid.NewCidV1(cid.Raw, mh.Multihash(emptyHash)): // it is prepared
				abort()
			case <-over:
			}
		}
		listed <- err
	})
	if err != nil {
		return err
	}
	err = p.keys.ResetCids(rctx, roots)
	close(over)
	if err := errors.Join(<-listed, err); err != nil {
		return err
	}
	return p.sweep.RefreshSchedule()
}

// listRoots sends what Config.Roots yields.
func (e *Exchange) listRoots(ctx context.Context, to chan<- cid.Cid, over <-chan struct{}) error {
	for c, err := range e.cfg.Roots(ctx) {
		if err != nil {
			return err
		}
		select {
		case to <- c:
		case <-over:
			return nil // the key store says why
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return ctx.Err()
}
