package swarm

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/hypha-node/hypha-node/internal/sha256pair"
)

// ErrClosed says that a Fetch or its Service was closed.
var ErrClosed = errors.New("fetch is closed")

// Fallback gets blocks from elsewhere, as a Session of package bitswap does. Blocks
// are verified; the channel is closed when all have come, or early.
type Fallback func(ctx context.Context, cs []cid.Cid) (<-chan blocks.Block, error)

// Options say how a Fetch goes on where nothing comes.
type Options struct {
	// Fallback is asked for what no peer of the protocol has; required.
	Fallback Fallback
	// Patience is how long a source may be silent before what only it has is asked
	// of Fallback, too; 0 means 10 s.
	Patience time.Duration
	// Providers looks for peers that have the root and are not connected, and for those
	// who are; the channel is closed when it has ended, or ctx has. It is called when
	// nobody who is connected has anything, and when those who have will take long. Nil:
	// nobody is looked for.
	Providers func(ctx context.Context) <-chan peer.AddrInfo
	// Locate looks for other addresses of a peer that was not reached; nil: nobody does.
	Locate func(ctx context.Context, p peer.ID) (peer.AddrInfo, error)
	// Peek says that what comes is not kept: a look at some nodes. Nobody is told of
	// the fetch, or served from it.
	Peek bool
}

// Fetch gets the blocks of one DAG, and serves those that it got while it runs. It
// is safe for concurrent use.
type Fetch struct {
	s       *Service
	root    cid.Cid
	rootKey string
	o       Options
	wake    chan struct{} // room for one: plan again
	cancel  context.CancelFunc
	work    sync.WaitGroup
	begun   time.Time
	spared  atomic.Int64 // bytes that did not come over the wire, since blocks were packed
	mu      sync.Mutex
	closed  bool
	err     error // why the fall-back gave up
	wants   map[string]*want
	order   []*want // in the order in which they were asked for; may hold settled ones
	tables  map[string]*table
	places  map[string]*place
	gifts   map[string][]byte
	sources map[peer.ID]*source
	refused map[peer.ID]time.Time // who had nothing, or is of no use, and when
	queue   []peer.AddrInfo       // who is to be asked
	lost    []peer.AddrInfo       // who had something, and is to be asked again
	tried   time.Time             // when others were looked for in the place of those who are asked
	typical int                   // bytes of a block, as the last ones had
	shared  bool                  // others fetch, too, and have been found
	fed     bool                  // somebody who has all gives, or will
	grace   time.Duration         // for which peers may not have said what they have
	gave    time.Time             // when a source gave a block last

	slow      time.Duration // of work is so much that others are looked for
	searching bool          // Options.Providers looks for peers
	searched  time.Time     // when it last began to; zero: never
}

// want is one block that is waited for.
type want struct {
	c      cid.Cid
	key    string
	at     time.Time
	calls  []*call
	src    *source   // that was asked, or nil
	number uint32    // at src
	listed time.Time // when src was asked
	expect time.Duration
	held   bool      // src waits for others to pass it on
	fallen time.Time // when the fall-back was asked; zero: not
	batch  *batch
	done   bool
}

// call is one GetBlocks.
type call struct {
	out  chan blocks.Block // has room for all
	left int
	stop func() bool // has its context not watched any more
}

// batch is what the fall-back is asked for at a time.
type batch struct {
	left   int
	cancel context.CancelFunc
}

