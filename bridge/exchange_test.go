package bridge_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/bridge"
	"github.com/hypha-node/hypha-node/bridge/bridgetest"
	"github.com/hypha-node/hypha-node/connectors"
	"github.com/hypha-node/hypha-node/connectors/peers"
)

// party is a node with one job.
type party struct {
	t     testing.TB
	node  *bridgetest.Node
	store *blockstore.Memory
	world *bridgetest.World
	conf  bridge.Config
	job   *bridge.Job
}

// parties makes nodes peer-a, peer-b… with one job "train" each.
func parties(t testing.TB, n int, change func(i int, c *bridge.Config)) []*party {
	t.Helper()
	net := bridgetest.NewNetwork()
	var all []*party
	for i := range n {
		all = append(all, newParty(t, net, "peer-"+string(rune('a'+i)), func(c *bridge.Config) {
			if change != nil {
				change(i, c)
			}
		}))
	}
	return all
}

func newParty(t testing.TB, net *bridgetest.Network, id string, change func(c *bridge.Config)) *party {
	t.Helper()
	store := blockstore.NewMemory()
	t.Cleanup(func() { store.Close() })
	p := &party{t: t, store: store, world: bridgetest.New(t, bridgetest.Options{Store: store}), node: net.Node(id, store)}
	dir := filepath.Join(t.TempDir(), "work")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	p.conf = p.world.Config("train", dir)
	p.conf.Peers, p.conf.Inbox = p.node, store.Records("inbox")
	if change != nil {
		change(&p.conf)
	}
	p.open()
	return p
}

func (p *party) open() {
	p.t.Helper()
	p.job = p.world.OpenWith(p.t, p.conf)
	p.node.Serve(p.job)
}

// restart closes the job and opens it again, as a node does.
func (p *party) restart() {
	p.t.Helper()
	p.node.Unserve(p.job)
	if err := p.job.Close(); err != nil {
		p.t.Fatal(err)
	}
	p.open()
}

func (p *party) write(name, content string) {
	p.t.Helper()
	full := filepath.Join(p.conf.WorkDir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(full), 0o700); err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(full, []byte(content), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

func (p *party) read(name string) string {
	p.t.Helper()
	b, err := os.ReadFile(filepath.Join(p.conf.WorkDir, filepath.FromSlash(name)))
	if err != nil {
		p.t.Fatal(err)
	}
	return string(b)
}

// send sends content as a file of that name.
func (p *party) send(name, content string, to ...string) []bridge.Delivered {
	p.t.Helper()
	p.write(name, content)
	got, err := p.job.Send(p.t.Context(), bridge.SendRequest{Peers: to, Path: name})
	if err != nil {
		p.t.Fatal(err)
	}
	return got
}

// take receives n items.
func (p *party) take(n int, r bridge.ReceiveRequest) []bridge.Received {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), time.Minute)
	defer cancel()
	var got []bridge.Received
	for it, err := range p.job.Receive(ctx, r) {
		if err != nil {
			p.t.Fatal(err)
		}
		if got = append(got, it); len(got) == n {
			break
		}
	}
	if len(got) != n {
		p.t.Fatalf("%d items, want %d", len(got), n)
	}
	return got
}

// drain receives what is queued.
func (p *party) drain() []bridge.Received {
	p.t.Helper()
	var got []bridge.Received
	for it, err := range p.job.Receive(p.t.Context(), bridge.ReceiveRequest{Until: time.Unix(1, 0)}) {
		if err != nil {
			p.t.Fatal(err)
		}
		got = append(got, it)
	}
	return got
}

// S1, R1: a file arrives with its checksum, once, at a unique path.
func TestSendReceive(t *testing.T) {
	p := parties(t, 2, nil)
	a, b := p[0], p[1]
	content := strings.Repeat("weights ", 300_000)
	sent := a.send("output/results.json", content, "peer-b")
	if len(sent) != 1 || sent[0].PeerID != "peer-b" || sent[0].Status != "delivered" || sent[0].SentBytes != int64(len(content)) || sent[0].TransferID == "" {
		t.Fatalf("%+v", sent)
	}
	got := b.take(1, bridge.ReceiveRequest{})[0]
	if got.Path != "incoming/0-results.json" || got.FromPeer != "peer-a" || got.Sequence != 0 || got.Name != "results.json" ||
		got.Checksum != sent[0].Checksum || got.CID != sent[0].CID || got.Size != int64(len(content)) {
		t.Errorf("%+v", got)
	}
	if b.read(got.Path) != content {
		t.Error("other content")
	}
	if info, err := os.Lstat(filepath.Join(b.conf.WorkDir, got.Path)); err != nil || info.Mode() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if rest := b.drain(); len(rest) != 0 {
		t.Errorf("again: %+v", rest)
	}
	if s := a.job.Stats(); s.Sent != 1 || s.SentBytes != int64(len(content)) {
		t.Errorf("%+v", s)
	}
	if s := b.job.Stats(); s.Received != 1 || s.Queue != 0 {
		t.Errorf("%+v", s)
	}
}

