package bridge_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/bridge"
	"github.com/hypha-node/hypha-node/bridge/bridgetest"
	"github.com/hypha-node/hypha-node/connectors/peers"
	"github.com/hypha-node/hypha-node/connectors/peers/peerstest"
)

// taker hands offers to one job, as the supervisor does to many.
type taker struct{ job *bridge.Job }

func (k taker) Offered(ctx context.Context, from string, o peers.Offer, proven func(string) bool) (peers.Delivery, error) {
	return k.job.Accept(ctx, from, o, proven)
}

// realParties makes n jobs whose nodes talk over libp2p on loopback.
func realParties(t testing.TB, n int, change func(i int, c *bridge.Config)) ([]*party, []string) {
	t.Helper()
	var stores []blockstore.Store
	var all []*party
	for range n {
		m := blockstore.NewMemory()
		t.Cleanup(func() { m.Close() })
		stores = append(stores, m)
		dir := filepath.Join(t.TempDir(), "work")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		p := &party{t: t, store: m, world: bridgetest.New(t, bridgetest.Options{Store: m})}
		p.conf = p.world.Config("train", dir)
		p.conf.Inbox = m.Records("inbox")
		all = append(all, p)
	}
	var ids []string
	for i, s := range peerstest.Services(t, stores...) {
		all[i].conf.Peers = s
		if change != nil {
			change(i, &all[i].conf)
		}
		all[i].job = all[i].world.OpenWith(t, all[i].conf)
		s.Receive(taker{all[i].job})
		ids = append(ids, s.Self())
	}
	return all, ids
}

// noise is n bytes that don't compress and repeat nothing.
func noise(seed uint64, n int) string {
	b := make([]byte, n)
	var key [32]byte
	key[0] = byte(seed)
	rand.NewChaCha8(key).Read(b)
	return string(b)
}

// Over a real network: one to three at once, of all sizes, and back.
func TestRealPeers(t *testing.T) {
	p, ids := realParties(t, 4, func(_ int, c *bridge.Config) { c.Scope.Secret = "shared" })
	for i, size := range []int{0, 1, 1 << 10, 300 << 10, 5<<20 + 1} {
		content := noise(uint64(i), size)
		p[0].write("f", content)
		sent, err := p[0].job.Send(t.Context(), bridge.SendRequest{Path: "f", Peers: ids[1:]})
		if err != nil || len(sent) != 3 {
			t.Fatalf("%d bytes: %+v, %v", size, sent, err)
		}
		for k, r := range p[1:] {
			got := r.take(1, bridge.ReceiveRequest{Peers: []string{ids[0]}})[0]
			if got.Sequence != int64(i) || got.FromPeer != ids[0] || got.Checksum != sent[k].Checksum || r.read(got.Path) != content {
				t.Errorf("%d bytes at %d: %+v", size, k, got)
			}
		}
	}
	p[1].send("back", "answer", ids[0])
	p[1].send("self", "own", ids[2])
	if got := p[0].take(1, bridge.ReceiveRequest{})[0]; got.FromPeer != ids[1] || p[0].read(got.Path) != "answer" {
		t.Errorf("%+v", got)
	}
	for i, r := range p {
		if use := r.job.Use(); use.Transfers != 0 || use.InboundBytes > 3 {
			t.Errorf("%d: %+v", i, use)
		}
	}
}

// Over a real network: the order of the calls, whatever is large or small, and
// nothing twice.
func TestRealOrder(t *testing.T) {
	p, ids := realParties(t, 2, nil)
	const n = 60
	var transfers []string
	for i := range n {
		name := fmt.Sprintf("f%03d", i)
		size := 10
		if i%7 == 0 {
			size = 400 << 10
		}
		p[0].write(name, noise(uint64(i), size))
		id, err := p[0].job.SendLater(t.Context(), bridge.SendRequest{Path: name, Peers: ids[1:]})
		if err != nil {
			t.Fatal(err)
		}
		transfers = append(transfers, id)
	}
	for i, it := range p[1].take(n, bridge.ReceiveRequest{}) {
		if want := fmt.Sprintf("f%03d", i); it.Name != want || it.Sequence != int64(i) {
			t.Fatalf("item %d: %+v", i, it)
		}
	}
	for _, id := range transfers {
		bridgetest.Until(t, "the end of a send", func() bool {
			tr, err := p[0].job.Transfer(id)
			return err == nil && tr.State == "done"
		})
	}
	if rest := p[1].drain(); len(rest) != 0 {
		t.Errorf("%+v", rest)
	}
}

// Over a real network: a stranger, and one who does not know the secret, are
// refused, and the job hears nothing.
func TestRealScope(t *testing.T) {
	secrets := []string{"right", "right", "wrong"}
	p, ids := realParties(t, 3, func(i int, c *bridge.Config) { c.Scope.Secret = secrets[i] })
	var wg sync.WaitGroup
	for _, who := range p[1:] {
		who.write("f", "content")
		wg.Go(func() {
			_, err := who.job.Send(t.Context(), bridge.SendRequest{Path: "f", Peers: ids[:1]})
			refused := err != nil
			if refused != (who == p[2]) {
				t.Errorf("%v", err)
			}
			if se, ok := errors.AsType[*bridge.SendError](err); ok && se.Results[0].Error != peers.CodeNotInJob {
				t.Errorf("%+v", se.Results)
			}
		})
	}
	wg.Wait()
	if got := p[0].drain(); len(got) != 1 || got[0].FromPeer != ids[1] {
		t.Errorf("%+v", got)
	}
	if all := p[0].job.Transfers(); len(all) != 1 {
		t.Errorf("%+v", all)
	}
}
