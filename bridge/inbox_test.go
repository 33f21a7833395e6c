package bridge_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/bridge"
	"github.com/hypha-node/hypha-node/bridge/bridgetest"
	"github.com/hypha-node/hypha-node/connectors"
	"github.com/hypha-node/hypha-node/connectors/peers"
	"github.com/hypha-node/hypha-node/dag"
)

// offer makes an offer of content that is in the party's store already.
func (p *party) offer(transfer, content string, change func(*peers.Offer)) peers.Offer {
	p.t.Helper()
	f, err := dag.Import(p.t.Context(), p.store, strings.NewReader(content), dag.ImportOptions{})
	if err != nil {
		p.t.Fatal(err)
	}
	o := peers.Offer{Transfer: transfer, Job: "train", Name: transfer, File: f}
	if change != nil {
		change(&o)
	}
	return o
}

func noSecret(string) bool { return false }

// keep has a file kept, as a network does.
func (p *party) keep(o peers.Offer) error {
	d, err := p.job.Accept(p.t.Context(), "peer-z", o, noSecret)
	if err != nil {
		return err
	}
	return d.Keep(p.t.Context())
}

// fill keeps n files that are named 0, 1, ….
func (p *party) fill(n int) {
	p.t.Helper()
	for i := range n {
		if err := p.keep(p.offer(fmt.Sprint(i), fmt.Sprint("content ", i), nil)); err != nil && !errors.Is(err, peers.ErrDelivered) {
			p.t.Fatal(err)
		}
	}
}

func single(t testing.TB, change func(c *bridge.Config)) *party {
	t.Helper()
	return newParty(t, bridgetest.NewNetwork(), "peer-a", change)
}

func code(err error) string {
	if r, ok := errors.AsType[*peers.Refusal](err); ok {
		return r.Code
	}
	return fmt.Sprint(err)
}

// R7, R2: what comes while nobody receives waits, in order, and a restart in
// between changes nothing.
func TestItemsWait(t *testing.T) {
	p := single(t, nil)
	p.fill(5)
	p.restart()
	got := p.take(2, bridge.ReceiveRequest{})
	p.restart()
	got = append(got, p.drain()...)
	for i, it := range got {
		if it.Sequence != int64(i) || it.Name != fmt.Sprint(i) || p.read(it.Path) != fmt.Sprint("content ", i) {
			t.Errorf("%d: %+v", i, it)
		}
	}
	if len(got) != 5 {
		t.Errorf("%d items", len(got))
	}
	p.fill(5) // delivered before: not again
	if rest := p.drain(); len(rest) != 0 {
		t.Errorf("%+v", rest)
	}
}

// R8: each item goes to exactly one of several who receive.
func TestCompetingConsumers(t *testing.T) {
	p := single(t, nil)
	const n, consumers = 200, 5
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var mu sync.Mutex
	seen := map[int64]int{}
	var wg sync.WaitGroup
	for range consumers {
		ready := make(chan struct{})
		wg.Go(func() {
			for it, err := range p.job.Receive(ctx, bridge.ReceiveRequest{Ready: func() { close(ready) }}) {
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				seen[it.Sequence]++
				all := len(seen) == n
				mu.Unlock()
				if all {
					cancel()
				}
			}
		})
		bridgetest.Wait(t, ready, "the subscription")
	}
	for i := range n {
		if err := p.keep(p.offer(fmt.Sprint(i), fmt.Sprint(i%7), nil)); err != nil {
			t.Fatal(err)
		}
	}
	wg.Wait()
	for seq, times := range seen {
		if times != 1 {
			t.Errorf("item %d was given %d times", seq, times)
		}
	}
	// Who cancelled did so with an item in its hands: that one is back.
	if rest := p.drain(); len(rest) != 1 {
		t.Errorf("%d left", len(rest))
	}
}