// S12, S6: all at the same time, duplicates once, a dead one fails alone.
func TestFanOut(t *testing.T) {
	p := parties(t, 4, nil)
	p[0].write("f", "content")
	got, err := p[0].job.Send(t.Context(), bridge.SendRequest{
		Path: "f", Peers: []string{"peer-b", "peer-dead", "PEER-b", "peer-c", "peer-d"}, RemoveFile: true,
	})
	se, ok := errors.AsType[*bridge.SendError](err)
	if !ok || len(se.Results) != 4 || len(got) != 4 {
		t.Fatalf("%v, %+v", err, got)
	}
	for i, want := range []string{"peer-b delivered", "peer-dead failed", "peer-c delivered", "peer-d delivered"} {
		if s := se.Results[i].PeerID + " " + se.Results[i].Status; s != want {
			t.Errorf("result %d: %s, want %s", i, s, want)
		}
	}
	if se.Results[1].Error != "unreachable" || se.Results[1].SentBytes != 0 {
		t.Errorf("%+v", se.Results[1])
	}
	if p[0].read("f") != "content" { // S8
		t.Error("removed after a failure")
	}
	for _, r := range p[1:] {
		if items := r.drain(); len(items) != 1 {
			t.Errorf("%s: %d items", r.node.Self(), len(items))
		}
	}
}

