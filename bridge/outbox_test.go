package bridge_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/bridge"
	"github.com/hypha-node/hypha-node/bridge/bridgetest"
	"github.com/hypha-node/hypha-node/connectors"
	"github.com/hypha-node/hypha-node/connectors/peers"
)

// errDown is what the network says of a node that is down.
var errDown = errors.New("connection refused")

// unplug makes peers unreachable for what a party sends until the returned
// function is called with other ones, or none.
func (p *party) unplug(down ...string) (replug func(down ...string)) {
	var now atomic.Pointer[[]string]
	replug = func(down ...string) { now.Store(&down) }
	replug(down...)
	p.node.Fault(func(_ context.Context, s bridgetest.Stage, to string, _ peers.Offer) error {
		if s == bridgetest.StageReach && strings.Contains(strings.Join(*now.Load(), " "), to) {
			return errDown
		}
		return nil
	})
	return replug
}

// laterTo begins a send that nobody waits for.
func (p *party) laterTo(name, content string, r bridge.SendRequest) (id string) {
	p.t.Helper()
	p.write(name, content)
	r.Path = name
	id, err := p.job.SendLater(p.t.Context(), r)
	if err != nil {
		p.t.Fatal(err)
	}
	return id
}

// until waits until a transfer is as ok wants it.
func (p *party) until(id, what string, ok func(bridge.Transfer) bool) (tr bridge.Transfer) {
	p.t.Helper()
	bridgetest.Until(p.t, what, func() bool {
		var err error
		tr, err = p.job.Transfer(id)
		return err == nil && ok(tr)
	})
	return tr
}

func waits(tr bridge.Transfer) bool { return tr.State == "running" && tr.Waiting != nil }
func over(tr bridge.Transfer) bool  { return tr.State != "running" }

// outbox returns what is kept of the sends of a job: records and pins.
func (p *party) outbox() (records, pins int) {
	p.t.Helper()
	for _, err := range p.conf.Inbox.All(p.t.Context(), "train/out/") {
		if err != nil {
			p.t.Fatal(err)
		}
		records++
	}
	for pin, err := range p.store.Pins(p.t.Context()) {
		if err != nil {
			p.t.Fatal(err)
		}
		if pin.Name == bridge.OutboxPinName("train") {
			pins++
		}
	}
	return records, pins
}

// kept fails the test unless so many sends are recorded and pinned.
func (p *party) kept(n int) {
	p.t.Helper()
	bridgetest.Until(p.t, fmt.Sprintf("an outbox of %d", n), func() bool {
		records, pins := p.outbox()
		return records == n && pins == n
	})
}

// What was accepted is delivered after a restart: as it was when it was accepted,
// once, in the order of the calls, under the same ids.
func TestAcceptedSendsOutliveTheNode(t *testing.T) {
	p := parties(t, 2, nil)
	replug := p[0].unplug("peer-b")
	var ids []string
	for i := range 3 {
		r := bridge.SendRequest{Peers: []string{"peer-b"}, RemoveFile: i == 1}
		ids = append(ids, p[0].laterTo(fmt.Sprintf("f%03d", i), fmt.Sprintf("content %d", i), r))
	}
	p[0].kept(3)
	for _, id := range ids {
		tr := p[0].until(id, "an attempt", waits)
		if !strings.Contains(tr.Waiting.Error, errDown.Error()) || tr.Waiting.Attempts < 1 || tr.Waiting.Next.IsZero() {
			t.Errorf("%+v", tr.Waiting)
		}
	}
	p[0].write("f000", "something else")
	p[0].restart()
	p[0].kept(3)
	replug()
	for _, id := range ids {
		if tr := p[0].until(id, "the end", over); tr.State != "done" || tr.Waiting != nil || len(tr.Delivers) != 1 {
			t.Errorf("%+v", tr)
		}
	}
	p[0].kept(0)
	items := p[1].take(3, bridge.ReceiveRequest{})
	for i, it := range items {
		if it.Name != fmt.Sprintf("f%03d", i) || p[1].read(it.Path) != fmt.Sprintf("content %d", i) {
			t.Errorf("item %d: %+v, %q", i, it, p[1].read(it.Path))
		}
	}
	if rest := p[1].drain(); len(rest) != 0 {
		t.Errorf("again: %+v", rest)
	}
	for name, want := range map[string]bool{"f000": true, "f001": false, "f002": true} {
		if _, err := os.Lstat(filepath.Join(p[0].conf.WorkDir, name)); (err == nil) != want {
			t.Errorf("%s: %v", name, err)
		}
	}
	p[0].restart()
	if rest := p[1].drain(); len(rest) != 0 || len(p[0].job.Transfers()) != 0 {
		t.Errorf("after another restart: %+v, %+v", rest, p[0].job.Transfers())
	}
}

