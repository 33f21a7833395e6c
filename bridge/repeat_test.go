package bridge_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/hypha-node/hypha-node/bridge"
	"github.com/hypha-node/hypha-node/bridge/bridgetest"
	"github.com/hypha-node/hypha-node/connectors/peers"
)

// hold makes the first node's sends wait where their bytes go, until release is
// called; begun is closed when one does. offers counts them.
func hold(p []*party) (begun chan struct{}, release func(), offers func() int) {
	begun, gate := make(chan struct{}), make(chan struct{})
	var once sync.Once
	var mu sync.Mutex
	n := 0
	p[0].node.Fault(func(ctx context.Context, s bridgetest.Stage, _ string, _ peers.Offer) error {
		switch s {
		case bridgetest.StageOffer:
			mu.Lock()
			defer mu.Unlock()
			n++
		case bridgetest.StageBytes:
			once.Do(func() { close(begun) })
			select {
			case <-gate:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		return nil
	})
	return begun, sync.OnceFunc(func() { close(gate) }), func() int {
		mu.Lock()
		defer mu.Unlock()
		return n
	}
}

// S11: the same send, asked for again while the first runs, is offered when that
// has ended: both have the same answer, and one file arrives.
func TestRepeatWaits(t *testing.T) {
	p := parties(t, 2, nil)
	p[0].write("f", "x")
	begun, release, offers := hold(p)
	defer release()
	r := bridge.SendRequest{Path: "f", Peers: []string{"peer-b"}, Key: "k", RemoveFile: true}
	var got [4][]bridge.Delivered
	var wg sync.WaitGroup
	send := func(i int) {
		var err error
		if got[i], err = p[0].job.Send(t.Context(), r); err != nil {
			t.Errorf("%d: %v", i, err)
		}
	}
	wg.Go(func() { send(0) })
	bridgetest.Wait(t, begun, "the first send")
	gone, cancel := context.WithCancelCause(t.Context())
	cancel(bridge.ErrCancelled)
	if _, err := p[0].job.Send(gone, r); !errors.Is(err, bridge.ErrCancelled) {
		t.Errorf("a caller that is gone: %v", err)
	}
	wg.Go(func() { send(1) })
	wg.Go(func() { send(2) })
	if n := offers(); n != 1 {
		t.Errorf("%d offers while the first runs", n)
	}
	release()
	wg.Wait()
	send(3) // the file is gone, for the first send has removed it
	for i := range got {
		if len(got[i]) != 1 || got[i][0] != got[0][0] {
			t.Errorf("%d: %+v, want %+v", i, got[i], got[0])
		}
	}
	if items := p[1].drain(); len(items) != 1 {
		t.Errorf("%d items", len(items))
	}
}

// A send that nobody waits for is one send, however often it is asked for with its
// key or its id, also by who waits, and after its end.
func TestRepeatLater(t *testing.T) {
	for _, key := range []string{"k", ""} {
		p := parties(t, 2, nil)
		p[0].write("f", "x")
		p[0].write("g", "y")
		begun, release, _ := hold(p)
		defer release()
		r := bridge.SendRequest{Path: "f", Peers: []string{"peer-b"}, Key: key}
		id, err := p[0].job.SendLater(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		if key == "" {
			r.Key = id
		}
		bridgetest.Wait(t, begun, "the send")
		if again, err := p[0].job.SendLater(t.Context(), r); err != nil || again != id {
			t.Errorf("asked for again: %q, %v, want %q", again, err, id)
		}
		other := r
		other.Path = "g"
		if _, err := p[0].job.SendLater(t.Context(), other); !errors.Is(err, bridge.ErrConflict) {
			t.Errorf("another send of that key: %v", err)
		}
		var waited []bridge.Delivered
		done := make(chan error, 1)
		go func() {
			var err error
			waited, err = p[0].job.Send(t.Context(), r)
			done <- err
		}()
		release()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		tr, err := p[0].job.Transfer(id)
		if err != nil || tr.State != "done" || !slices.Equal(tr.Delivers, waited) {
			t.Errorf("%+v, %v, waited for %+v", tr, err, waited)
		}
		if items := p[1].drain(); len(items) != 1 {
			t.Errorf("key %q: %d items", key, len(items))
		}
	}
}

// What an accepted send has delivered before it failed is not delivered again by
// the one that names it.
func TestRepeatFailed(t *testing.T) {
	p := parties(t, 3, nil)
	p[0].write("f", "x")
	refuse := true
	p[0].node.Fault(func(_ context.Context, s bridgetest.Stage, to string, _ peers.Offer) error {
		if s == bridgetest.StageOffer && to == "peer-c" && refuse {
			return &peers.Refusal{Code: peers.CodeInvalid}
		}
		return nil
	})
	r := bridge.SendRequest{Path: "f", Peers: []string{"peer-b", "peer-c"}}
	id, err := p[0].job.SendLater(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	bridgetest.Until(t, "the send has failed", func() bool {
		tr, err := p[0].job.Transfer(id)
		return err == nil && tr.State == "failed"
	})
	refuse = false
	r.Key = id
	if got, err := p[0].job.Send(t.Context(), r); err != nil || got[0].Status != "delivered" || got[1].Status != "delivered" {
		t.Errorf("%+v, %v", got, err)
	}
	for i, q := range p[1:] {
		if items := q.drain(); len(items) != 1 {
			t.Errorf("receiver %d: %d items", i, len(items))
		}
	}
}
