package bitswap_test

import (
	"context"
	"errors"
	"iter"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/ipfs/go-datastore"
	"github.com/ipfs/go-datastore/query"
	dssync "github.com/ipfs/go-datastore/sync"

	"github.com/hypha-node/hypha-node/bitswap"
)

// hooked is a datastore that calls hook before each query.
type hooked struct {
	datastore.Batching
	hook atomic.Pointer[func()]
}

func (h *hooked) Query(ctx context.Context, q query.Query) (query.Results, error) {
	if f := h.hook.Load(); f != nil {
		(*f)()
	}
	return h.Batching.Query(ctx, q)
}

// TestStopDuringStart stops a node at every moment of its start: when it has just
// been asked to run, while the set of announced roots is being prepared, and
// while it is being listed.
func TestStopDuringStart(t *testing.T) {
	roots := func(n int, before func()) func(context.Context) iter.Seq2[cid.Cid, error] {
		return func(context.Context) iter.Seq2[cid.Cid, error] {
			return func(yield func(cid.Cid, error) bool) {
				for i := range n {
					if i == n/2 {
						before()
					}
					if !yield(raw(t, []byte{byte(i)}).Cid(), nil) {
						return
					}
				}
			}
		}
	}
	for _, when := range []string{"at once", "first listing", "preparation", "failed listing"} {
		t.Run(when, func(t *testing.T) {
			for range 10 {
				ctx, cancel := context.WithCancel(t.Context())
				ds := &hooked{Batching: dssync.MutexWrap(datastore.NewMapDatastore())}
				stop := func() { cancel() }
				listing := stop
				if when == "preparation" {
					listing = func() {}
				}
				cfg := bitswap.Config{Identity: newKey(t), Listen: []string{}, Store: memory(), Datastore: ds, Roots: roots(10, listing)}
				if when == "failed listing" {
					cfg.Roots = func(context.Context) iter.Seq2[cid.Cid, error] {
						return func(yield func(cid.Cid, error) bool) {
							defer cancel()
							yield(cid.Undef, errors.ErrUnsupported)
						}
					}
				}
				ex, err := bitswap.New(t.Context(), cfg)
				if err != nil {
					t.Fatal(err)
				}
				switch when {
				case "at once":
					cancel()
				case "preparation":
					ds.hook.Store(&stop)
				}
				if err := ex.Run(ctx); err != nil {
					t.Error(err)
				}
				if err := ex.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// TestWantOutlivesAnotherSession has two sessions that want the same block, of
// which one ends before it comes.
func TestWantOutlivesAnotherSession(t *testing.T) {
	a, _ := start(t, nil)
	b, _ := start(t, nil)
	connect(t, b, a)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for i := range 20 {
		blk := raw(t, []byte{byte(i), 'x'})
		other, end := context.WithCancel(ctx)
		if _, err := b.Session(other).GetBlocks(other, []cid.Cid{blk.Cid()}); err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 { // both ways round: the other's want has been sent, or not yet
			eventually(t, "the want", func() bool { return a.Wanted(b.ID().PeerID, blk.Cid()) })
		}
		got, err := b.WatchedSession(ctx, bitswap.Watch{Stall: time.Second}).GetBlocks(ctx, []cid.Cid{blk.Cid()})
		if err != nil {
			t.Fatal(err)
		}
		end()
		if err := a.store.Put(ctx, blk); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the block", func() bool {
			a.Notify()
			select {
			case g := <-got:
				return g != nil && g.Cid() == blk.Cid()
			default:
				return false
			}
		})
	}
}

// TestTimeoutBeforeStall gives up without having looked for others.
func TestTimeoutBeforeStall(t *testing.T) {
	a, _ := start(t, nil)
	b, _ := start(t, nil)
	connect(t, b, a)
	absent := raw(t, []byte("nobody has this")).Cid()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	s := b.WatchedSession(ctx, bitswap.Watch{Stall: 100 * patience, Timeout: 50 * time.Millisecond})
	_, err := s.Get(ctx, absent)
	gaveUp(t, err, absent)
}
