package bridge_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	"pgregory.net/rapid"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/bridge"
	"github.com/hypha-node/hypha-node/bridge/bridgetest"
	"github.com/hypha-node/hypha-node/connectors/peers"
	"github.com/hypha-node/hypha-node/dag"
)

// errCrashed is what everything durable answers after a crash.
var errCrashed = errors.New("crashed")

// fuse lets a number of durable steps happen, then none. With after, the one
// that blows it happens but reports that it did not.
type fuse struct {
	mu    sync.Mutex
	left  int // steps, -1: any number
	after bool
}

func (f *fuse) step(do func() error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.left < 0:
		return do()
	case f.left == 0:
		return errCrashed
	}
	f.left--
	if err := do(); err != nil || f.left > 0 || !f.after {
		return err
	}
	return errCrashed
}

// armed tells whether steps may fail.
func (f *fuse) armed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.left >= 0
}

// blow ends everything.
func (f *fuse) blow() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.left = 0
}

// fusedStore is a store whose pins and records crash.
type fusedStore struct {
	*blockstore.Memory
	fuse *fuse
}

func (s fusedStore) Pin(ctx context.Context, p blockstore.Pin) error {
	return s.fuse.step(func() error { return s.Memory.Pin(ctx, p) })
}

func (s fusedStore) Unpin(ctx context.Context, root cid.Cid, name string) error {
	return s.fuse.step(func() error { return s.Memory.Unpin(ctx, root, name) })
}

type fusedRecords struct {
	blockstore.Records
	fuse *fuse
}

func (r fusedRecords) Put(ctx context.Context, key string, value []byte) error {
	return r.fuse.step(func() error { return r.Records.Put(ctx, key, value) })
}

func (r fusedRecords) Delete(ctx context.Context, key string) error {
	return r.fuse.step(func() error { return r.Records.Delete(ctx, key) })
}

func (r fusedRecords) All(ctx context.Context, prefix string) iter.Seq2[blockstore.Record, error] {
	return r.Records.All(ctx, prefix)
}

// machine is an inbox on a node that crashes, and what a model knows of it.
type machine struct {
	t      *rapid.T
	world  *bridgetest.World
	store  *blockstore.Memory
	dir    string
	fuse   *fuse
	job    *bridge.Job
	number int

	kept    map[string]bool  // transfers that the sender was told are kept
	seq     map[string]int64 // of transfers that were seen
	owner   map[int64]string
	given   map[string]int  // how often
	taken   map[string]bool // acknowledged
	crashes int
	counted map[string]int // crashes when it was last acknowledged
}

func (m *machine) open() {
	m.fuse = &fuse{left: -1}
	c := m.world.Config("train", m.dir)
	c.Store = fusedStore{m.store, m.fuse}
	c.Inbox = fusedRecords{m.store.Records("inbox"), m.fuse}
	c.Peers = bridgetest.NewNetwork().Node("peer-a", m.store)
	j, err := bridge.Open(c)
	if err != nil {
		m.t.Fatalf("open: %v", err)
	}
	m.job = j
}

func (m *machine) close() {
	if err := m.job.Close(); err != nil {
		m.t.Fatalf("close: %v", err)
	}
}

// crash ends the process at the next durable step, or a few later.
func (m *machine) crash() {
	m.fuse.blow()
	m.close() // what it still wants to write is lost
	m.crashes++
	m.open()
}

func (m *machine) offer(transfer string) peers.Offer {
	// Several transfers have the same content, so that they share a pin.
	f, err := dag.Import(context.Background(), m.store, strings.NewReader("content "+transfer[len(transfer)-1:]), dag.ImportOptions{})
	if err != nil {
		m.t.Fatal(err)
	}
	return peers.Offer{Transfer: transfer, Job: "train", Name: transfer, File: f}
}

// send has transfers kept at the same time.
func (m *machine) send(transfers []string) {
	results := make([]error, len(transfers))
	var wg sync.WaitGroup
	for i, id := range transfers {
		o := m.offer(id)
		wg.Go(func() {
			d, err := m.job.Accept(context.Background(), "peer-z", o, noSecret)
			if err == nil {
				err = d.Keep(context.Background())
			}
			results[i] = err
		})
	}
	wg.Wait()
	for i, err := range results {
		switch {
		case err == nil && m.kept[transfers[i]]:
			m.t.Fatalf("%s was kept a second time", transfers[i])
		case err == nil, errors.Is(err, peers.ErrDelivered):
			m.kept[transfers[i]] = true
		case !m.fuse.armed():
			m.t.Fatalf("%s: %v", transfers[i], err)
		}
	}
}