// S8: the file goes after success.
func TestRemoveFile(t *testing.T) {
	p := parties(t, 2, nil)
	p[0].write("f", "content")
	if _, err := p[0].job.Send(t.Context(), bridge.SendRequest{Path: "f", Peers: []string{"peer-b"}, RemoveFile: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(filepath.Join(p[0].conf.WorkDir, "f")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

// S2: the first that can be reached.
func TestOneFailsOver(t *testing.T) {
	p := parties(t, 3, nil)
	p[0].write("f", "x")
	got, err := p[0].job.Send(t.Context(), bridge.SendRequest{Path: "f", Strategy: bridge.One, Peers: []string{"peer-dead", "peer-b", "peer-c"}})
	if err != nil || len(got) != 1 || got[0].PeerID != "peer-b" {
		t.Fatalf("%+v, %v", got, err)
	}
	if n := len(p[2].drain()); n != 0 {
		t.Errorf("the second got %d as well", n)
	}
	got, err = p[0].job.Send(t.Context(), bridge.SendRequest{Path: "f", Strategy: bridge.One, Peers: []string{"peer-dead", "peer-gone"}})
	if err == nil || len(got) != 2 {
		t.Errorf("%+v, %v", got, err)
	}
}

// S2: uniform.
func TestRandomIsUniform(t *testing.T) {
	p := parties(t, 4, func(_ int, c *bridge.Config) { c.Limits.InboxItems = -1 })
	p[0].write("f", "x")
	counts := map[string]int{}
	const n = 300
	for range n {
		got, err := p[0].job.Send(t.Context(), bridge.SendRequest{Path: "f", Strategy: bridge.Random, Peers: []string{"peer-b", "peer-c", "peer-d"}})
		if err != nil || len(got) != 1 {
			t.Fatalf("%+v, %v", got, err)
		}
		counts[got[0].PeerID]++
	}
	for id, c := range counts {
		// Ten standard deviations: 8.2 each.
		if len(counts) != 3 || c < n/3-82 || c > n/3+82 {
			t.Errorf("%s: %d of %d, %v", id, c, n, counts)
		}
	}
}

// S3, S5 and what else can't be sent.
func TestSendRefusals(t *testing.T) {
	p := parties(t, 2, nil)
	a := p[0]
	a.write("file", "x")
	a.write("dir/file", "x")
	dir := a.conf.WorkDir
	if err := syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	outside := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(outside, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{"out": outside, "in": "file", "dirout": filepath.Dir(outside)} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name string
		req  bridge.SendRequest
		want error
	}{
		{"no peers", bridge.SendRequest{Path: "file"}, connectors.ErrInvalid},
		{"bad peer", bridge.SendRequest{Path: "file", Peers: []string{"nobody"}}, connectors.ErrInvalid},
		{"bad strategy", bridge.SendRequest{Path: "file", Peers: []string{"peer-b"}, Strategy: "most"}, connectors.ErrInvalid},
		{"bad channel", bridge.SendRequest{Path: "file", Peers: []string{"peer-b"}, Channel: "a\nb"}, connectors.ErrInvalid},
		{"long channel", bridge.SendRequest{Path: "file", Peers: []string{"peer-b"}, Channel: strings.Repeat("c", 129)}, connectors.ErrInvalid},
		{"bad name", bridge.SendRequest{Path: "file", Peers: []string{"peer-b"}, Name: "a/b"}, bridge.ErrInvalidPath},
		{"missing", bridge.SendRequest{Path: "missing", Peers: []string{"peer-b"}}, fs.ErrNotExist},
		{"missing below a file", bridge.SendRequest{Path: "file/x", Peers: []string{"peer-b"}}, bridge.ErrInvalidPath},
		{"directory", bridge.SendRequest{Path: "dir", Peers: []string{"peer-b"}}, bridge.ErrInvalidPath},
		{"fifo", bridge.SendRequest{Path: "fifo", Peers: []string{"peer-b"}}, bridge.ErrInvalidPath},
		{"symlink out", bridge.SendRequest{Path: "out", Peers: []string{"peer-b"}}, bridge.ErrInvalidPath},
		{"symlink in", bridge.SendRequest{Path: "in", Peers: []string{"peer-b"}}, bridge.ErrInvalidPath},
		{"through a symlink", bridge.SendRequest{Path: "dirout/secret", Peers: []string{"peer-b"}}, bridge.ErrInvalidPath},
		{"absolute", bridge.SendRequest{Path: outside, Peers: []string{"peer-b"}}, bridge.ErrInvalidPath},
		{"up", bridge.SendRequest{Path: "../secret", Peers: []string{"peer-b"}}, bridge.ErrInvalidPath},
		{"dot", bridge.SendRequest{Path: ".", Peers: []string{"peer-b"}}, bridge.ErrInvalidPath},
		{"empty", bridge.SendRequest{Path: "", Peers: []string{"peer-b"}}, bridge.ErrInvalidPath},
		{"private", bridge.SendRequest{Path: ".hypha/tmp", Peers: []string{"peer-b"}}, bridge.ErrInvalidPath},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got, err := a.job.Send(t.Context(), c.req); !errors.Is(err, c.want) {
				t.Errorf("%+v, %v; want %v", got, err, c.want)
			}
			if _, err := a.job.SendLater(t.Context(), c.req); !errors.Is(err, c.want) {
				t.Errorf("later: %v; want %v", err, c.want)
			}
		})
	}
	if items := p[1].drain(); len(items) != 0 {
		t.Errorf("arrived: %+v", items)
	}
}

// Without a network the answer is clear.
func TestOffline(t *testing.T) {
	w := bridgetest.New(t, bridgetest.Options{})
	job := w.Open(t, "alone")
	if _, err := job.Send(t.Context(), bridge.SendRequest{Path: "f", Peers: []string{"peer-b"}}); !errors.Is(err, bridge.ErrOffline) {
		t.Errorf("send: %v", err)
	}
	for _, err := range job.Receive(t.Context(), bridge.ReceiveRequest{}) {
		if !errors.Is(err, bridge.ErrOffline) {
			t.Errorf("receive: %v", err)
		}
	}
	if _, err := job.Accept(t.Context(), "peer-x", peers.Offer{Job: "alone"}, nil); err == nil {
		t.Error("accepted")
	}
}

// S4: to itself, by loop-back, and from one job of a node to the other of the
// same id, never to the one that sent it.
func TestLoopBack(t *testing.T) {
	net := bridgetest.NewNetwork()
	trainer := newParty(t, net, "peer-a", func(c *bridge.Config) { c.ID, c.Scope.Job = "task-1", "train" })
	conf := trainer.world.Config("task-2", t.TempDir())
	conf.Peers, conf.Inbox, conf.Scope.Job = trainer.node, trainer.store.Records("inbox"), "train"
	server := &party{t: t, node: trainer.node, store: trainer.store, world: trainer.world, conf: conf}
	server.open()
	trainer.send("gradient", "g", "peer-a")
	server.send("weights", "w", "peer-a")
	if got := server.drain(); len(got) != 1 || got[0].Name != "gradient" {
		t.Errorf("server got %+v", got)
	}
	if got := trainer.drain(); len(got) != 1 || got[0].Name != "weights" {
		t.Errorf("trainer got %+v", got)
	}
}

// S7: the time of a request is bounded, whoever does not answer.
func TestSendTimeout(t *testing.T) {
	p := parties(t, 2, nil)
	var reached atomic.Bool
	p[0].node.Fault(func(ctx context.Context, s bridgetest.Stage, _ string, _ peers.Offer) error {
		if s == bridgetest.StageBytes {
			reached.Store(true)
			<-ctx.Done()
			return ctx.Err()
		}
		return nil
	})
	p[0].write("f", "x")
	timeout := 20 * time.Millisecond
	for !reached.Load() { // a busy machine may need longer to get there
		timeout *= 2
		got, err := p[0].job.Send(t.Context(), bridge.SendRequest{Path: "f", Peers: []string{"peer-b"}, Timeout: timeout})
		if !errors.Is(err, context.DeadlineExceeded) || reached.Load() && (len(got) != 1 || got[0].Error != "timeout") {
			t.Fatalf("%+v, %v", got, err)
		}
	}
}

// S9: a send in the background has an id, and can be looked at and cancelled.
func TestSendLater(t *testing.T) {
	p := parties(t, 2, nil)
	p[0].write("f", "content")
	id, err := p[0].job.SendLater(t.Context(), bridge.SendRequest{Path: "f", Peers: []string{"peer-b"}})
	if err != nil {
		t.Fatal(err)
	}
	p[1].take(1, bridge.ReceiveRequest{})
	bridgetest.Until(t, "the transfer's end", func() bool {
		tr, err := p[0].job.Transfer(id)
		return err == nil && tr.State == "done" && len(tr.Delivers) == 1 && tr.Done == 7 && tr.Total == 7
	})
	stuck := make(chan struct{})
	p[0].node.Fault(func(ctx context.Context, s bridgetest.Stage, _ string, _ peers.Offer) error {
		if s == bridgetest.StageBytes {
			close(stuck)
			<-ctx.Done()
			return ctx.Err()
		}
		return nil
	})
	id, err = p[0].job.SendLater(t.Context(), bridge.SendRequest{Path: "f", Peers: []string{"peer-b"}})
	if err != nil {
		t.Fatal(err)
	}
	bridgetest.Wait(t, stuck, "the transfer")
	if err := p[0].job.Cancel(id); err != nil {
		t.Fatal(err)
	}
	bridgetest.Until(t, "the cancelled transfer's end", func() bool {
		tr, err := p[0].job.Transfer(id)
		return err == nil && tr.State == "cancelled"
	})
	if err := p[0].job.Cancel("nothing"); !errors.Is(err, bridge.ErrNotFound) {
		t.Errorf("%v", err)
	}
	if items := p[1].drain(); len(items) != 0 {
		t.Errorf("arrived: %+v", items)
	}
}

// S11: a lost answer, and a client's own retry, deliver nothing twice.
func TestRetriesDeliverOnce(t *testing.T) {
	p := parties(t, 2, nil)
	var tries atomic.Int64
	var ids sync.Map
	p[0].node.Fault(func(_ context.Context, s bridgetest.Stage, _ string, o peers.Offer) error {
		if s == bridgetest.StageOffer {
			ids.Store(o.Transfer, true)
		}
		if s == bridgetest.StageAck && tries.Add(1) <= 1 {
			return bridgetest.ErrLost
		}
		return nil
	})
	p[0].write("f", "x")
	for range 3 {
		got, err := p[0].job.Send(t.Context(), bridge.SendRequest{Path: "f", Peers: []string{"peer-b"}, Key: "step 7"})
		if err != nil || got[0].Status != "delivered" {
			t.Fatalf("%+v, %v", got, err)
		}
	}
	if items := p[1].drain(); len(items) != 1 {
		t.Errorf("%d items", len(items))
	}
	n := 0
	ids.Range(func(any, any) bool { n++; return true })
	if n != 1 {
		t.Errorf("%d transfer ids", n)
	}
	p[1].restart()
	if _, err := p[0].job.Send(t.Context(), bridge.SendRequest{Path: "f", Peers: []string{"peer-b"}, Key: "step 7"}); err != nil {
		t.Fatal(err)
	}
	if items := p[1].drain(); len(items) != 0 {
		t.Errorf("after a restart: %d items", len(items))
	}
	if _, err := p[0].job.Send(t.Context(), bridge.SendRequest{Path: "f", Peers: []string{"peer-b"}, Key: "step 8"}); err != nil {
		t.Fatal(err)
	}
	if items := p[1].drain(); len(items) != 1 {
		t.Errorf("another key: %d items", len(items))
	}
}

// A connection that is lost at any stage costs nothing but time.
func TestLostConnections(t *testing.T) {
	for _, stage := range []bridgetest.Stage{
		bridgetest.StageReach, bridgetest.StageOffer, bridgetest.StageBytes, bridgetest.StageTurn, bridgetest.StageKeep, bridgetest.StageAck,
	} {
		t.Run(string(stage), func(t *testing.T) {
			p := parties(t, 2, nil)
			var failures atomic.Int64
			p[0].node.Fault(func(_ context.Context, s bridgetest.Stage, _ string, _ peers.Offer) error {
				if s == stage && failures.Add(1) <= 2 {
					return bridgetest.ErrLost
				}
				return nil
			})
			p[0].send("f", "content", "peer-b")
			if items := p[1].drain(); len(items) != 1 || p[1].read(items[0].Path) != "content" {
				t.Errorf("%+v", items)
			}
			if use := p[1].job.Use(); use.InboxItems != 0 || use.InboundBytes != 0 || use.Transfers != 0 {
				t.Errorf("%+v", use)
			}
		})
	}
}

// R4: whatever overtakes on the way, each peer's files are kept in the order of
// its send calls.
func TestOrderOfSends(t *testing.T) {
	p := parties(t, 2, nil)
	const n = 50
	var wg sync.WaitGroup
	release := make(chan struct{})
	p[0].node.Fault(func(ctx context.Context, s bridgetest.Stage, _ string, o peers.Offer) error {
		if s == bridgetest.StageBytes && o.Seq%3 == 0 { // the first of all is the last that moves
			select {
			case <-release:
			case <-ctx.Done():
			}
		}
		return nil
	})
	for i := range n {
		name := fmt.Sprintf("f%03d", i)
		p[0].write(name, name)
		id, err := p[0].job.SendLater(t.Context(), bridge.SendRequest{Path: name, Peers: []string{"peer-b"}})
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			bridgetest.Until(t, "the end of "+name, func() bool {
				tr, err := p[0].job.Transfer(id)
				return err == nil && tr.State == "done"
			})
		})
	}
	close(release)
	wg.Wait()
	items := p[1].drain()
	for i, it := range items {
		if want := fmt.Sprintf("f%03d", i); it.Name != want || it.Sequence != int64(i) {
			t.Fatalf("item %d is %+v", i, it)
		}
	}
	if len(items) != n {
		t.Errorf("%d items", len(items))
	}
}

// S10: the bytes that arrive are those whose checksum was reported.
func TestSnapshot(t *testing.T) {
	p := parties(t, 2, nil)
	name := filepath.Join(p[0].conf.WorkDir, "f")
	p[0].write("f", "before")
	p[0].node.Fault(func(_ context.Context, s bridgetest.Stage, _ string, _ peers.Offer) error {
		if s == bridgetest.StageBytes {
			return os.WriteFile(name, []byte("after!"), 0o600)
		}
		return nil
	})
	sent, err := p[0].job.Send(t.Context(), bridge.SendRequest{Path: "f", Peers: []string{"peer-b"}, RemoveFile: true})
	if err != nil {
		t.Fatal(err)
	}
	got := p[1].take(1, bridge.ReceiveRequest{})[0]
	if got.Checksum != sent[0].Checksum || p[1].read(got.Path) != "before" {
		t.Errorf("%+v, %q", got, p[1].read(got.Path))
	}
	if !bytes.Equal([]byte(p[0].read("f")), []byte("after!")) {
		t.Error("the newer file was removed")
	}
}
