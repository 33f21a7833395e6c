package ingest_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/hypha-node/hypha-node/bitswap"
	"github.com/hypha-node/hypha-node/bitswap/crew"
	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/connectors"
	"github.com/hypha-node/hypha-node/connectors/ingest"
)

// spring is an origin of one content that counts what it gives, and gives nothing
// before it may.
type spring struct {
	content []byte
	whole   bool // it sends no ranges
	bytes   atomic.Int64
	open    <-chan struct{} // nil: from the beginning
}

// item is the content as one of the crowd sees it.
func (s *spring) item(who string) connectors.Item {
	sum := sha256.Sum256(s.content)
	return connectors.Item{
		Path: "f", Size: int64(len(s.content)), URL: "test://" + who, SHA256: &sum,
		Open: func(ctx context.Context, off, n int64, _ []byte) (*connectors.Body, error) {
			end := int64(len(s.content))
			if n >= 0 {
				end = min(end, off+n)
			}
			body := &connectors.Body{Size: int64(len(s.content)), Meta: []byte("meta"), ETag: `"etag"`, Unparted: s.whole && n >= 0}
			body.ReadCloser = io.NopCloser(&gathered{s: s, r: bytes.NewReader(s.content[off:end]), done: ctx.Done()})
			return body, nil
		},
	}
}

// gathered is a body of a spring.
type gathered struct {
	s    *spring
	r    *bytes.Reader
	done <-chan struct{}
}

func (g *gathered) Read(p []byte) (int, error) {
	if g.s.open != nil {
		select {
		case <-g.s.open:
		case <-g.done:
			return 0, context.Canceled
		}
	}
	n, err := g.r.Read(p[:min(len(p), 32<<10)])
	g.s.bytes.Add(int64(n))
	return n, err
}

// fellow is a node that fetches together with others.
type fellow struct {
	*ingest.Engine
	ex    *bitswap.Exchange
	store blockstore.Store
	crew  *crew.Service
}

// newFellows makes nodes that are all connected.
func newFellows(t *testing.T, n int, log *slog.Logger) (all []*fellow) {
	t.Helper()
	for range n {
		store, err := blockstore.Open(t.Context(), t.TempDir(), blockstore.Options{Reserve: -1})
		must(t, err)
		t.Cleanup(func() { must(t, store.Close()) })
		f := &fellow{store: store}
		key, err := bitswap.LoadIdentity(t.TempDir())
		must(t, err)
		f.ex, err = bitswap.New(t.Context(), bitswap.Config{Identity: key, Listen: []string{"/ip4/127.0.0.1/tcp/0"}, Store: f.store})
		must(t, err)
		t.Cleanup(func() { must(t, f.ex.Close()) })
		f.crew, err = crew.New(crew.Config{Host: f.ex.Host(), Stored: f.send, Logger: log})
		must(t, err)
		t.Cleanup(func() { must(t, f.crew.Close()) })
		f.Engine = newEngine(t, ingest.Config{Store: f.store, Crew: f.crew})
		for _, other := range all {
			_, err := f.ex.Connect(t.Context(), fmt.Sprintf("%s/p2p/%s", other.ex.Host().Addrs()[0], other.ex.Host().ID()))
			must(t, err)
		}
		all = append(all, f)
	}
	for _, a := range all {
		for _, b := range all {
			until(t, "they know each other's protocols", func() bool {
				known, err := a.ex.Host().Peerstore().SupportsProtocols(b.ex.Host().ID(), crew.ID)
				return a == b || err == nil && len(known) == 1
			})
		}
	}
	return all
}

func (f *fellow) send(ctx context.Context, w io.Writer, sum [sha256.Size]byte, off, n int64) error {
	return ingest.Send(ctx, f.store, w, sum, [2]int64{off, n})
}

// meeting is a log that waits for so many members to have come, at all nodes together.
type meeting struct {
	slog.Handler
	left atomic.Int64
	all  chan struct{}
}

func newMeeting(members int) *meeting {
	m := &meeting{Handler: slog.DiscardHandler, all: make(chan struct{})}
	m.left.Store(int64(members))
	return m
}

// Enabled implements slog.Handler.
func (m *meeting) Enabled(context.Context, slog.Level) bool { return true }

// Handle implements slog.Handler.
func (m *meeting) Handle(_ context.Context, r slog.Record) error {
	if r.Message == "a member came" && m.left.Add(-1) == 0 {
		close(m.all)
	}
	return nil
}

// heap is a tee and a part in memory, for one goroutine after the other.
type heap struct {
	mu sync.Mutex
	b  []byte
}

func (m *heap) Write(p []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.b = append(m.b, p...)
	return len(p), nil
}

func (m *heap) read(_ context.Context, p []byte, off int64) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if off >= int64(len(m.b)) {
		return 0, errors.New("not written yet")
	}
	return copy(p, m.b[off:]), nil
}

