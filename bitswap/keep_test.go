package bitswap

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ipfs/go-datastore"
	dssync "github.com/ipfs/go-datastore/sync"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/test"
)

// keeping runs a keeper under a clock of its own until it has dialled n times, and
// returns how long after each dial the next came. answer is asked what a dial
// brings: an error, or for how long the connection holds; 0 is for good.
func keeping(t *testing.T, n int, answer func(dial int) (time.Duration, error)) (waits []time.Duration) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		gone := make(chan struct{}, 1)
		var up atomic.Bool
		var last time.Time
		var ends *time.Timer
		k := keeper{
			needed: func() bool { return !up.Load() },
			dial: func(context.Context) error {
				if !last.IsZero() {
					waits = append(waits, time.Since(last))
				}
				last = time.Now()
				if len(waits) == n {
					cancel()
				}
				holds, err := answer(len(waits))
				up.Store(err == nil)
				if err == nil && holds > 0 {
					ends = time.AfterFunc(holds, func() { up.Store(false); gone <- struct{}{} })
				}
				return err
			},
			failed: func(error, time.Duration) {},
			gone:   gone,
			max:    maxRedial,
		}
		tried := 0
		k.run(ctx, func() { tried++ })
		if ends != nil {
			ends.Stop()
		}
		if tried == 0 {
			t.Error("nobody was told of the first dial")
		}
	})
	return waits
}

// TestKeeper holds when a peer is dialled again.
func TestKeeper(t *testing.T) {
	refused := errors.New("refused")
	within := func(t *testing.T, got, low, high time.Duration) {
		t.Helper()
		if got < low || got > high {
			t.Errorf("dialled again after %s, not within %s and %s", got, low, high)
		}
	}
	t.Run("never there", func(t *testing.T) {
		waits := keeping(t, 12, func(int) (time.Duration, error) { return 0, refused })
		want := minRedial
		for _, w := range waits {
			within(t, w, want/2, want)
			want = min(2*want, maxRedial)
		}
		if slices.Equal(waits[6:11], []time.Duration{waits[6], waits[6], waits[6], waits[6], waits[6]}) {
			t.Errorf("%s: always the same, so a cluster dials in step", waits[6])
		}
	})
	t.Run("drops at once", func(t *testing.T) {
		want := minRedial
		for _, w := range keeping(t, 8, func(int) (time.Duration, error) { return time.Millisecond, nil }) {
			within(t, w, want/2, want+time.Millisecond)
			want = min(2*want, maxRedial)
		}
	})
	t.Run("gone after an hour", func(t *testing.T) {
		for _, w := range keeping(t, 3, func(int) (time.Duration, error) { return time.Hour, nil }) {
			within(t, w, time.Hour, time.Hour)
		}
	})
	t.Run("away for a while", func(t *testing.T) {
		waits := keeping(t, 9, func(dial int) (time.Duration, error) {
			if dial < 5 {
				return 0, refused
			}
			return time.Hour, nil
		})
		within(t, waits[4], 8*time.Second, 16*time.Second)
		within(t, waits[5], time.Hour, time.Hour)
	})
}

// newPeer makes an id.
func newPeer(t *testing.T) peer.ID {
	t.Helper()
	id, err := test.RandPeerID()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// TestKnown holds what is remembered of peers, across restarts.
func TestKnown(t *testing.T) {
	ctx, now := t.Context(), time.Unix(1e9, 0)
	ds := &writes{Batching: dssync.MutexWrap(datastore.NewMapDatastore())}
	open := func(network string) *known {
		t.Helper()
		k, err := newKnown(ctx, ds, network, func() time.Time { return now })
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	reach := func(k *known, id peer.ID, port int) {
		t.Helper()
		if err := k.reached(ctx, id, fmt.Sprintf("/ip4/10.0.0.1/tcp/%d", port)); err != nil {
			t.Fatal(err)
		}
	}
	k, first := open("a"), newPeer(t)
	for port := range 9 {
		reach(k, first, port+1)
	}
	for range 5 { // nothing new
		reach(k, first, 9)
	}
	if got := open("a").list(); len(got) != 1 || got[0].ID != first || fmt.Sprint(got[0].Addrs) != "[/ip4/10.0.0.1/tcp/9 /ip4/10.0.0.1/tcp/8 /ip4/10.0.0.1/tcp/7 /ip4/10.0.0.1/tcp/6]" {
		t.Errorf("recorded are %v", got)
	}
	if ds.n != 9 {
		t.Errorf("%d writes", ds.n)
	}
	if got := open("b").list(); len(got) != 0 {
		t.Errorf("another network has %v", got)
	}
	for range 2 * maxKnown { // more than there is room for, at once
		reach(k, newPeer(t), 1)
	}
	if got := k.list(); len(got) != maxKnown || got[maxKnown-1].ID != first || ds.n != 9+maxKnown-1 {
		t.Errorf("%d peers, the first is %s, %d writes", len(got), got[len(got)-1].ID, ds.n)
	}
	now = now.Add(seenStep)
	late := newPeer(t)
	reach(k, late, 1)
	if got := open("a").list(); len(got) != maxKnown || got[0].ID != late || slices.ContainsFunc(got, func(i peer.AddrInfo) bool { return i.ID == first }) {
		t.Error("the one that was not reached for the longest time has kept its place")
	}
	now = now.Add(knownFor)
	if got := open("a").list(); len(got) != 1 || got[0].ID != late {
		t.Errorf("after a month %v are left", got)
	}
	if err := ds.Put(ctx, k.key, []byte(`[{"id":"x"`)); err != nil {
		t.Fatal(err)
	}
	if k, err := newKnown(ctx, ds, "a", time.Now); err == nil || k == nil || len(k.list()) != 0 {
		t.Errorf("of a damaged record: %v, %v", k, err)
	}
}

// writes counts what is written.
type writes struct {
	datastore.Batching
	n int
}

func (w *writes) Put(ctx context.Context, k datastore.Key, v []byte) error {
	w.n++
	return w.Batching.Put(ctx, k, v)
}