// Fetch begins to get a DAG. Those connected peers that speak the protocol are asked
// for it, and those that will connect. The caller must call Close.
func (s *Service) Fetch(ctx context.Context, root cid.Cid, o Options) *Fetch {
	if o.Patience <= 0 {
		o.Patience = 10 * time.Second
	}
	ctx, cancel := context.WithCancel(ctx)
	f := &Fetch{
		s: s, root: root, rootKey: keyOf(root), o: o, wake: make(chan struct{}, 1), cancel: cancel,
		wants: make(map[string]*want), tables: make(map[string]*table), places: make(map[string]*place), gifts: make(map[string][]byte),
		sources: make(map[peer.ID]*source), refused: make(map[peer.ID]time.Time), typical: 256 << 10, grace: askGrace, begun: time.Now(), slow: searchSlow,
	}
	if !o.Peek {
		s.begin(ctx, f)
	}
	for _, p := range s.cfg.Host.Network().Peers() {
		if s.speaks(p) {
			f.consider(peer.AddrInfo{ID: p})
		}
	}
	f.work.Go(func() { f.run(ctx) })
	return f
}

// begin lets others know of a fetch.
func (s *Service) begin(ctx context.Context, f *Fetch) {
	s.mu.Lock()
	s.fetches[f.rootKey] = append(s.fetches[f.rootKey], f)
	sp := s.spreads[f.rootKey]
	s.mu.Unlock()
	if sp == nil {
		return
	}
	s.changed(ctx, f.root)
	sp.mu.Lock()
	defer sp.mu.Unlock()
	for a := range sp.askers { // who asked for it before it was here
		if !a.peek {
			f.queue = append(f.queue, a.info)
		}
	}
}

// Close ends the fetch and what runs for it. What it got is served from the store
// from now on, if it is there.
func (f *Fetch) Close() {
	f.cancel()
	f.mu.Lock()
	f.closed = true
	f.fail(ErrClosed)
	for _, src := range f.sources {
		src.end()
	}
	f.mu.Unlock()
	f.work.Wait()
	if f.o.Peek {
		return
	}
	f.s.mu.Lock()
	fs := slices.DeleteFunc(f.s.fetches[f.rootKey], func(other *Fetch) bool { return other == f })
	if f.s.fetches[f.rootKey] = fs; len(fs) == 0 {
		delete(f.s.fetches, f.rootKey)
	}
	f.s.mu.Unlock()
	f.s.changed(context.Background(), f.root)
}

// Err returns why the fall-back gave up, or nil.
func (f *Fetch) Err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

// fail ends all calls; f.mu is held.
func (f *Fetch) fail(err error) {
	if f.err == nil && !errors.Is(err, ErrClosed) {
		f.err = err
	}
	for key, w := range f.wants {
		w.done = true
		for _, c := range w.calls {
			if c.left > 0 {
				c.end()
			}
		}
		f.unlist(w)
		delete(f.wants, key)
	}
	f.order = nil
}

