package bridge_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hypha-node/hypha-node/bridge"
	"github.com/hypha-node/hypha-node/bridge/bridgetest"
	"github.com/hypha-node/hypha-node/connectors/peers"
)

// later begins n sends, in order, and returns when all have ended; which of them
// failed is the result.
func (p *party) later(n int, to string, r bridge.SendRequest) []string {
	p.t.Helper()
	var ids []string
	for i := range n {
		r.Path, r.Peers = fmt.Sprintf("f%03d", i), []string{to}
		p.write(r.Path, r.Path)
		id, err := p.job.SendLater(p.t.Context(), r)
		if err != nil {
			p.t.Fatal(err)
		}
		ids = append(ids, id)
	}
	var failed []string
	for i, id := range ids {
		var tr bridge.Transfer
		bridgetest.Until(p.t, "the end of a send", func() bool {
			var err error
			tr, err = p.job.Transfer(id)
			return err == nil && tr.State != "running"
		})
		if tr.State != "done" {
			failed = append(failed, fmt.Sprintf("f%03d", i))
		}
	}
	return failed
}

// inOrder holds what was received against n files that were sent in order.
func (p *party) inOrder(n int) {
	p.t.Helper()
	items := p.drain()
	for i, it := range items {
		if want := fmt.Sprintf("f%03d", i); it.Name != want {
			p.t.Fatalf("item %d is %s", i, it.Name)
		}
	}
	if len(items) != n {
		p.t.Errorf("%d items, want %d", len(items), n)
	}
}

// R4 with a receiver that has room for one file at a time: those that came too
// early step aside for the one whose turn it is.
func TestOrderWithLittleRoom(t *testing.T) {
	for _, room := range []int64{1, 3} {
		p := parties(t, 2, func(i int, c *bridge.Config) {
			if i == 1 {
				c.Limits.Transfers = room
			}
		})
		if failed := p[0].later(12, "peer-b", bridge.SendRequest{}); len(failed) != 0 {
			t.Errorf("room %d: %v failed", room, failed)
		}
		p[1].inOrder(12)
	}
}

// R4 over a network that loses connections and overtakes.
func TestOrderWithLosses(t *testing.T) {
	p := parties(t, 2, nil)
	var n atomic.Int64
	p[0].node.Fault(func(_ context.Context, s bridgetest.Stage, _ string, o peers.Offer) error {
		// Every third moment that counts, wherever it falls.
		if s != bridgetest.StageReach && n.Add(1)%3 == 0 && n.Load() < 150 {
			return bridgetest.ErrLost
		}
		return nil
	})
	if failed := p[0].later(30, "peer-b", bridge.SendRequest{}); len(failed) != 0 {
		t.Errorf("%v failed", failed)
	}
	p[1].inOrder(30)
}

// A file that fails for good holds up nobody, and leaves no gap.
func TestFailureGivesItsTurn(t *testing.T) {
	p := parties(t, 2, nil)
	p[0].node.Fault(func(_ context.Context, s bridgetest.Stage, _ string, o peers.Offer) error {
		if s == bridgetest.StageKeep && o.Seq%4 == 1 {
			return &peers.Refusal{Code: peers.CodeMismatch, Detail: "planted"}
		}
		return nil
	})
	if failed := p[0].later(12, "peer-b", bridge.SendRequest{}); fmt.Sprint(failed) != "[f001 f005 f009]" {
		t.Errorf("failed: %v", failed)
	}
	items := p[1].drain()
	last := ""
	for i, it := range items {
		if it.Name <= last || it.Sequence != int64(i) {
			t.Errorf("item %d: %+v after %s", i, it, last)
		}
		last = it.Name
	}
	if len(items) != 9 {
		t.Errorf("%d items", len(items))
	}
}

// The receiver keeps the order of what names its predecessor, whoever comes
// first, and refuses what follows nothing.
func TestReceiverKeepsOrder(t *testing.T) {
	p := single(t, nil)
	after := func(id, before string) peers.Delivery {
		t.Helper()
		d, err := p.job.Accept(t.Context(), "peer-z", p.offer(id, id, func(o *peers.Offer) { o.After = before }), noSecret)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	third, second, first := after("third", "second"), after("second", "first"), after("first", "")
	lost := after("lost", "nothing")
	var wg sync.WaitGroup
	for _, d := range []peers.Delivery{third, second, first} {
		wg.Go(func() {
			if err := d.Keep(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if err := lost.Keep(t.Context()); code(err) != peers.CodeBusy {
		t.Errorf("%v", err)
	}
	// What follows one that is dropped is refused.
	dropped := after("dropped", "third")
	fifth := after("fifth", "dropped")
	wg.Go(func() {
		if err := fifth.Keep(t.Context()); code(err) != peers.CodeBusy {
			t.Errorf("%v", err)
		}
	})
	dropped.Drop(bridgetest.ErrLost)
	wg.Wait()
	if err := p.keep(p.offer("fifth", "fifth", func(o *peers.Offer) { o.After = "third" })); err != nil {
		t.Error(err)
	}
	var got []string
	for _, it := range p.drain() {
		got = append(got, it.Name)
	}
	if fmt.Sprint(got) != "[first second third fifth]" {
		t.Errorf("%v", got)
	}
	if use := p.job.Use(); use.InboxItems != 0 || use.InboundBytes != 0 || use.Transfers != 0 {
		t.Errorf("%+v", use)
	}
}

// Files that wait for each other in a circle end with the job, and can be
// cancelled.
func TestCircleOfFiles(t *testing.T) {
	p := single(t, nil)
	var wg sync.WaitGroup
	answers := make([]error, 2)
	for i, id := range []string{"a", "b"} {
		other := []string{"b", "a"}[i]
		d, err := p.job.Accept(t.Context(), "peer-z", p.offer(id, id, func(o *peers.Offer) { o.After = other }), noSecret)
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() { answers[i] = d.Keep(t.Context()) })
	}
	all := p.job.Transfers()
	if err := p.job.Cancel(all[0].ID); err != nil {
		t.Fatal(err)
	}
	p.job.Stop()
	wg.Wait()
	for i, err := range answers {
		if c := code(err); c != peers.CodeCancelled && c != peers.CodeBusy {
			t.Errorf("%d: %v", i, err)
		}
	}
}

// Whoever is ahead in another lane, or in another call's retries, a send to one
// peer does not wait for another peer.
func TestLanesAreApart(t *testing.T) {
	p := parties(t, 3, nil)
	p[0].node.Fault(func(ctx context.Context, s bridgetest.Stage, to string, _ peers.Offer) error {
		if s == bridgetest.StageBytes && to == "peer-b" {
			<-ctx.Done()
			return ctx.Err()
		}
		return nil
	})
	p[0].write("f", "x")
	id, err := p[0].job.SendLater(t.Context(), bridge.SendRequest{Path: "f", Peers: []string{"peer-b", "peer-c"}})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		p[0].send("g", "y", "peer-c")
	}
	if items := p[2].take(4, bridge.ReceiveRequest{}); items[0].Name != "f" {
		t.Errorf("%+v", items)
	}
	if err := p[0].job.Cancel(id); err != nil {
		t.Fatal(err)
	}
	bridgetest.Until(t, "the end", func() bool {
		tr, err := p[0].job.Transfer(id)
		return err == nil && tr.State != "running" && tr.Ended.After(time.Time{})
	})
}