// R8: of two who wait, the first gets it; each filter by peer and channel.
func TestSubscriptionOrder(t *testing.T) {
	p := single(t, nil)
	type result struct {
		who string
		it  bridge.Received
	}
	results := make(chan result, 8)
	var wg sync.WaitGroup
	defer wg.Wait()
	subscribe := func(who string, r bridge.ReceiveRequest) {
		ready := make(chan struct{})
		r.Ready, r.Strategy = func() { close(ready) }, bridge.One
		wg.Go(func() {
			for it, err := range p.job.Receive(t.Context(), r) {
				if err != nil {
					t.Error(err)
				}
				results <- result{who, it}
			}
		})
		bridgetest.Wait(t, ready, who)
	}
	subscribe("other peer", bridge.ReceiveRequest{Peers: []string{"peer-y"}})
	subscribe("other channel", bridge.ReceiveRequest{Channel: "grads"})
	subscribe("first", bridge.ReceiveRequest{Peers: []string{"PEER-z", "peer-y"}})
	subscribe("second", bridge.ReceiveRequest{})
	expect := func(who, name string) {
		t.Helper()
		if r := <-results; r.who != who || r.it.Name != name {
			t.Errorf("%s got %s; want %s for %s", r.who, r.it.Name, name, who)
		}
	}
	p.fill(1)
	expect("first", "0")
	if err := p.keep(p.offer("g", "g", func(o *peers.Offer) { o.Channel = "grads" })); err != nil {
		t.Fatal(err)
	}
	expect("other channel", "g")
	if err := p.keep(p.offer("x", "x", nil)); err != nil {
		t.Fatal(err)
	}
	expect("second", "x")
	d, err := p.job.Accept(t.Context(), "peer-y", p.offer("y", "y", nil), noSecret)
	if err == nil {
		err = d.Keep(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	expect("other peer", "y")
}

// R10: an item that its receiver could not pass on is back in its place, and
// keeps its sequence and its file.
func TestGivenBack(t *testing.T) {
	p := single(t, nil)
	p.fill(3)
	var first bridge.Received
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for it, err := range p.job.Receive(ctx, bridge.ReceiveRequest{}) {
		if err != nil {
			t.Fatal(err)
		}
		first = it
		cancel()
	}
	if use := p.job.Use(); use.InboxItems != 3 || use.Files != 1 {
		t.Errorf("%+v", use)
	}
	got := p.drain()
	if len(got) != 3 || got[0] != first {
		t.Errorf("%+v, first was %+v", got, first)
	}
	if use := p.job.Use(); use.InboxItems != 0 || use.InboundBytes != 0 || use.Files != 3 {
		t.Errorf("%+v", use)
	}
}

// A break acknowledges, and One ends by itself.
func TestBreakTakes(t *testing.T) {
	p := single(t, nil)
	p.fill(3)
	p.take(1, bridge.ReceiveRequest{})
	n := 0
	for it, err := range p.job.Receive(t.Context(), bridge.ReceiveRequest{Strategy: bridge.One}) {
		if err != nil || it.Sequence != 1 {
			t.Errorf("%+v, %v", it, err)
		}
		n++
	}
	if rest := p.drain(); n != 1 || len(rest) != 1 || rest[0].Sequence != 2 {
		t.Errorf("%d, %+v", n, rest)
	}
}

// R9: what was received can be had again, in order, together with what was not.
func TestReplay(t *testing.T) {
	p := single(t, nil)
	p.fill(6)
	p.take(4, bridge.ReceiveRequest{})
	p.restart()
	since := int64(1)
	got := p.take(4, bridge.ReceiveRequest{Since: &since})
	for i, it := range got {
		if it.Sequence != int64(i+2) || p.read(it.Path) != fmt.Sprint("content ", it.Sequence) {
			t.Errorf("%d: %+v", i, it)
		}
	}
	if got[0].Path != "incoming/2.1-2" || got[3].Path != "incoming/5-5" {
		t.Errorf("paths %s, %s", got[0].Path, got[3].Path)
	}
	if rest := p.drain(); len(rest) != 0 {
		t.Errorf("%+v", rest)
	}
}

// What is kept for a replay is bounded, and unpinned behind it.
func TestReplayIsBounded(t *testing.T) {
	p := single(t, nil)
	const n = 300
	p.fill(n)
	p.drain()
	p.restart() // all is written
	pins := map[string]bool{}
	for pin, err := range p.store.Pins(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		pins[pin.Name+" "+pin.Root.String()] = true
	}
	if len(pins) != 256 {
		t.Errorf("%d pins", len(pins))
	}
	since := int64(-1)
	got := p.take(256, bridge.ReceiveRequest{Since: &since, OutDir: "again"})
	if rest := got[0].Sequence; rest > n-256 {
		t.Errorf("the first is %d", rest)
	}
}

// R11: until a moment that has passed, what is queued and what is under way.
func TestUntil(t *testing.T) {
	p := single(t, nil)
	if got := p.drain(); len(got) != 0 {
		t.Errorf("%+v", got)
	}
	p.fill(1)
	if got := p.drain(); len(got) != 1 {
		t.Errorf("%+v", got)
	}
	keep, err := p.job.Accept(t.Context(), "peer-z", p.offer("kept", "k", nil), noSecret)
	if err != nil {
		t.Fatal(err)
	}
	drop, err := p.job.Accept(t.Context(), "peer-z", p.offer("dropped", "d", nil), noSecret)
	if err != nil {
		t.Fatal(err)
	}
	ready := make(chan struct{})
	var got []bridge.Received
	var wg sync.WaitGroup
	wg.Go(func() {
		for it, err := range p.job.Receive(t.Context(), bridge.ReceiveRequest{Until: time.Unix(1, 0), Ready: func() { close(ready) }}) {
			if err != nil {
				t.Error(err)
			}
			got = append(got, it)
		}
	})
	bridgetest.Wait(t, ready, "the subscription")
	if err := keep.Keep(t.Context()); err != nil {
		t.Error(err)
	}
	drop.Drop(bridgetest.ErrLost)
	wg.Wait()
	if len(got) != 1 || got[0].Name != "kept" {
		t.Errorf("%+v", got)
	}
}

// R12: the job's end ends who waits.
func TestReceiveEndsWithTheJob(t *testing.T) {
	p := single(t, nil)
	ready := make(chan struct{})
	var last error
	var wg sync.WaitGroup
	wg.Go(func() {
		for _, err := range p.job.Receive(t.Context(), bridge.ReceiveRequest{Ready: func() { close(ready) }}) {
			last = err
		}
	})
	bridgetest.Wait(t, ready, "the subscription")
	p.job.Stop()
	wg.Wait()
	if !errors.Is(last, bridge.ErrClosed) {
		t.Errorf("%v", last)
	}
	if err := p.keep(p.offer("late", "x", nil)); code(err) != peers.CodeBusy {
		t.Errorf("offer to a job that ends: %v", err)
	}
}

// Names are the sender's: none leaves the directory, hides or takes another's
// place.
func TestHostileSenderNames(t *testing.T) {
	p := single(t, nil)
	list := []string{
		"../../etc/passwd", "/etc/passwd", `..\..\windows`, ".", "..", "", ".hidden", "a/b/c", "new\nline", "tab\there", "bidi\u202etxt",
		strings.Repeat("n", 255), strings.Repeat("é", 127) + "x", strings.Repeat("x", 200) + "." + strings.Repeat("y", 54), "CON", "name ", "-rf", ".hypha-tmp-x",
	}
	for i, name := range list {
		if err := p.keep(p.offer(fmt.Sprint(i), name, func(o *peers.Offer) { o.Name = name })); err != nil {
			t.Fatalf("%q: %v", name, err)
		}
	}
	for _, bad := range []string{"\xff\xfe", strings.Repeat("n", 256)} {
		if err := p.keep(p.offer("bad", bad, func(o *peers.Offer) { o.Name = bad })); code(err) != peers.CodeInvalid {
			t.Errorf("%q: %v", bad, err)
		}
	}
	got := p.drain()
	if len(got) != len(list) {
		t.Fatalf("%d items", len(got))
	}
	for i, it := range got {
		if it.Name != list[i] || filepath.Dir(it.Path) != "incoming" || p.read(it.Path) != list[i] || !strings.HasPrefix(filepath.Base(it.Path), fmt.Sprint(i, "-")) {
			t.Errorf("%q: %+v", list[i], it)
		}
	}
	entries, err := os.ReadDir(filepath.Join(p.conf.WorkDir, "incoming"))
	if err != nil || len(entries) != len(list) {
		t.Errorf("%d entries, %v", len(entries), err)
	}
}

// Nothing that is there is overwritten, and a directory that is gone is made
// again.
func TestPlacesAreFree(t *testing.T) {
	p := single(t, nil)
	p.fill(3)
	p.write("in/0-0", "mine")
	outside := filepath.Join(t.TempDir(), "target")
	if err := os.Symlink(outside, filepath.Join(p.conf.WorkDir, "in", "0.1-0")); err != nil {
		t.Fatal(err)
	}
	got := p.take(1, bridge.ReceiveRequest{OutDir: "in"})[0]
	if got.Path != "in/0.2-0" || p.read("in/0-0") != "mine" {
		t.Errorf("%+v", got)
	}
	if _, err := os.Lstat(outside); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("written through a symlink: %v", err)
	}
	if err := os.RemoveAll(filepath.Join(p.conf.WorkDir, "in")); err != nil {
		t.Fatal(err)
	}
	if got := p.take(1, bridge.ReceiveRequest{OutDir: "in"})[0]; p.read(got.Path) != "content 1" {
		t.Errorf("%+v", got)
	}
	info, err := os.Lstat(filepath.Join(p.conf.WorkDir, "in"))
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info, err)
	}
	// A directory that leads out, and names that no directory has.
	if err := os.Symlink(t.TempDir(), filepath.Join(p.conf.WorkDir, "out")); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"out", "out/sub", "../x", "/abs", ".hypha", "a//b", "a/../b", strings.Repeat("d", 300)} {
		var last error
		for _, err := range p.job.Receive(t.Context(), bridge.ReceiveRequest{OutDir: dir}) {
			last = err
		}
		if !errors.Is(last, bridge.ErrInvalidPath) {
			t.Errorf("%q: %v", dir, last)
		}
	}
	if rest := p.drain(); len(rest) != 1 {
		t.Errorf("%d left", len(rest))
	}
}