// consider has a peer asked for the root, unless it was.
func (f *Fetch) consider(info peer.AddrInfo) {
	if info.ID == f.s.cfg.Host.ID() || f.s.isBanned(info.ID) {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed || f.sources[info.ID] != nil || len(f.queue) > maxStreams ||
		slices.ContainsFunc(f.queue, func(other peer.AddrInfo) bool { return other.ID == info.ID }) {
		return
	}
	if at, ok := f.refused[info.ID]; ok && time.Since(at) < againAfter {
		f.retry(info)
		return
	}
	f.queue = append(f.queue, info)
	f.poke()
}

// retry has a peer asked again after a while; f.mu is held.
func (f *Fetch) retry(info peer.AddrInfo) {
	if len(f.lost) < maxHeard && !slices.ContainsFunc(f.lost, func(other peer.AddrInfo) bool { return other.ID == info.ID }) {
		f.lost = append(f.lost, info)
	}
}

// begins has a peer asked that asks for the root itself: though it had nothing a
// moment ago, it has begun to get it. Those who begin at the same time ask each other
// too early.
func (f *Fetch) begins(info peer.AddrInfo) {
	f.mu.Lock()
	if src := f.sources[info.ID]; src != nil {
		src.again = true // its answer may be from before
	}
	delete(f.refused, info.ID)
	f.mu.Unlock()
	f.consider(info)
}

// againAfter is how long a peer that had nothing is not asked once more.
const againAfter = time.Second

func (f *Fetch) poke() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// GetBlocks returns a channel with the blocks of cs, each once and in no order. It is
// closed when all have come, or early when ctx or the fetch ends, or when nobody has
// them: Err tells. With nobody to ask, or to look for, it is the fall-back's, and so is
// the error.
func (f *Fetch) GetBlocks(ctx context.Context, cs []cid.Cid) (<-chan blocks.Block, error) {
	f.mu.Lock()
	if f.closed {
		f.mu.Unlock()
		return nil, ErrClosed
	}
	if len(f.sources) == 0 && len(f.queue) == 0 && !f.looks() || len(cs) == 0 {
		f.mu.Unlock()
		return f.o.Fallback(ctx, cs)
	}
	defer f.mu.Unlock()
	now := time.Now()
	c := &call{out: make(chan blocks.Block, len(cs)), left: len(cs)}
	for _, id := range cs {
		key := keyOf(id)
		if data, ok := f.gifts[key]; ok {
			delete(f.gifts, key)
			f.keep(key, data)
			c.put(newBlock(id, data))
			continue
		}
		w := f.wants[key]
		if w == nil {
			w = &want{c: id, key: key, at: now}
			f.wants[key] = w
			f.order = append(f.order, w)
		}
		w.calls = append(w.calls, c)
	}
	if c.left > 0 {
		c.stop = context.AfterFunc(ctx, func() { f.drop(c) })
	}
	f.poke()
	return c.out, nil
}

// looks tells whether others are being looked for, or will be at once; f.mu is held.
func (f *Fetch) looks() bool { return f.searching || f.o.Providers != nil && f.searched.IsZero() }

// put hands a block over; the fetch's lock is held.
func (c *call) put(blk blocks.Block) {
	if c.left == 0 {
		return
	}
	c.out <- blk // has room
	if c.left--; c.left == 0 {
		c.end()
	}
}

// end says that nothing more comes; the fetch's lock is held.
func (c *call) end() {
	c.left = 0
	close(c.out)
	if c.stop != nil {
		c.stop()
	}
}

// drop ends a call whose context has ended, and what only it waits for.
func (f *Fetch) drop(c *call) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if c.left == 0 {
		return
	}
	c.end()
	for key, w := range f.wants {
		if w.calls = slices.DeleteFunc(w.calls, func(other *call) bool { return other == c }); len(w.calls) == 0 {
			f.settle(w)
			delete(f.wants, key)
		}
	}
	f.poke()
}

// settle ends a want wherever it was asked for; f.mu is held.
func (f *Fetch) settle(w *want) {
	w.done = true
	f.unlist(w)
	if b := w.batch; b != nil {
		if b.left--; b.left == 0 {
			b.cancel()
		}
	}
}

// unlist takes a want off the source that was asked; f.mu is held.
func (f *Fetch) unlist(w *want) {
	if w.src != nil {
		w.src.drop(w)
		w.src = nil
	}
}

// came takes in a verified block, and tells whether it was wanted; src is nil for one
// from the fall-back.
func (f *Fetch) came(c cid.Cid, data []byte, step sha256pair.Step, src *source) bool {
	key := keyOf(c)
	f.mu.Lock()
	w := f.wants[key]
	if w == nil {
		f.mu.Unlock()
		return false
	}
	delete(f.wants, key)
	if src != nil {
		f.gave = time.Now()
		src.gave(w, len(data), f.gave)
		f.s.received.add(len(data))
	}
	f.settle(w)
	if c.Type() == cid.Raw || len(data) > 64<<10 {
		f.typical = max(len(data), f.typical/2)
	}
	f.keep(key, data)
	blk := newStepped(w.c, data, step)
	for _, c := range w.calls {
		c.put(blk)
	}
	f.poke()
	f.mu.Unlock()
	f.tellOthers()
	return true
}
