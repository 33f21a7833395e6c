package bitswap

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
)

// A peer sends up to eight blocks side by side. Over a link of 2 Mbit/s the first
// of them is complete after half a minute, so a transfer is not given up for want
// of blocks while bytes come, within bounds that a peer can't stretch by
// trickling.
const (
	slowRate    = 1 << 10 // bytes per second that count as progress
	slowFactor  = 10      // without any block the timeout stretches to this many times
	watchPerGap = 8       // looks at the clock per stall or timeout
)

// Watch says when a session helps itself and when it gives up. With the zero
// value it does neither.
type Watch struct {
	// Stall is how long no block may come, while some are waited for, before the
	// session calls Refresh, and again after as long; 0 means never.
	Stall time.Duration
	// Timeout is how long nothing may come before everything that the session
	// waits for fails with ErrStalled; 0 means never. While the peers that had
	// blocks of the session still send at least 1 KiB/s, it is ten times as long.
	Timeout time.Duration
}

// watch applies w until ctx, the session's, ends.
func (s *Session) watch(ctx context.Context, w Watch) {
	gap := w.Stall
	if gap <= 0 || w.Timeout > 0 && w.Timeout < gap {
		gap = w.Timeout
	}
	tick := time.NewTicker(max(gap/watchPerGap, time.Millisecond))
	defer tick.Stop()
	var refreshing sync.WaitGroup
	defer refreshing.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var busy atomic.Bool
	flow := flow{at: time.Now()}
	refreshed := 0
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		case <-s.ex.closing:
			return
		}
		now := time.Now()
		flow.sample(now, s.received())
		missing, since := s.idle()
		idle := now.Sub(since)
		if !missing.Defined() {
			refreshed = 0
			continue
		}
		if idle < w.Stall {
			refreshed = 0
		}
		if w.Timeout > 0 && idle >= w.Timeout && (now.Sub(flow.last) >= w.Timeout || idle >= slowFactor*w.Timeout) {
			s.fail(s.ex.explain(fmt.Errorf("block %s: nobody sent it in %s: %w", missing, idle.Round(time.Millisecond), ErrStalled)))
			return
		}
		if w.Stall > 0 && idle >= w.Stall*time.Duration(refreshed+1) && busy.CompareAndSwap(false, true) {
			refreshed++
			refreshing.Go(func() {
				defer busy.Store(false)
				s.Refresh(ctx, missing)
			})
		}
	}
}

// flow remembers when bytes came last at a rate that counts.
type flow struct {
	at    time.Time // of the last sample
	bytes int64     // at that time
	last  time.Time // when they came; zero if never
}

// sample takes a look at a counter.
func (f *flow) sample(now time.Time, bytes int64) {
	if float64(bytes-f.bytes) >= slowRate*now.Sub(f.at).Seconds() && bytes > f.bytes {
		f.last = now
	}
	f.at, f.bytes = now, bytes
}

// idle returns a block that is waited for, and since when nothing has come;
// an undefined CID when nothing is waited for.
func (s *Session) idle() (missing cid.Cid, since time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.waiting {
		return c, s.came
	}
	return cid.Undef, time.Time{}
}

// received returns how many bytes those peers have sent that had a block of the
// session.
func (s *Session) received() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	var sum int64
	for p := range s.had {
		sum += s.ex.meter.received(p)
	}
	return sum
}

// meter counts the bytes that connected peers send over streams which they
// opened to a protocol of bitswap.
type meter struct {
	host.Host

	mu    sync.Mutex
	peers map[peer.ID]*atomic.Int64
}

// newMeter makes a host that counts; bitswap runs over it.
func newMeter(h host.Host) *meter {
	return &meter{Host: h, peers: make(map[peer.ID]*atomic.Int64)}
}

// SetStreamHandler registers a handler whose streams are counted.
func (m *meter) SetStreamHandler(id protocol.ID, handler network.StreamHandler) {
	m.Host.SetStreamHandler(id, func(s network.Stream) {
		handler(&meteredStream{Stream: s, bytes: m.counter(s.Conn().RemotePeer())})
	})
}

// counter returns the counter of a peer.
func (m *meter) counter(p peer.ID) *atomic.Int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.peers[p]
	if n == nil {
		n = new(atomic.Int64)
		m.peers[p] = n
	}
	return n
}

// received returns what a peer has sent since it connected.
func (m *meter) received(p peer.ID) int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	if n := m.peers[p]; n != nil {
		return n.Load()
	}
	return 0
}

// follow drops the counters of peers when they are gone, until stop is called.
func (m *meter) follow() (stop func()) {
	bundle := &network.NotifyBundle{DisconnectedF: func(n network.Network, c network.Conn) {
		if n.Connectedness(c.RemotePeer()) == network.Connected {
			return
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.peers, c.RemotePeer())
	}}
	m.Network().Notify(bundle)
	return func() { m.Network().StopNotify(bundle) }
}

// meteredStream counts what is read.
type meteredStream struct {
	network.Stream
	bytes *atomic.Int64
}

// Read reads from the stream.
func (s *meteredStream) Read(p []byte) (int, error) {
	n, err := s.Stream.Read(p)
	s.bytes.Add(int64(n))
	return n, err
}