// A file that was changed after it had been accepted is not removed.
func TestRestartRemovesNoOtherFile(t *testing.T) {
	p := parties(t, 2, nil)
	replug := p[0].unplug("peer-b")
	id := p[0].laterTo("f", "old", bridge.SendRequest{Peers: []string{"peer-b"}, RemoveFile: true})
	p[0].restart()
	p[0].write("f", "newer")
	replug()
	p[0].until(id, "the end", over)
	p[1].take(1, bridge.ReceiveRequest{})
	if got := p[0].read("f"); got != "newer" {
		t.Errorf("%q", got)
	}
}

// crashing is Records that lose what is written after a crash.
type crashing struct {
	blockstore.Records
	now atomic.Bool
}

var errRecords = errors.New("crashed")

func (c *crashing) Put(ctx context.Context, key string, value []byte) error {
	if c.now.Load() {
		return errRecords
	}
	return c.Records.Put(ctx, key, value)
}

func (c *crashing) Delete(ctx context.Context, key string) error {
	if c.now.Load() {
		return errRecords
	}
	return c.Records.Delete(ctx, key)
}

// A send whose delivery is not recorded here, because of a crash, is offered
// again and not kept twice; nor is the answer that got lost.
func TestCrashDeliversOnce(t *testing.T) {
	var records *crashing
	p := parties(t, 2, func(i int, c *bridge.Config) {
		if i == 0 {
			records = &crashing{Records: c.Inbox}
			c.Inbox = records
		}
	})
	id := p[0].laterTo("first", "x", bridge.SendRequest{Peers: []string{"peer-b"}})
	p[0].until(id, "the end", over)
	p[0].kept(0)
	lost := make(chan struct{}, 1)
	p[0].node.Fault(func(_ context.Context, s bridgetest.Stage, _ string, _ peers.Offer) error {
		if s == bridgetest.StageAck {
			records.now.Store(true)
			select {
			case lost <- struct{}{}:
			default:
			}
			return bridgetest.ErrLost
		}
		return nil
	})
	id = p[0].laterTo("second", "y", bridge.SendRequest{Peers: []string{"peer-b"}})
	bridgetest.Wait(t, lost, "the delivery")
	p[0].node.Unserve(p[0].job)
	if err := p[0].job.Close(); err != nil {
		t.Fatal(err)
	}
	records.now.Store(false)
	p[0].node.Fault(nil)
	p[0].kept(1)
	p[0].open()
	if tr := p[0].until(id, "the end", over); tr.State != "done" {
		t.Errorf("%+v", tr)
	}
	p[0].kept(0)
	if got := p[1].drain(); len(got) != 2 || got[0].Name != "first" || got[1].Name != "second" {
		t.Errorf("%+v", got)
	}
}

// What is not recorded is not accepted.
func TestNotRecordedNotAccepted(t *testing.T) {
	var records *crashing
	p := parties(t, 2, func(i int, c *bridge.Config) {
		if i == 0 {
			records = &crashing{Records: c.Inbox}
			c.Inbox = records
		}
	})
	id := p[0].laterTo("f", "x", bridge.SendRequest{Peers: []string{"peer-b"}})
	p[0].until(id, "the end", over)
	p[0].kept(0)
	records.now.Store(true)
	if _, err := p[0].job.SendLater(t.Context(), bridge.SendRequest{Path: "f", Peers: []string{"peer-b"}}); !errors.Is(err, errRecords) {
		t.Errorf("%v", err)
	}
	records.now.Store(false)
	if got := p[1].drain(); len(got) != 1 {
		t.Errorf("%+v", got)
	}
	if use := p[0].job.Use(); use.Transfers != 0 {
		t.Errorf("%+v", use)
	}
}

