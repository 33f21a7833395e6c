package jobs

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/bridge/bridgetest"
	"github.com/hypha-node/hypha-node/connectors/peers"
	"github.com/hypha-node/hypha-node/dag"
)

// lonely is a network of one node.
type lonely struct{}

func (lonely) Self() string                        { return "self" }
func (lonely) Parse(id string) (string, error)     { return id, nil }
func (lonely) Reach(context.Context, string) error { return errors.New("nobody is there") }
func (lonely) Send(context.Context, string, peers.Offer, peers.SendOptions) (peers.Receipt, error) {
	return peers.Receipt{}, errors.New("nobody is there")
}

// An offer goes to every task here that shares the job, all or none.
func TestOffered(t *testing.T) {
	s := newSite(t, bridgetest.Options{})
	inbox := s.Store.(*blockstore.Memory).Records("inbox")
	sup, _ := s.serving(t, func(c *Config) { c.Peers, c.Inbox = lonely{}, inbox })
	create(t, sup, Spec{ID: "a", Scope: "train"})
	create(t, sup, Spec{ID: "b", Scope: "train"})
	create(t, sup, Spec{ID: "c", Scope: "train", Channel: "other"})
	create(t, sup, Spec{ID: "d", Secret: "hush"})
	full := Spec{ID: "full", Scope: "small"}
	full.Limits.InboxItems = 1
	create(t, sup, full)
	create(t, sup, Spec{ID: "roomy", Scope: "small"})
	file, err := dag.Import(t.Context(), s.Store, bytes.NewReader([]byte("content")), dag.ImportOptions{})
	if err != nil {
		t.Fatal(err)
	}
	offer := func(from, transfer, job, task string) (peers.Delivery, error) {
		o := peers.Offer{Transfer: transfer, Job: job, Task: task, Name: "f", File: file}
		return sup.Offered(t.Context(), from, o, func(secret string) bool { return secret == "hush" })
	}
	items := func(id string) int64 {
		job, err := sup.bridgeOf(id)
		if err != nil {
			t.Fatal(err)
		}
		return job.Use().InboxItems
	}
	refused := func(err error, code string) {
		t.Helper()
		if r, ok := errors.AsType[*peers.Refusal](err); !ok || r.Code != code {
			t.Errorf("%v, want %s", err, code)
		}
	}

	d, err := offer("far", "t1", "train", "a") // another node's a
	if err != nil {
		t.Fatal(err)
	}
	if f, ok := d.(peers.Follower); !ok || f.Done() == nil {
		t.Error("nobody can end the delivery")
	} else {
		f.Moved(t.Context(), 1)
	}
	if err := d.Keep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if items("a") != 1 || items("b") != 1 || items("c") != 0 {
		t.Errorf("a has %d, b %d, c %d", items("a"), items("b"), items("c"))
	}
	if _, err := offer("far", "t1", "train", "a"); !errors.Is(err, peers.ErrDelivered) {
		t.Errorf("again: %v", err)
	}
	if d, err = offer("self", "t2", "train", "a"); err != nil { // a's own
		t.Fatal(err)
	}
	if err := d.Keep(t.Context()); err != nil || items("a") != 1 || items("b") != 2 {
		t.Errorf("%v; a has %d, b %d", err, items("a"), items("b"))
	}
	if d, err = offer("far", "t3", "train", ""); err != nil {
		t.Fatal(err)
	}
	d.Drop(errors.New("cut"))
	if items("a") != 1 || items("b") != 2 {
		t.Errorf("after a drop a has %d, b %d", items("a"), items("b"))
	}
	_, err = offer("far", "t4", "nobody", "")
	refused(err, peers.CodeNotInJob)
	if d, err = offer("far", "t5", "d", ""); err != nil {
		t.Errorf("with the secret: %v", err)
	} else {
		d.Drop(nil)
	}

	// One that is full refuses for all: what the sender is told is true of all.
	if d, err = offer("far", "t6", "small", ""); err != nil {
		t.Fatal(err)
	}
	if err := d.Keep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if d, err := offer("far", "t7", "small", ""); err == nil {
		t.Errorf("taken: %v", d)
	}
	if items("full") != 1 || items("roomy") != 1 {
		t.Errorf("full has %d, roomy %d", items("full"), items("roomy"))
	}

	// What nobody took goes with its job.
	for _, id := range []string{"a", "b", "c", "d", "full", "roomy"} {
		if err := sup.Remove(t.Context(), id); err != nil {
			t.Error(err)
		}
	}
	for r, err := range inbox.All(t.Context(), "") {
		t.Errorf("left in the inbox: %s, %v", r.Key, err)
	}
	for p, err := range s.Store.Pins(t.Context()) {
		t.Errorf("left pinned: %+v, %v", p, err)
	}
	_, err = offer("far", "t8", "train", "")
	refused(err, peers.CodeNotInJob)
}

// part is one job's side of a delivery.
type part struct {
	done    chan struct{}
	mu      sync.Mutex
	kept    int
	dropped int
	fail    error
}

func (p *part) Keep(context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.kept++
	return p.fail
}

func (p *part) Drop(error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dropped++
}

func (p *part) Done() <-chan struct{}        { return p.done }
func (p *part) Moved(context.Context, int64) {}

func TestDeliveries(t *testing.T) {
	a, b := &part{done: make(chan struct{})}, &part{done: make(chan struct{})}
	d := newDeliveries([]peers.Delivery{a, b})
	close(a.done)
	select {
	case <-d.Done():
		t.Error("ended while one still wants the file")
	default:
	}
	close(b.done)
	bridgetest.Wait(t, d.Done(), "the end")
	d.Drop(errors.New("cancelled"))
	if a.dropped != 1 || b.dropped != 1 || a.kept+b.kept != 0 {
		t.Errorf("%+v %+v", a, b)
	}

	a, b = &part{fail: errors.New("disk full")}, &part{}
	d = newDeliveries([]peers.Delivery{a, b})
	if err := d.Keep(t.Context()); err == nil {
		t.Error("kept by one of two")
	}
	if a.kept != 1 || b.kept != 1 || a.dropped+b.dropped != 0 {
		t.Errorf("%+v %+v", a, b)
	}
}
