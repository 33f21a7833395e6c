package peers

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peerstore"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	"go.uber.org/goleak"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/dag"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait of the tests; it is a safety net, not a measure.
const patience = 4 * time.Minute

// bounded is a context that ends a test that hangs.
func bounded(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// newHost makes a host on loopback that knows nobody.
func newHost(t testing.TB) host.Host {
	t.Helper()
	h, err := libp2p.New(
		libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0"),
		libp2p.Transport(tcp.NewTCPTransport),
		libp2p.ResourceManager(nil),
		libp2p.DisableRelay(), libp2p.DisableMetrics())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

// introduce tells a where b is.
func introduce(a, b host.Host) {
	a.Peerstore().AddAddrs(b.ID(), b.Addrs(), peerstore.PermanentAddrTTL)
}

// node is one node under test: with a store and an inbox.
type node struct {
	*Service
	host  host.Host
	store blockstore.Store
	inbox *inbox
}

// newNode starts a node that takes every offer. change may alter the
// configuration.
func newNode(t testing.TB, change func(*Config)) *node {
	t.Helper()
	n := &node{host: newHost(t), store: blockstore.NewMemory(), inbox: newInbox()}
	cfg := Config{Host: n.host, Store: n.store, Stall: patience, Patience: patience}
	if change != nil {
		change(&cfg)
	}
	n.store = cfg.Store
	var err error
	if n.Service, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	n.Receive(n.inbox)
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
		if err := n.store.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

// pair is a sender that knows its receiver.
func pair(t testing.TB) (a, b *node) {
	t.Helper()
	a, b = newNode(t, nil), newNode(t, nil)
	introduce(a.host, b.host)
	return a, b
}

// content is n bytes that are the same for the same seed.
func content(seed uint64, n int) []byte {
	var key [32]byte
	key[0], key[1] = byte(seed), byte(seed>>8)
	b := make([]byte, n)
	if _, err := rand.NewChaCha8(key).Read(b); err != nil {
		return nil
	}
	return b
}

// add stores content.
func (n *node) add(t testing.TB, b []byte, o dag.ImportOptions) blockstore.File {
	t.Helper()
	f, err := dag.Import(t.Context(), n.store, bytes.NewReader(b), o)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// offer makes an offer of a file.
func offer(transfer string, f blockstore.File) Offer {
	return Offer{Transfer: transfer, Job: "job", Name: "file.bin", File: f}
}

// has fails the test unless the node has the content.
func (n *node) has(t testing.TB, f blockstore.File, want []byte) {
	t.Helper()
	r, err := dag.Open(t.Context(), n.store, f.Root)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var got bytes.Buffer
	if _, err := r.CopyRange(t.Context(), &got, 0, -1); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), want) {
		t.Errorf("%s: %d bytes differ from the %d sent", f.Root, got.Len(), len(want))
	}
}

// empty fails the test if the node stores anything.
func (n *node) empty(t *testing.T) {
	t.Helper()
	for c, err := range n.store.Keys(t.Context()) {
		t.Errorf("store holds %s (%v)", c, err)
	}
}

// inbox is a Receiver that remembers.
type inbox struct {
	mu       sync.Mutex
	offers   []Offer
	from     []string
	kept     []string // transfers, in order
	dropped  []error
	refuse   error // answer to all offers
	keepErr  error // answer to all Keeps
	offered  func(o Offer, proven func(string) bool) error
	keeping  func(ctx context.Context) // during Keep
	changes  chan struct{}             // a token after each event
	moving   func(total int64)         // after each Moved
	finished chan struct{}             // of deliveries; nil never
}

func newInbox() *inbox { return &inbox{changes: make(chan struct{}, 1<<16)} }

func (b *inbox) Offered(_ context.Context, from string, o Offer, proven func(string) bool) (Delivery, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.offers = append(b.offers, o)
	b.from = append(b.from, from)
	defer func() { b.changes <- struct{}{} }()
	if slices.Contains(b.kept, o.Transfer) {
		return nil, ErrDelivered
	}
	if b.refuse != nil {
		return nil, b.refuse
	}
	if b.offered != nil {
		if err := b.offered(o, proven); err != nil {
			return nil, err
		}
	}
	return &parcel{b: b, transfer: o.Transfer}, nil
}

// parcel is a Delivery of an inbox.
type parcel struct {
	b        *inbox
	transfer string
	once     sync.Once
	moved    int64
}

func (p *parcel) Keep(ctx context.Context) (err error) {
	err = errors.New("kept or dropped before")
	p.once.Do(func() {
		if p.b.keeping != nil {
			p.b.keeping(ctx)
		}
		p.b.mu.Lock()
		defer p.b.mu.Unlock()
		if err = p.b.keepErr; err == nil {
			p.b.kept = append(p.b.kept, p.transfer)
		}
		p.b.changes <- struct{}{}
	})
	return err
}

func (p *parcel) Drop(err error) {
	p.once.Do(func() {
		p.b.mu.Lock()
		defer p.b.mu.Unlock()
		p.b.dropped = append(p.b.dropped, err)
		p.b.changes <- struct{}{}
	})
}

func (p *parcel) Done() <-chan struct{} { return p.b.finished }

func (p *parcel) Moved(_ context.Context, n int64) {
	p.b.mu.Lock()
	defer p.b.mu.Unlock()
	p.moved += n
	if p.b.moving != nil {
		p.b.moving(p.moved)
	}
}

// state returns what happened so far.
func (b *inbox) state() (kept []string, dropped []error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string(nil), b.kept...), append([]error(nil), b.dropped...)
}

// seen returns how many offers came.
func (b *inbox) seen() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.offers)
}

// until waits for events until ok.
func (b *inbox) until(t testing.TB, what string, ok func(kept []string, dropped []error) bool) {
	t.Helper()
	ctx := bounded(t)
	for {
		if kept, dropped := b.state(); ok(kept, dropped) {
			return
		}
		select {
		case <-b.changes:
		case <-ctx.Done():
			t.Fatalf("not within %s: %s", patience, what)
		}
	}
}

// refusal returns the code of a refusal, "" if err is none.
func refusal(err error) string {
	if no, ok := errors.AsType[*Refusal](err); ok {
		return no.Code
	}
	return ""
}

var _ Follower = (*parcel)(nil)
