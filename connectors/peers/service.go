package peers

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"golang.org/x/sync/semaphore"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/dag"
)

// Errors of this package.
var (
	// ErrClosed says that the service was closed.
	ErrClosed = errors.New("transfers are closed")
	// ErrUnreachable says that a peer could not be connected to.
	ErrUnreachable = errors.New("peer can't be reached")
	// ErrInvalid says that an offer, a peer id or a message can't be.
	ErrInvalid = errors.New("invalid")
	// ErrStalled says that the other side was silent for too long.
	ErrStalled = errors.New("peer went silent")
	// ErrGone says that the other side ended a transfer without a word.
	ErrGone = errors.New("peer ended the transfer")
)

// The protocols of this package.
const (
	protoOffer  = protocol.ID("/hypha-node/offer/1")
	protoBlocks = protocol.ID("/hypha-node/blocks/1")
)

// Defaults of a Config.
const (
	DefaultStall    = 30 * time.Second
	DefaultPatience = 3 * time.Second
	DefaultLinger   = time.Minute
)

// Bounds on what others can make this node hold.
const (
	maxOffers     = 1024        // offers under way, all peers
	maxPeerOffers = 256         // of one peer
	maxAskers     = 4096        // streams that ask for blocks, all peers
	maxPeerAskers = 128         // of one peer
	maxGuests     = 64          // of peers who may be welcome in a moment
	busyRetry     = time.Second // after which a peer with too many may try again
	inlineBudget  = 32 << 20    // bytes of inline content in memory
	pullBudget    = 512 << 20   // bytes of windows of transfers that pull
	peerBudget    = 256 << 20   // of them, of one sender
)

// Config says what a Service works with. Host and Store are required.
type Config struct {
	Host  host.Host
	Store blockstore.Store
	// Memory is what copies take shares of while they run, except those of content
	// that comes with its offer; nil bounds nothing.
	Memory *dag.Budget
	// FindPeer looks up the addresses of a peer; nil knows nobody.
	FindPeer func(ctx context.Context, id peer.ID) (peer.AddrInfo, error)
	Logger   *slog.Logger // may be nil
	// Stall is how long a peer may be silent before a transfer with it fails; 0
	// means DefaultStall.
	Stall time.Duration
	// Patience is how long another receiver of the same file may send nothing of
	// what it was asked for before the sender is asked instead; 0 means
	// DefaultPatience.
	Patience time.Duration
	// Linger is how long other receivers of a file are served after it came; 0
	// means DefaultLinger.
	Linger time.Duration
}

// Service sends files to peers and takes what they offer. It is safe for
// concurrent use.
type Service struct {
	cfg  Config
	log  *slog.Logger
	self peer.ID

	mu       sync.Mutex
	closed   bool
	running  map[*task]struct{} // what Close ends
	receiver Receiver
	active   map[deliveryKey]*turn // deliveries under way
	windows  map[peer.ID]*window   // of transfers that pull
	wg       sync.WaitGroup        // of running

	offers *counter      // of offers that came
	askers *counter      // of streams that ask for blocks
	guests chan struct{} // of those, who may be welcome in a moment
	shares *shares
	inline *semaphore.Weighted
	pulls  *semaphore.Weighted
}

// task is something that runs until Close.
type task struct{ cancel context.CancelCauseFunc }