// receive takes up to n items; the last one goes back when back is true.
func (m *machine) receive(n int, back bool) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for it, err := range m.job.Receive(ctx, bridge.ReceiveRequest{Until: time.Unix(1, 0)}) {
		if err != nil {
			if !m.fuse.armed() {
				m.t.Fatalf("receive: %v", err)
			}
			return
		}
		m.see(it)
		n--
		if n <= 0 && back {
			cancel()
			continue
		}
		m.taken[it.Name], m.counted[it.Name] = true, m.crashes
		if n <= 0 {
			break
		}
	}
}

// see checks one item against the model.
func (m *machine) see(it bridge.Received) {
	if seq, ok := m.seq[it.Name]; ok && seq != it.Sequence {
		m.t.Fatalf("%s was item %d, is item %d", it.Name, seq, it.Sequence)
	}
	if other, ok := m.owner[it.Sequence]; ok && other != it.Name {
		m.t.Fatalf("item %d was %s, is %s", it.Sequence, other, it.Name)
	}
	if m.taken[it.Name] && m.counted[it.Name] == m.crashes {
		m.t.Fatalf("%s was acknowledged and given again without a crash", it.Name)
	}
	m.seq[it.Name], m.owner[it.Sequence] = it.Sequence, it.Name
	m.given[it.Name]++
}

// TestInboxModel: whatever happens when, nothing that was acknowledged is lost,
// doubled or renumbered, there are no gaps, and no pin is left behind.
func TestInboxModel(t *testing.T) {
	base := t.TempDir()
	world := bridgetest.New(t, bridgetest.Options{})
	runs := 0
	rapid.Check(t, func(rt *rapid.T) {
		runs++
		m := &machine{
			t: rt, world: world, store: blockstore.NewMemory(), dir: filepath.Join(base, fmt.Sprint(runs)),
			kept: map[string]bool{}, seq: map[string]int64{}, owner: map[int64]string{},
			given: map[string]int{}, taken: map[string]bool{}, counted: map[string]int{},
		}
		defer m.store.Close()
		if err := os.Mkdir(m.dir, 0o700); err != nil {
			rt.Fatal(err)
		}
		m.open()
		steps := rapid.IntRange(1, 30).Draw(rt, "steps")
		for range steps {
			if rapid.IntRange(0, 3).Draw(rt, "arm") == 0 {
				m.fuse.mu.Lock()
				m.fuse.left = rapid.IntRange(0, 8).Draw(rt, "left")
				m.fuse.after = rapid.Bool().Draw(rt, "after")
				m.fuse.mu.Unlock()
			}
			m.act()
			if m.fuse.armed() {
				m.crash()
			}
		}
		m.finish()
	})
}

// act does one thing.
func (m *machine) act() {
	switch rapid.IntRange(0, 4).Draw(m.t, "action") {
	case 0, 1:
		var ids []string
		for range rapid.IntRange(1, 6).Draw(m.t, "n") {
			m.number++
			ids = append(ids, fmt.Sprint("t", m.number))
		}
		m.send(ids)
	case 2: // again what may or may not have been kept
		if m.number > 0 {
			m.send([]string{fmt.Sprint("t", rapid.IntRange(1, m.number).Draw(m.t, "again"))})
		}
	case 3:
		m.receive(rapid.IntRange(1, 8).Draw(m.t, "take"), rapid.Bool().Draw(m.t, "back"))
	case 4:
		m.close()
		if m.fuse.armed() { // what it wanted to write may be lost
			m.crashes++
		}
		m.open()
	}
}

// finish has everything delivered and compares.
func (m *machine) finish() {
	for i := range m.number {
		if id := fmt.Sprint("t", i+1); !m.kept[id] {
			m.send([]string{id})
		}
	}
	m.receive(1<<30, false)
	m.close()
	for i := range m.number {
		if id := fmt.Sprint("t", i+1); m.given[id] == 0 {
			m.t.Fatalf("%s was lost", id)
		}
	}
	seqs := slices.Sorted(func(yield func(int64) bool) {
		for s := range m.owner {
			if !yield(s) {
				return
			}
		}
	})
	for i, s := range seqs {
		if int64(i) != s {
			m.t.Fatalf("sequences %v have a gap", seqs)
		}
	}
	m.open() // the unclean mark of a crash is looked at
	m.close()
	pins := map[string]bool{}
	for p, err := range m.store.Pins(context.Background()) {
		if err != nil {
			m.t.Fatal(err)
		}
		pins[p.Root.String()] = true
	}
	want := map[string]bool{}
	for i := range m.number {
		want[m.offer(fmt.Sprint("t", i+1)).File.Root.String()] = true
	}
	if len(pins) != len(want) {
		m.t.Fatalf("%d pins, %d files that can be replayed", len(pins), len(want))
	}
}