// TestCrew has nodes that begin at once fetch one content from one origin.
func TestCrew(t *testing.T) {
	const size = 8<<20 + 77
	for _, c := range []struct {
		name   string
		lies   bool    // one more node sends other bytes than the content's
		whole  bool    // the origin sends no ranges
		copies float64 // at most; bitswap/crew and testground hold how near to one it is
	}{
		{name: "three", copies: 2},
		{name: "three and a liar", lies: true, copies: 3},
		{name: "no ranges", whole: true, copies: 3.5},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			const crowd = 3
			all := crowd
			if c.lies {
				all++
			}
			met := newMeeting(crowd * (all - 1))
			fellows := newFellows(t, all, slog.New(met))
			src := &spring{content: random(1, size)}
			src.whole, src.open = c.whole, met.all
			var lie *liar
			if c.lies {
				lie = newLiar(t, fellows[crowd], src.content, met.all)
			}
			var g errgroup.Group
			tees := make([]*memFile, crowd)
			got := make([]ingest.Fetched, crowd)
			for i, f := range fellows[:crowd] {
				tees[i] = &memFile{}
				g.Go(func() (err error) {
					got[i], err = f.Fetch(t.Context(), src.item(fmt.Sprint(i)), ingest.Options{Tee: tees[i]})
					return err
				})
			}
			must(t, g.Wait())
			lie.end(t)
			for i, got := range got {
				checkStored(t, fellows[i].store, got.File, src.content)
				if !got.Teed || !bytes.Equal(tees[i].b, src.content) || !got.Verified || got.OriginBytes > 0 && got.ETag != `"etag"` {
					t.Errorf("%+v", got)
				}
				again := got.OriginBytes + got.PeerBytes - size
				if again > 0 {
					lie.shunned(t, fellows[i])
				}
				if most := lie.gave() + crowd*64<<10; again < 0 || again > most && lie != nil || again > 0 && lie == nil {
					t.Errorf("%d bytes of the origin, %d of others: %d of them twice, lies were %d at most", got.OriginBytes, got.PeerBytes, again, most)
				}
			}
			if f := float64(src.bytes.Load()) / size; f < 1 || f > c.copies {
				t.Errorf("the origin sent %.2f copies", f)
			}
		})
	}
}

// liar is a member that sends other bytes.
type liar struct {
	f     *fellow
	share *crew.Share
	r     io.ReadCloser
	done  chan error
	src   *spring
}

// newLiar has a node join those who fetch a content with another one.
func newLiar(t *testing.T, f *fellow, content []byte, open <-chan struct{}) *liar {
	other := bytes.Clone(content)
	for i := range other {
		other[i] ^= 0xff
	}
	l := &liar{f: f, done: make(chan error, 1), src: &spring{content: other, open: open}}
	got := &heap{}
	l.share = f.crew.Join(t.Context(), crew.Content{Sum: sha256.Sum256(content), Size: int64(len(content)), Read: got.read})
	if l.share == nil {
		t.Fatal("not shared")
	}
	it := l.src.item("liar")
	l.r = l.share.Open(t.Context(), 0, nil, func(ctx context.Context, off, n int64) (io.ReadCloser, bool, error) {
		if n < 0 {
			<-ctx.Done() // it does nothing alone
			return nil, false, ctx.Err()
		}
		b, err := it.Open(ctx, off, n, nil)
		return b, true, err
	})
	go func() {
		_, err := io.Copy(got, l.r)
		l.done <- err
	}()
	return l
}

// end has it leave.
func (l *liar) end(t *testing.T) {
	if l == nil {
		return
	}
	must(t, l.r.Close())
	<-l.done
	l.share.Leave(false)
}

// gave is how many bytes it made up.
func (l *liar) gave() int64 {
	if l == nil {
		return 0
	}
	return l.src.bytes.Load()
}

// shunned: who lied is left alone from then on.
func (l *liar) shunned(t *testing.T, f *fellow) {
	if l == nil {
		return
	}
	content := crew.Content{Sum: [32]byte{1}, Size: 8 << 20, Read: (&heap{}).read}
	theirs, ours := l.f.crew.Join(t.Context(), content), f.crew.Join(t.Context(), content)
	<-ours.Met()
	<-theirs.Met()
	if ours.Crowded() {
		t.Error("the liar is asked again")
	}
	theirs.Leave(false)
	ours.Leave(false)
}

// TestCrewIsPrivate: of what comes with a credential, of small files and of local ones
// nobody is told.
func TestCrewIsPrivate(t *testing.T) {
	fellows := newFellows(t, 2, nil)
	for name, change := range map[string]func(it *connectors.Item){
		"credential": func(it *connectors.Item) { it.Scope = "s" },
		"no digest":  func(it *connectors.Item) { it.SHA256 = nil },
		"local":      func(it *connectors.Item) { it.Local = true },
	} {
		src := &spring{content: random(byte(len(name)), 5<<20)}
		it := src.item("a")
		sum := *it.SHA256
		share := fellows[1].crew.Join(t.Context(), crew.Content{Sum: sum, Size: it.Size, Read: (&heap{}).read})
		change(&it)
		got, err := fellows[0].Fetch(t.Context(), it, ingest.Options{})
		must(t, err)
		if share.Crowded() || got.PeerBytes != 0 || src.bytes.Load() != it.Size {
			t.Errorf("%s: shared: %+v", name, got)
		}
		share.Leave(false)
		var b strings.Builder
		err = ingest.Send(t.Context(), fellows[0].store, &b, sum, [2]int64{0, 10})
		if private := it.Scope != ""; private != errors.Is(err, connectors.ErrNotFound) || private == (b.Len() == 10) {
			t.Errorf("%s: %d bytes, %v", name, b.Len(), err)
		}
	}
}
