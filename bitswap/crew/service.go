package crew

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/host/eventbus"
)

// Window is how far ahead of its reader a Reader fetches: bytes.
const Window = 32 << 20

// MinSize is the least size of a content that is shared: bytes. Below it what members
// tell each other costs more than it saves.
const MinSize = 4 << 20

// Limits of one node.
const (
	minRange, maxRange = 256 << 10, 2 << 20 // bytes
	maxRanges          = 1 << 20            // of one content
	maxSize            = maxRange * maxRanges
	maxMembers         = 64 // of one content
	maxStreams         = 1024
	maxPeerStreams     = 64
	maxDone            = 256 // contents that are remembered for who still reads them
	maxBanned          = 1024
	banTime            = 10 * time.Minute
	doneTime           = 10 * time.Minute
)

// Watchdogs of streams.
const (
	greetTime = 10 * time.Second // to be answered
	noteTime  = 5 * time.Minute  // between notes of a member
	lifeTime  = time.Minute      // after which a member says something
	writeTime = 30 * time.Second // in which a peer has to take a piece
	waitTime  = time.Second      // after which who waits is told that more will come
	pieceTime = 15 * time.Second // between pieces
	lastTime  = 5 * time.Second  // for the last notes of who leaves
)

// Memory is what read-ahead is taken from, if there is enough; dag.Budget is one.
type Memory interface {
	TryTake(n int64) bool
	Give(n int64)
}

// Config says what a Service works with. Only Host is needed.
type Config struct {
	Host host.Host
	// Stored writes n bytes from off of a content that this node has left with all of
	// it. Nil: nobody gets any.
	Stored func(ctx context.Context, w io.Writer, sum [sha256.Size]byte, off, n int64) error
	Memory Memory // nil: no limit but Window
	Logger *slog.Logger
}

// Service keeps the crews of one node. It is safe for concurrent use.
type Service struct {
	cfg    Config
	log    *slog.Logger
	events event.Subscription
	wg     sync.WaitGroup

	mu     sync.Mutex
	closed bool
	shares map[[sha256.Size]byte]*Share
	done   map[[sha256.Size]byte]time.Time // until when stored content is sent
	open   map[network.Stream]struct{}
	count  map[peer.ID]int // of open, those that the peer began
	banned map[peer.ID]time.Time
}

// New registers the protocol. The caller must call Close before it closes the host.
func New(c Config) (*Service, error) {
	if c.Host == nil {
		return nil, errors.New("crew: no host")
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Service{
		cfg: c, log: c.Logger,
		shares: make(map[[sha256.Size]byte]*Share), done: make(map[[sha256.Size]byte]time.Time),
		open: make(map[network.Stream]struct{}), count: make(map[peer.ID]int), banned: make(map[peer.ID]time.Time),
	}
	var err error
	s.events, err = c.Host.EventBus().Subscribe([]any{new(event.EvtPeerIdentificationCompleted)}, eventbus.Name("hypha/crew"))
	if err != nil {
		return nil, err
	}
	s.wg.Go(s.meetNew)
	c.Host.SetStreamHandler(ID, s.handle)
	return s, nil
}

// Close ends all streams and waits for what runs. Shares must have been left.
func (s *Service) Close() error {
	s.cfg.Host.RemoveStreamHandler(ID)
	s.mu.Lock()
	s.closed = true
	for st := range s.open {
		reset(st)
	}
	s.mu.Unlock()
	err := s.events.Close()
	s.wg.Wait()
	return err
}

// meetNew has peers that turn out to speak the protocol met by all shares.
func (s *Service) meetNew() {
	for e := range s.events.Out() {
		done, ok := e.(event.EvtPeerIdentificationCompleted)
		if !ok || !slices.Contains(done.Protocols, ID) {
			continue
		}
		s.mu.Lock()
		if !time.Now().Before(s.banned[done.Peer]) {
			for _, sh := range s.shares {
				sh.meet(done.Peer)
			}
		}
		s.mu.Unlock()
	}
}

// Company tells whether there are peers that may fetch the same as this node.
func (s *Service) Company() bool { return len(s.peers()) > 0 }

// peers returns connected peers that may speak the protocol, in any order.
func (s *Service) peers() (some []peer.ID) {
	all := s.cfg.Host.Network().Peers()
	rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	for _, p := range all {
		known, err := s.cfg.Host.Peerstore().GetProtocols(p)
		if err == nil && (len(known) == 0 || slices.Contains(known, ID)) && len(some) < maxMembers && !s.bans(p) {
			some = append(some, p)
		}
	}
	return some
}

// Ban has a peer in no crew for a while: it sent what is not the content.
func (s *Service) Ban(id string) {
	p, err := peer.Decode(id)
	if err != nil {
		return
	}
	s.log.Warn("a peer sent ranges of another content", slog.String("peer", id), slog.Duration("banned_for", banTime))
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

func (s *Service) bans(p peer.ID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Now().Before(s.banned[p])
}

// share returns the share of a content, nil if there is none.
func (s *Service) share(sum [sha256.Size]byte) *Share {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.shares[sum]
}

// isDone tells whether a content was shared, is here now, and may still be read.
func (s *Service) isDone(sum [sha256.Size]byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cfg.Stored != nil && time.Now().Before(s.done[sum])
}

// remember notes that a content can be read although its share was left.
func (s *Service) remember(sum [sha256.Size]byte) {
	now := time.Now()
	for other, until := range s.done {
		if now.After(until) {
			delete(s.done, other)
		}
	}
	if len(s.done) < maxDone {
		s.done[sum] = now.Add(doneTime)
	}
}

// add counts a stream, of a peer that began it or of nobody; false when there are too
// many, or the service was closed. With true the caller calls remove.
func (s *Service) add(st network.Stream, began bool) bool {
	p := st.Conn().RemotePeer()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || began && (len(s.open) >= maxStreams || s.count[p] >= maxPeerStreams) {
		return false
	}
	s.open[st] = struct{}{}
	if began {
		s.count[p]++
	}
	s.wg.Add(1)
	return true
}

// remove undoes add.
func (s *Service) remove(st network.Stream, began bool) {
	p := st.Conn().RemotePeer()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, st)
	if began {
		if s.count[p]--; s.count[p] == 0 {
			delete(s.count, p)
		}
	}
	s.wg.Done()
}

// dial opens a stream to a connected peer, which ends with ctx. The caller closes or
// resets it, and calls hang.
func (s *Service) dial(ctx context.Context, p peer.ID) (st network.Stream, hang func(), err error) {
	st, err = s.cfg.Host.NewStream(network.WithNoDial(ctx, "members are connected"), p, ID)
	if err != nil {
		return nil, nil, err
	}
	if !s.add(st, false) {
		reset(st)
		return nil, nil, errClosed
	}
	stop := context.AfterFunc(ctx, func() { reset(st) })
	return st, func() { stop(); s.remove(st, false) }, nil
}

var errClosed = errors.New("crew: closed")

// reset ends a stream at once. That it has ended already is no news.
func reset(st network.Stream) { _ = st.Reset() } //nolint:errcheck // nothing is left to do with it