// A send that could not be delivered for its time is given up, and tells why.
func TestSendIsGivenUp(t *testing.T) {
	var late atomic.Int64
	p := parties(t, 2, func(_ int, c *bridge.Config) {
		c.Now = func() time.Time { return time.Now().Add(time.Duration(late.Load())) }
	})
	p[0].unplug("peer-b")
	day := p[0].laterTo("day", "x", bridge.SendRequest{Peers: []string{"peer-b"}})
	days := p[0].laterTo("days", "x", bridge.SendRequest{Peers: []string{"peer-b"}, Timeout: 72 * time.Hour})
	short := p[0].laterTo("short", "x", bridge.SendRequest{Peers: []string{"peer-b"}, Timeout: time.Millisecond})
	if tr := p[0].until(short, "the end", over); tr.State != "failed" || !strings.Contains(tr.Error, "given up") || tr.Delivers[0].Error != "timeout" {
		t.Errorf("%+v", tr)
	}
	late.Store(int64(25 * time.Hour))
	p[0].restart()
	if tr := p[0].until(day, "the end", over); tr.State != "failed" || !strings.Contains(tr.Error, "given up") || tr.Delivers[0].Error != "timeout" {
		t.Errorf("%+v", tr)
	}
	p[0].until(days, "an attempt", waits)
	p[0].kept(1)
}

// Cancel ends a send that waits, for good; it holds none of the places that the
// job has for transfers, and the sends that somebody waits for come after it.
func TestWaitingSend(t *testing.T) {
	p := parties(t, 3, func(_ int, c *bridge.Config) { c.Limits.Transfers = 1 })
	replug := p[0].unplug("peer-b")
	first := p[0].laterTo("first", "1", bridge.SendRequest{Peers: []string{"peer-b", "peer-c"}})
	p[0].until(first, "an attempt", waits)
	second := p[0].laterTo("second", "2", bridge.SendRequest{Peers: []string{"peer-b"}})
	p[0].until(second, "an attempt", waits)
	p[0].send("other", "3", "peer-c")
	if got := p[2].drain(); len(got) != 2 || got[0].Name != "first" || got[1].Name != "other" {
		t.Errorf("%+v", got)
	}
	if err := p[0].job.Cancel(first); err != nil {
		t.Fatal(err)
	}
	if tr := p[0].until(first, "the end", over); tr.State != "cancelled" || len(tr.Delivers) != 2 || tr.Delivers[0].Error != "cancelled" || tr.Delivers[1].Status != "delivered" {
		t.Errorf("%+v", tr)
	}
	p[0].kept(1)
	replug()
	p[0].send("third", "4", "peer-b")
	p[0].until(second, "the end", over)
	p[0].kept(0)
	if got := p[1].drain(); len(got) != 2 || got[0].Name != "second" || got[1].Name != "third" {
		t.Errorf("%+v", got)
	}
	if use := p[0].job.Use(); use.Transfers != 0 {
		t.Errorf("%+v", use)
	}
}

// One of several peers is enough, whichever comes back first, also after a
// restart; what a peer refuses for good ends a send.
func TestWaitingForOneOfSeveral(t *testing.T) {
	p := parties(t, 3, nil)
	replug := p[0].unplug("peer-b", "peer-c")
	r := bridge.SendRequest{Peers: []string{"peer-b", "peer-c"}, Strategy: bridge.One}
	id := p[0].laterTo("f", "x", r)
	p[0].until(id, "an attempt", waits)
	p[0].kept(1)
	replug("peer-b")
	if tr := p[0].until(id, "the end", over); tr.State != "done" || len(tr.Delivers) != 1 || tr.Delivers[0].PeerID != "peer-c" {
		t.Errorf("%+v", tr)
	}
	replug("peer-b", "peer-c")
	id = p[0].laterTo("g", "y", r)
	p[0].restart()
	replug("peer-c")
	if tr := p[0].until(id, "the end", over); tr.State != "done" || tr.Delivers[0].PeerID != "peer-b" {
		t.Errorf("%+v", tr)
	}
	p[0].node.Fault(func(_ context.Context, s bridgetest.Stage, _ string, _ peers.Offer) error {
		if s == bridgetest.StageKeep {
			return &peers.Refusal{Code: peers.CodeMismatch, Detail: "planted"}
		}
		return nil
	})
	id = p[0].laterTo("h", "z", r)
	if tr := p[0].until(id, "the end", over); tr.State != "failed" || tr.Delivers[0].Error != peers.CodeMismatch {
		t.Errorf("%+v", tr)
	}
	p[0].kept(0)
	if got := append(p[1].drain(), p[2].drain()...); len(got) != 2 || got[0].Name != "g" || got[1].Name != "f" {
		t.Errorf("%+v", got)
	}
}

