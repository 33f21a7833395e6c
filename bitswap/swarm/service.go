package swarm

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	boxoblockstore "github.com/ipfs/boxo/blockstore"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/host/eventbus"
)

// Limits of one node.
const (
	maxStreams     = 1024 // that others ask on, all peers
	maxPeerStreams = 256  // of one peer
	uploadSlots    = 4    // blocks that are sent at once
	slotTime       = 2 * time.Second
	banTime        = 10 * time.Minute // for which who sent wrong bytes is not asked
	maxBanned      = 4096
)

// Config says what a Service works with. Served and Logger may be nil.
type Config struct {
	Host  host.Host
	Store boxoblockstore.Blockstore // read only
	// Served tells whether peers may have a block; it is asked for the root that they
	// name and for each block before it leaves, from any goroutine. Nil means all.
	Served func(ctx context.Context, c cid.Cid) bool
	Logger *slog.Logger
}

// Traffic is what has gone over the protocol since the Service began, in bytes of
// blocks unless said otherwise.
type Traffic struct {
	Sent      int64
	Received  int64 // what was wanted
	Duplicate int64 // what was here already, or not wanted any more
	Control   int64 // bytes sent that are no blocks

	BlocksSent, BlocksReceived, BlocksDuplicate int64 // blocks of Sent, Received, Duplicate

	// Of Sent and of what came: bytes that did not go over the wire, since blocks were
	// packed; negative where a peer packs what gets larger by it.
	SentSaved, ReceivedSaved int64
}

// tally counts blocks.
type tally struct{ bytes, count atomic.Int64 }

func (b *tally) add(size int) {
	b.bytes.Add(int64(size))
	b.count.Add(1)
}

// Service serves what the node has and fetches what it has not. It is safe for
// concurrent use.
type Service struct {
	cfg    Config
	log    *slog.Logger
	slots  *slots
	pieces *sync.Pool // of *[pieceTCP]byte, for what is written
	events event.Subscription
	wg     sync.WaitGroup

	sent, received, duplicate tally
	control                   atomic.Int64
	packs                     *packs

	mu      sync.Mutex
	closed  bool
	fetches map[string][]*Fetch // by root
	spreads map[string]*spread  // by root
	open    map[network.Stream]context.CancelFunc
	count   map[peer.ID]int // of open
	banned  map[peer.ID]time.Time
}

// New registers the protocol. The caller must call Close before it closes the host.
func New(c Config) (*Service, error) {
	if c.Host == nil || c.Store == nil {
		return nil, errors.New("swarm: no host or no store")
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Service{
		cfg: c, log: c.Logger, slots: newSlots(uploadSlots), pieces: newPieceBuffers(),
		fetches: make(map[string][]*Fetch), spreads: make(map[string]*spread),
		open: make(map[network.Stream]context.CancelFunc), count: make(map[peer.ID]int), banned: make(map[peer.ID]time.Time),
	}
	var err error
	if s.packs, err = newPacks(); err != nil {
		return nil, err
	}
	s.events, err = c.Host.EventBus().Subscribe([]any{new(event.EvtPeerIdentificationCompleted), new(event.EvtPeerProtocolsUpdated)}, eventbus.Name("hypha/swarm"))
	if err != nil {
		return nil, errors.Join(err, s.packs.close())
	}
	s.wg.Go(s.greet)
	c.Host.SetStreamHandler(ID, s.handle)
	return s, nil
}

// Close ends all streams and waits for what runs. Fetches must have been closed.
func (s *Service) Close() error {
	s.cfg.Host.RemoveStreamHandler(ID)
	s.mu.Lock()
	s.closed = true
	for st, cancel := range s.open {
		cancel()
		reset(st)
	}
	s.mu.Unlock()
	err := s.events.Close()
	s.wg.Wait()
	return errors.Join(err, s.packs.close())
}

// Traffic returns the counters.
func (s *Service) Traffic() Traffic {
	return Traffic{
		Sent: s.sent.bytes.Load(), Received: s.received.bytes.Load(), Duplicate: s.duplicate.bytes.Load(), Control: s.control.Load(),
		BlocksSent: s.sent.count.Load(), BlocksReceived: s.received.count.Load(), BlocksDuplicate: s.duplicate.count.Load(),
		SentSaved: s.packs.saved.bytes.Load(), ReceivedSaved: s.packs.spared.bytes.Load(),
	}
}

// greet lets fetches know of peers that turn out to speak the protocol.
func (s *Service) greet() {
	for e := range s.events.Out() {
		var p peer.ID
		switch e := e.(type) {
		case event.EvtPeerIdentificationCompleted:
			p = e.Peer
		case event.EvtPeerProtocolsUpdated:
			p = e.Peer
		}
		s.introduce(p)
		if !s.speaks(p) {
			continue
		}
		for _, f := range s.all() {
			f.consider(peer.AddrInfo{ID: p})
		}
	}
}

// speaks tells whether a peer is known to speak the protocol.
func (s *Service) speaks(p peer.ID) bool {
	all, err := s.cfg.Host.Peerstore().SupportsProtocols(p, ID)
	return err == nil && len(all) > 0
}

// all returns the fetches that run.
func (s *Service) all() []*Fetch {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []*Fetch
	for _, fs := range s.fetches {
		all = append(all, fs...)
	}
	return all
}

// fetching returns the fetch of a root that runs, or nil.
func (s *Service) fetching(rootKey string) *Fetch {
	s.mu.Lock()
	defer s.mu.Unlock()
	if fs := s.fetches[rootKey]; len(fs) > 0 {
		return fs[0]
	}
	return nil
}

// served tells whether peers may have a block.
func (s *Service) served(ctx context.Context, c cid.Cid) bool {
	return s.cfg.Served == nil || s.cfg.Served(ctx, c)
}

// ban has a peer not asked for some time.
func (s *Service) ban(p peer.ID, why error) {
	s.log.Warn("peer sent wrong bytes", slog.String("peer", p.String()), slog.Any("error", why))
	s.mu.Lock()
	defer s.mu.Unlock()
	for other, until := range s.banned {
		if time.Now().After(until) {
			delete(s.banned, other)
		}
	}
	if len(s.banned) < maxBanned {
		s.banned[p] = time.Now().Add(banTime)
	}
}

func (s *Service) isBanned(p peer.ID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Now().Before(s.banned[p])
}

// admit counts a stream that a peer asks on; false when there are too many.
func (s *Service) admit(st network.Stream, cancel context.CancelFunc) bool {
	p := st.Conn().RemotePeer()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || len(s.open) >= maxStreams || s.count[p] >= maxPeerStreams {
		return false
	}
	s.open[st] = cancel
	s.count[p]++
	s.wg.Add(1)
	return true
}

// dismiss undoes admit.
func (s *Service) dismiss(st network.Stream) {
	p := st.Conn().RemotePeer()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, st)
	if s.count[p]--; s.count[p] == 0 {
		delete(s.count, p)
	}
	s.wg.Done()
}

// reset ends a stream at once. That it has ended already is no news.
func reset(st network.Stream) { _ = st.Reset() } //nolint:errcheck // nothing is left to do with it
