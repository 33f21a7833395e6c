package crew

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait of the tests; it is a safety net, not a measure.
const patience = 60 * time.Second

// origin counts what it sends.
type origin struct {
	content []byte
	whole   bool // it sends no ranges
	fails   error

	asked atomic.Int64
	bytes atomic.Int64
	gate  chan struct{} // nothing is sent before it is closed; nil: at once
}

func (o *origin) open(ctx context.Context, off, n int64) (io.ReadCloser, bool, error) {
	o.asked.Add(1)
	if o.fails != nil {
		return nil, false, o.fails
	}
	end := int64(len(o.content))
	if n >= 0 {
		end = off + n
	}
	return &body{o: o, ctx: ctx.Done(), r: bytes.NewReader(o.content[off:end])}, !o.whole || n < 0, nil
}

type body struct {
	o   *origin
	ctx <-chan struct{}
	r   *bytes.Reader
}

func (b *body) Read(p []byte) (int, error) {
	if b.o.gate != nil {
		select {
		case <-b.o.gate:
		case <-b.ctx:
			return 0, context.Canceled
		}
	}
	n, err := b.r.Read(p[:min(len(p), 32<<10)])
	b.o.bytes.Add(int64(n))
	return n, err
}

func (b *body) Close() error { return nil }

// node is a service on loopback, and what it has taken in.
type node struct {
	*Service
	host host.Host

	mu  sync.Mutex
	got []byte
}

func newNode(t *testing.T) *node {
	t.Helper()
	h, err := libp2p.New(libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0"), libp2p.DisableMetrics(), libp2p.DisableRelay(),
		libp2p.ResourceManager(&network.NullResourceManager{}))
	if err != nil {
		t.Fatal(err)
	}
	n := &node{host: h}
	n.Service, err = New(Config{Host: h, Stored: n.stored})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(n.Close(), h.Close()); err != nil {
			t.Error(err)
		}
	})
	return n
}

// newNodes makes nodes that are all connected.
func newNodes(t *testing.T, n int) (all []*node) {
	t.Helper()
	for range n {
		a := newNode(t)
		for _, b := range all {
			connect(t, a.host, b.host)
		}
		all = append(all, a)
	}
	return all
}

func connect(t *testing.T, a, b host.Host) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := a.Connect(ctx, peer.AddrInfo{ID: b.ID(), Addrs: b.Addrs()}); err != nil {
		t.Fatal(err)
	}
	until(t, "they know each other's protocols", func() bool {
		x, err := b.Peerstore().SupportsProtocols(a.ID(), ID)
		y, yerr := a.Peerstore().SupportsProtocols(b.ID(), ID)
		return errors.Join(err, yerr) == nil && len(x)+len(y) == 2
	})
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("never: %s", what)
		}
	}
}

// read is Content.Read.
func (n *node) read(_ context.Context, p []byte, off int64) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if off >= int64(len(n.got)) {
		return 0, errors.New("not written yet")
	}
	return copy(p, n.got[off:]), nil
}

func (n *node) stored(_ context.Context, w io.Writer, _ [sha256.Size]byte, off, count int64) error {
	n.mu.Lock()
	p := n.got[off : off+count]
	n.mu.Unlock()
	_, err := w.Write(p)
	return err
}

// join begins to share what an origin has.
func (n *node) join(t *testing.T, o *origin) *Share {
	t.Helper()
	sh := n.Join(t.Context(), Content{Sum: sha256.Sum256(o.content), Size: int64(len(o.content)), Read: n.read})
	if sh == nil {
		t.Fatal("not shared")
	}
	return sh
}

// take reads all of a content from off on.
func (n *node) take(r io.ReadCloser) error {
	buf := make([]byte, 100<<10)
	for {
		c, err := r.Read(buf)
		n.mu.Lock()
		n.got = append(n.got, buf[:c]...)
		n.mu.Unlock()
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return errors.Join(err, r.Close())
		}
	}
}

// fetch fetches all, alone or not, and leaves.
func (n *node) fetch(t *testing.T, sh *Share, o *origin) error {
	err := n.take(sh.Open(t.Context(), 0, nil, o.open))
	if err == nil && !bytes.Equal(n.got, o.content) {
		err = fmt.Errorf("%d bytes that differ", len(n.got))
	}
	sh.Leave(err == nil)
	return err
}

func noise(n int) []byte {
	b := make([]byte, n)
	src := rand.NewChaCha8([32]byte{7})
	_, _ = src.Read(b) // never fails
	return b
}