// What a peer refuses for now is tried again, and holds up nobody.
func TestRefusedForNow(t *testing.T) {
	p := parties(t, 2, nil)
	var open atomic.Bool
	p[0].node.Fault(func(_ context.Context, s bridgetest.Stage, _ string, o peers.Offer) error {
		if s == bridgetest.StageOffer && o.Name == "big" && !open.Load() {
			return &peers.Refusal{Code: peers.CodeQuota, Detail: "planted"}
		}
		return nil
	})
	id := p[0].laterTo("big", "x", bridge.SendRequest{Peers: []string{"peer-b"}})
	one := p[0].laterTo("big", "x", bridge.SendRequest{Peers: []string{"peer-b"}, Strategy: bridge.One})
	tr := p[0].until(id, "an attempt", waits)
	if !strings.Contains(tr.Waiting.Error, "planted") {
		t.Errorf("%+v", tr.Waiting)
	}
	p[0].until(one, "an attempt", waits)
	p[0].send("small", "y", "peer-b")
	if got := p[1].drain(); len(got) != 1 || got[0].Name != "small" {
		t.Errorf("%+v", got)
	}
	open.Store(true)
	p[0].until(id, "the end", over)
	p[0].until(one, "the end", over)
	p[0].kept(0)
	if got := p[1].drain(); len(got) != 2 || got[0].Name != "big" {
		t.Errorf("%+v", got)
	}
}

// The numbers of send calls go on after a restart, and after a crash.
func TestNumbersGoOn(t *testing.T) {
	var records *crashing
	p := parties(t, 2, func(i int, c *bridge.Config) {
		if i == 0 {
			records = &crashing{Records: c.Inbox}
			c.Inbox = records
		}
	})
	var seqs []int64
	p[0].node.Fault(func(_ context.Context, s bridgetest.Stage, _ string, o peers.Offer) error {
		if s == bridgetest.StageOffer {
			seqs = append(seqs, o.Seq)
		}
		return nil
	})
	p[0].send("a", "x", "peer-b")
	p[0].send("b", "x", "peer-b")
	p[0].restart()
	p[0].send("c", "x", "peer-b")
	records.now.Store(true)
	p[0].node.Unserve(p[0].job)
	if err := p[0].job.Close(); err != nil {
		t.Fatal(err)
	}
	records.now.Store(false)
	p[0].open()
	p[0].send("d", "x", "peer-b")
	if len(seqs) != 4 || seqs[0] != 0 || seqs[1] != 1 || seqs[2] != 2 || seqs[3] <= 2 {
		t.Errorf("%v", seqs)
	}
}

// Counters go on after a restart; after a crash, from what was recorded last.
func TestCountersGoOn(t *testing.T) {
	p := parties(t, 2, nil)
	replug := p[0].unplug()
	p[0].send("a", "content", "peer-b")
	p[1].take(1, bridge.ReceiveRequest{})
	p[1].world.Origin.Put("/f", []byte("0123456789"))
	ref := connectors.Ref{Type: connectors.TypeURI, Value: p[1].world.Origin.URL + "/f"}
	if _, err := p[1].job.Fetch(t.Context(), bridge.FetchRequest{Ref: ref}); err != nil {
		t.Fatal(err)
	}
	replug("peer-b")
	id := p[0].laterTo("b", "more", bridge.SendRequest{Peers: []string{"peer-b"}})
	p[0].until(id, "an attempt", waits)
	for range 2 {
		p[0].restart()
		p[1].restart()
	}
	if s := p[0].job.Stats(); s.Sent != 1 || s.SentBytes != 7 || s.Failed != 0 {
		t.Errorf("sender: %+v", s)
	}
	if s, use := p[1].job.Stats(), p[1].job.Use(); s.Received != 1 || s.Files != 1 || s.Bytes["origin"] != 10 || use.Files != 2 || use.Bytes != 17 {
		t.Errorf("receiver: %+v, %+v", s, use)
	}
	replug()
	p[0].until(id, "the end", over)
	if s := p[0].job.Stats(); s.Sent != 2 || s.SentBytes != 11 || s.Failed != 0 {
		t.Errorf("sender: %+v", s)
	}
}

// The quota of a work directory holds across a restart.
func TestQuotaOutlivesTheNode(t *testing.T) {
	p := single(t, func(c *bridge.Config) { c.Limits.Files = 1 })
	for _, name := range []string{"/a", "/b"} {
		p.world.Origin.Put(name, []byte(name))
	}
	fetch := func(name string) error {
		ref := connectors.Ref{Type: connectors.TypeURI, Value: p.world.Origin.URL + name}
		_, err := p.job.Fetch(t.Context(), bridge.FetchRequest{Ref: ref})
		return err
	}
	if err := fetch("/a"); err != nil {
		t.Fatal(err)
	}
	p.restart()
	if err := fetch("/b"); !errors.Is(err, bridge.ErrQuota) {
		t.Errorf("%v", err)
	}
}