// Scope: who is not in it is told nothing, and the job hears nothing.
func TestScope(t *testing.T) {
	p := single(t, func(c *bridge.Config) {
		c.Scope = bridge.Scope{Job: "shared", Channel: "main", Peers: []string{"PEER-z", "peer-y"}, Secret: "s3cret"}
	})
	knows := func(s string) bool { return s == "s3cret" }
	o := p.offer("t", "x", func(o *peers.Offer) { o.Job, o.Channel = "shared", "main" })
	with := func(change func(*peers.Offer)) peers.Offer { other := o; change(&other); return other }
	for _, c := range []struct {
		name   string
		from   string
		offer  peers.Offer
		proven func(string) bool
		want   string
	}{
		{"stranger", "peer-q", o, knows, peers.CodeNotInJob},
		{"no secret", "peer-z", o, noSecret, peers.CodeNotInJob},
		{"other job", "peer-z", with(func(o *peers.Offer) { o.Job = "other" }), knows, peers.CodeNotInJob},
		{"its own id", "peer-z", with(func(o *peers.Offer) { o.Job = "train" }), knows, peers.CodeNotInJob},
		{"other channel", "peer-z", with(func(o *peers.Offer) { o.Channel = "" }), knows, peers.CodeNotInJob},
		{"no transfer id", "peer-z", with(func(o *peers.Offer) { o.Transfer = "" }), knows, peers.CodeInvalid},
		{"bad transfer id", "peer-z", with(func(o *peers.Offer) { o.Transfer = "a/b" }), knows, peers.CodeInvalid},
		{"long transfer id", "peer-z", with(func(o *peers.Offer) { o.Transfer = strings.Repeat("t", 65) }), knows, peers.CodeInvalid},
		{"no root", "peer-z", with(func(o *peers.Offer) { o.File = blockstore.File{} }), knows, peers.CodeInvalid},
		{"negative", "peer-z", with(func(o *peers.Offer) { o.File.Size = -1 }), knows, peers.CodeInvalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := p.job.Accept(t.Context(), c.from, c.offer, c.proven); code(err) != c.want {
				t.Errorf("%v, want %s", err, c.want)
			}
		})
	}
	if use := p.job.Use(); use != (bridge.Use{}) || len(p.job.Transfers()) != 0 {
		t.Errorf("%+v, %+v", use, p.job.Transfers())
	}
	d, err := p.job.Accept(t.Context(), "peer-z", o, knows)
	if err != nil {
		t.Fatal(err)
	}
	d.Drop(nil)
	if use := p.job.Use(); use != (bridge.Use{}) {
		t.Errorf("%+v", use)
	}
	_, err = p.job.Send(t.Context(), bridge.SendRequest{Path: "f", Peers: []string{"peer-z"}, Channel: strings.Repeat("c", 500)})
	if !errors.Is(err, connectors.ErrInvalid) {
		t.Errorf("%v", err)
	}
}

