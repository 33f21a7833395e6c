package crew

import (
	"context"
	"crypto/sha256"
	"errors"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// Content is what a node fetches.
type Content struct {
	Sum  [sha256.Size]byte
	Size int64 // bytes, at least MinSize
	// Read reads, as io.ReaderAt, what was taken in, and waits for it; it is asked for
	// bytes before those that the Reader gives next. An error says that it can't be
	// read any more.
	Read func(ctx context.Context, p []byte, off int64) (int, error)
}

// Part is a run of content that came from a member.
type Part struct {
	Peer string // its id
	Off  int64  // bytes
	N    int64  // bytes
}

// Share is a node's part in the crew of one content. It is safe for concurrent use.
type Share struct {
	s       *Service
	content Content
	step    int64 // bytes of a range; the last one may be shorter
	count   int   // ranges
	company bool  // there was somebody to ask at the beginning
	wake    chan struct{}
	cancel  context.CancelFunc
	running sync.WaitGroup // but for links, which are the service's
	met     chan struct{}  // closed when all who were asked at the beginning have answered
	left    chan struct{}  // closed by Leave

	mu      sync.Mutex
	changed chan struct{} // closed when something changed
	members map[peer.ID]*member
	linked  map[peer.ID]bool // whom this node tells of itself, or asks whether to; true: who came meanwhile
	greet   []greeting       // who is to be
	asked   int              // who has not answered, of those at the beginning
	mine    marks            // ranges that this node has from the origin, or will
	claims  map[int]claim    // when those were claimed that are not in memory yet
	serial  int              // claims so far
	got     marks            // those that it has
	at      int              // ranges that were taken in
	no      bool             // the origin is asked for no more ranges
	whole   bool             // all is here, and verified
	r       *Reader          // nil before Open
	parts   []Part
	origin  int64 // bytes that came from there
	peers   int64 // bytes that came from members
}

// greeting is of a peer that is to be asked. first says that Met waits for the answer.
type greeting struct {
	p     peer.ID
	first bool
}

// rangeOf returns the length of the ranges of a content: all members take the same.
func rangeOf(size int64) int64 {
	step := int64(minRange)
	for step < maxRange && step*2 <= size/128 {
		step *= 2
	}
	return step
}

// Join begins to share a content, or returns nil when it is not to be: it is too small
// or too large, shared already, or the service was closed. Nothing is asked for before
// Open. The share has the values of ctx but not its end; the caller calls Leave.
func (s *Service) Join(ctx context.Context, c Content) *Share {
	if c.Size < MinSize || c.Size > maxSize {
		return nil
	}
	step := rangeOf(c.Size)
	sh := &Share{
		s: s, content: c, step: step, count: int((c.Size + step - 1) / step),
		wake: make(chan struct{}, 1), met: make(chan struct{}), left: make(chan struct{}), changed: make(chan struct{}),
		members: make(map[peer.ID]*member), linked: make(map[peer.ID]bool), claims: make(map[int]claim),
	}
	sh.mine, sh.got = newMarks(sh.count), newMarks(sh.count)
	first := s.peers()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.shares[c.Sum] != nil {
		return nil
	}
	s.shares[c.Sum] = sh
	sh.asked, sh.company = len(first), len(first) > 0
	for _, p := range first {
		sh.linked[p] = false
		sh.greet = append(sh.greet, greeting{p, true})
	}
	if len(first) == 0 {
		close(sh.met)
	}
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	sh.cancel = cancel
	sh.running.Go(func() { sh.run(life) })
	sh.poke()
	return sh
}

// Met is closed when all who were connected at the beginning have said whether they
// fetch the content.
func (sh *Share) Met() <-chan struct{} { return sh.met }

// Crowded tells whether somebody else fetches the content.
func (sh *Share) Crowded() bool {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	return sh.crowded(time.Now())
}

// Company tells whether others were connected at the beginning who may come to fetch
// the content, too: until then, and for a while, the Reader takes ranges.
func (sh *Share) Company() bool { return sh.company }

// Parts returns what came from whom.
func (sh *Share) Parts() []Part {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	return append([]Part(nil), sh.parts...)
}

// Came returns how many bytes the Reader has given that came from the origin and from
// members.
func (sh *Share) Came() (origin, peers int64) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	return sh.origin, sh.peers
}

// Leave ends the share, after its Reader was closed. whole says that all of the content
// is stored, verified, and for everybody: Config.Stored is asked for it.
func (sh *Share) Leave(whole bool) {
	sh.cancel()
	sh.running.Wait()
	sh.s.mu.Lock()
	delete(sh.s.shares, sh.content.Sum)
	if whole {
		sh.s.remember(sh.content.Sum)
	}
	sh.s.mu.Unlock()
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.whole = whole
	close(sh.left)
	sh.tell()
}

// run begins what the share needs, until it is left.
func (sh *Share) run(ctx context.Context) {
	tick := time.NewTicker(planTime)
	defer tick.Stop()
	for {
		select {
		case <-sh.wake:
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		sh.mu.Lock()
		greet := sh.greet
		sh.greet = nil
		sh.mu.Unlock()
		for _, g := range greet {
			if !sh.s.spawn(func() { sh.link(ctx, g) }) && g.first {
				sh.answered()
			}
		}
		sh.plan()
	}
}

// spawn runs f in a goroutine that Close waits for; false after that.
func (s *Service) spawn(f func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.wg.Go(f)
	}
	return !s.closed
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// poke has run look at what there is to do.
func (sh *Share) poke() {
	select {
	case sh.wake <- struct{}{}:
	default: // it will
	}
}

// tell wakes who waits for a change; sh.mu is held.
func (sh *Share) tell() {
	close(sh.changed)
	sh.changed = make(chan struct{})
	sh.poke()
}

// meet has a peer greeted that is not yet.
func (sh *Share) meet(p peer.ID) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if _, ok := sh.linked[p]; ok {
		sh.linked[p] = true
	} else if len(sh.linked) < 2*maxMembers {
		sh.linked[p] = false
		sh.greet = append(sh.greet, greeting{p: p})
		sh.poke()
	}
}

// answered counts an answer of those who were asked at the beginning.
func (sh *Share) answered() {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.asked--; sh.asked == 0 {
		close(sh.met)
	}
}

// errEnded says that a share was left.
var errEnded = errors.New("crew: the share was left")