// New makes a service, which can send. It takes offers after Receive. The caller
// must call Close before it closes the host and the store.
func New(cfg Config) (*Service, error) {
	if cfg.Host == nil || cfg.Store == nil {
		return nil, errors.New("peers: no host or no store")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Stall <= 0 {
		cfg.Stall = DefaultStall
	}
	if cfg.Patience <= 0 {
		cfg.Patience = DefaultPatience
	}
	if cfg.Linger <= 0 {
		cfg.Linger = DefaultLinger
	}
	s := &Service{
		cfg: cfg, log: cfg.Logger, self: cfg.Host.ID(),
		running: make(map[*task]struct{}),
		offers:  newCounter(maxPeerOffers, maxOffers), askers: newCounter(maxPeerAskers, maxAskers),
		guests: make(chan struct{}, maxGuests),
		active: make(map[deliveryKey]*turn), windows: make(map[peer.ID]*window),
		shares: newShares(cfg.Store, cfg.Linger),
		inline: semaphore.NewWeighted(inlineBudget), pulls: semaphore.NewWeighted(pullBudget),
	}
	cfg.Host.SetStreamHandler(protoBlocks, s.serveBlocks)
	return s, nil
}

// Receive takes offers from now on and hands them to r. It may be called once.
func (s *Service) Receive(r Receiver) {
	s.mu.Lock()
	if s.closed || s.receiver != nil {
		s.mu.Unlock()
		return
	}
	s.receiver = r
	s.mu.Unlock()
	s.cfg.Host.SetStreamHandler(protoOffer, s.takeOffer)
}

// Self returns the id of this node.
func (s *Service) Self() string { return s.self.String() }

// Close ends everything that runs, both ways, and returns when it has ended.
func (s *Service) Close() error {
	s.mu.Lock()
	first := !s.closed
	s.closed = true
	for t := range s.running {
		t.cancel(ErrClosed)
	}
	s.mu.Unlock()
	if first {
		s.cfg.Host.RemoveStreamHandler(protoOffer)
		s.cfg.Host.RemoveStreamHandler(protoBlocks)
	}
	s.shares.close()
	s.wg.Wait()
	return nil
}

// enter begins something that Close ends and waits for; done must be called.
func (s *Service) enter(ctx context.Context) (_ context.Context, done func(), err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	t := &task{cancel}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		cancel(ErrClosed)
		return nil, nil, ErrClosed
	}
	s.running[t] = struct{}{}
	s.wg.Add(1)
	return ctx, func() {
		cancel(nil)
		s.mu.Lock()
		delete(s.running, t)
		s.mu.Unlock()
		s.wg.Done()
	}, nil
}

// abandon ends a stream that nobody is to read or write any more.
func (s *Service) abandon(st network.Stream) {
	if err := st.Reset(); err != nil {
		s.log.Debug("reset stream", slog.Any("error", err))
	}
}

// window bounds what one sender makes this node hold.
type window struct {
	bytes *semaphore.Weighted
	users int
}

// acquire waits until n bytes may be under way from a peer.
func (s *Service) acquire(ctx context.Context, from peer.ID, n int64) (release func(), err error) {
	s.mu.Lock()
	w := s.windows[from]
	if w == nil {
		w = &window{bytes: semaphore.NewWeighted(peerBudget)}
		s.windows[from] = w
	}
	w.users++
	s.mu.Unlock()
	leave := func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if w.users--; w.users == 0 {
			delete(s.windows, from)
		}
	}
	if err := w.bytes.Acquire(ctx, n); err != nil {
		leave()
		return nil, context.Cause(ctx)
	}
	if err := s.pulls.Acquire(ctx, n); err != nil {
		w.bytes.Release(n)
		leave()
		return nil, context.Cause(ctx)
	}
	return func() {
		s.pulls.Release(n)
		w.bytes.Release(n)
		leave()
	}, nil
}

// holder is a store that collects garbage.
type holder interface{ Hold() (release func()) }

// hold keeps collections off what is stored until release is called.
func (s *Service) hold() (release func()) {
	if h, ok := s.cfg.Store.(holder); ok {
		return h.Hold()
	}
	return func() {}
}

// counter bounds how many of something each peer and all together have.
type counter struct {
	each, all int

	mu    sync.Mutex
	peers map[peer.ID]int
	total int
}

func newCounter(each, all int) *counter {
	return &counter{each: each, all: all, peers: make(map[peer.ID]int)}
}

// add tells whether a peer may have one more.
func (c *counter) add(p peer.ID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.total >= c.all || c.peers[p] >= c.each {
		return false
	}
	c.total++
	c.peers[p]++
	return true
}

func (c *counter) remove(p peer.ID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.total--
	if c.peers[p]--; c.peers[p] == 0 {
		delete(c.peers, p)
	}
}