// A channel that was received on once is listened to from then on, also after a
// restart: nothing is lost between two receives.
func TestChannelIsRemembered(t *testing.T) {
	p := single(t, nil)
	o := p.offer("t", "x", func(o *peers.Offer) { o.Channel = "grads" })
	if err := p.keep(o); code(err) != peers.CodeNotInJob {
		t.Errorf("%v", err)
	}
	for _, err := range p.job.Receive(t.Context(), bridge.ReceiveRequest{Channel: "grads", Until: time.Unix(1, 0)}) {
		t.Error(err)
	}
	p.restart()
	if err := p.keep(o); err != nil {
		t.Fatal(err)
	}
	if got := p.drain(); len(got) != 0 {
		t.Errorf("on the default channel: %+v", got)
	}
	if got := p.take(1, bridge.ReceiveRequest{Channel: "grads"}); got[0].Name != "t" {
		t.Errorf("%+v", got)
	}
}

// The inbox has room for so many items and bytes, reserved before they move.
func TestInboxQuota(t *testing.T) {
	p := single(t, func(c *bridge.Config) { c.Limits = bridge.Limits{InboxItems: 3, InboundBytes: 20} })
	var open []peers.Delivery
	for i := range 3 {
		d, err := p.job.Accept(t.Context(), "peer-z", p.offer(fmt.Sprint(i), "12345", nil), noSecret)
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, d)
	}
	refused := func(o peers.Offer, want string) {
		t.Helper()
		if err := p.keep(o); code(err) != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
	refused(p.offer("full", "1", nil), peers.CodeQuota)
	open[0].Drop(nil)
	refused(p.offer("large", "12345678901", nil), peers.CodeQuota)
	if err := p.keep(p.offer("small", "1", nil)); err != nil {
		t.Fatal(err)
	}
	for _, d := range open[1:] {
		if err := d.Keep(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := d.Keep(t.Context()); code(err) != peers.CodeInternal {
			t.Errorf("kept twice: %v", err)
		}
	}
	p.restart()
	refused(p.offer("restarted", "1", nil), peers.CodeQuota)
	if n := len(p.drain()); n != 3 {
		t.Errorf("%d items", n)
	}
	if use := p.job.Use(); use.InboxItems != 0 || use.InboundBytes != 0 || use.Transfers != 0 {
		t.Errorf("%+v", use)
	}
	if err := p.keep(p.offer("again", "12345678901234567890", nil)); err != nil {
		t.Error(err)
	}
}

// A file that the sender says again while the first attempt has not ended waits
// for that; what was kept is not kept again.
func TestSecondAttemptWaits(t *testing.T) {
	for _, kept := range []bool{true, false} {
		p := single(t, nil)
		o := p.offer("t", "x", nil)
		first, err := p.job.Accept(t.Context(), "peer-z", o, noSecret)
		if err != nil {
			t.Fatal(err)
		}
		answers := make(chan error, 1)
		go func() { answers <- p.keep(o) }()
		if kept {
			err = first.Keep(t.Context())
		} else {
			first.Drop(bridgetest.ErrLost)
		}
		second := <-answers
		if err != nil || kept != errors.Is(second, peers.ErrDelivered) || !kept && second != nil {
			t.Errorf("kept %v: %v, second %v", kept, err, second)
		}
		if n := len(p.drain()); n != 1 {
			t.Errorf("%d items", n)
		}
		// The id stands for that file only.
		if err := p.keep(p.offer("t", "another", nil)); code(err) != peers.CodeInvalid {
			t.Errorf("%v", err)
		}
	}
}

// A transfer that comes in can be cancelled.
func TestCancelInbound(t *testing.T) {
	p := single(t, nil)
	d, err := p.job.Accept(t.Context(), "peer-z", p.offer("t", "x", nil), noSecret)
	if err != nil {
		t.Fatal(err)
	}
	all := p.job.Transfers()
	if len(all) != 1 || all[0].Kind != "receive" || all[0].State != "running" || all[0].Total != 1 {
		t.Fatalf("%+v", all)
	}
	if err := p.job.Cancel(all[0].ID); err != nil {
		t.Fatal(err)
	}
	if err := d.Keep(t.Context()); code(err) != peers.CodeCancelled {
		t.Errorf("%v", err)
	}
	if tr, err := p.job.Transfer(all[0].ID); err != nil || tr.State != "cancelled" {
		t.Errorf("%+v, %v", tr, err)
	}
	if n := len(p.drain()); n != 0 {
		t.Errorf("%d items", n)
	}
}

// Content that the store lost is an error once, and no obstacle.
func TestLostContent(t *testing.T) {
	p := single(t, nil)
	p.fill(3)
	if err := p.store.DeleteBlock(t.Context(), p.offer("again", "content 1", nil).File.Root); err != nil {
		t.Fatal(err)
	}
	var seqs []int64
	var problems int
	for range 2 {
		for it, err := range p.job.Receive(t.Context(), bridge.ReceiveRequest{Until: time.Unix(1, 0)}) {
			if err != nil {
				problems++
				continue
			}
			seqs = append(seqs, it.Sequence)
		}
	}
	if problems != 1 || !slices.Equal(seqs, []int64{0, 2}) {
		t.Errorf("%d problems, %v", problems, seqs)
	}
}

// Forget leaves nothing of a job, and everything of others.
func TestForget(t *testing.T) {
	p := single(t, nil)
	p.fill(3)
	p.take(1, bridge.ReceiveRequest{Channel: ""})
	records := p.store.Records("inbox")
	if err := records.Put(t.Context(), "train2/item/0", []byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := p.job.Close(); err != nil {
		t.Fatal(err)
	}
	if err := bridge.Forget(t.Context(), records, "train"); err != nil {
		t.Fatal(err)
	}
	left := map[string]bool{}
	for r, err := range records.All(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		left[r.Key] = true
	}
	if !maps.Equal(left, map[string]bool{"train2/item/0": true}) {
		t.Errorf("%v", left)
	}
}

// An inbox that can't be read is not served: what is skipped would be lost.
func TestDamagedInbox(t *testing.T) {
	for key, value := range map[string]string{
		"item/0000000000000000": "{", "item/xyz": "[]", "item/0000000000000001": `[{"cid":"nonsense"}]`,
		"item/0000000000000002": `[{"cid":"bafkqaaa","sha256":"00"}]`, "taken/0000000000000000": "short", "taken/-": "", "future": "x", "channel/zz": "",
	} {
		p := single(t, nil)
		if err := p.job.Close(); err != nil {
			t.Fatal(err)
		}
		if err := p.store.Records("inbox").Put(t.Context(), "train/"+key, []byte(value)); err != nil {
			t.Fatal(err)
		}
		if j, err := bridge.Open(p.conf); err == nil {
			t.Errorf("%s = %q was taken", key, value)
			j.Close()
		}
	}
}
