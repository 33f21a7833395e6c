package bitswap

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ipfs/boxo/bitswap/client/traceability"
	"github.com/ipfs/boxo/exchange"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
)

// Session gets the blocks of one DAG. It remembers which peers had some of them
// and asks those first. The first block that it is asked for is taken for the
// DAG's root: providers announce roots only, so a search for any block of the
// DAG also looks for those who have the root. It is safe for concurrent use and
// ends with the context that it was made with.
type Session struct {
	ex    *Exchange
	done  <-chan struct{}                               // the session has ended
	fail  context.CancelCauseFunc                       // ends it
	cause func() error                                  // why it has ended
	open  func() (exchange.Fetcher, context.CancelFunc) // makes a session of boxo's
	root  atomic.Pointer[cid.Cid]

	mu      sync.Mutex
	inner   exchange.Fetcher
	stop    context.CancelFunc   // of inner
	stopOld context.CancelFunc   // of what was inner before; nil if nothing was
	renewed chan struct{}        // closed when inner was replaced
	waiting map[cid.Cid]int      // calls that wait for each block
	came    time.Time            // when a block came last, or since when one is waited for
	had     map[peer.ID]struct{} // peers that sent a block that was waited for
}

// Session begins a session that lasts until ctx ends. It never gives up: the
// caller watches what comes, and may call Refresh.
func (e *Exchange) Session(ctx context.Context) *Session { return e.WatchedSession(ctx, Watch{}) }

// WatchedSession begins a session that lasts until ctx ends or it gives up.
func (e *Exchange) WatchedSession(ctx context.Context, w Watch) *Session {
	ctx, fail := context.WithCancelCause(ctx)
	s := &Session{
		ex: e, done: ctx.Done(), fail: fail, cause: func() error { return context.Cause(ctx) },
		waiting: make(map[cid.Cid]int), renewed: make(chan struct{}), had: make(map[peer.ID]struct{}),
	}
	s.open = func() (exchange.Fetcher, context.CancelFunc) {
		inner, cancel := context.WithCancel(context.WithValue(ctx, sessionKey{}, s))
		return e.bitswap.NewSession(inner), cancel
	}
	s.inner, s.stop = s.open()
	if w != (Watch{}) {
		if err := e.spawn(func() { s.watch(ctx, w) }); err != nil {
			fail(err)
		}
	}
	return s
}

// Err returns nil while the session lasts, and then why it ended: an error that
// wraps ErrStalled and names a missing CID, or the context's.
func (s *Session) Err() error {
	select {
	case <-s.done:
		return s.cause()
	default:
		return nil
	}
}

// Get returns one block. It waits until somebody has it, the session gives up or
// ctx ends. ErrNoPeers when there is nobody to ask, ErrClosed after Close.
func (s *Session) Get(ctx context.Context, c cid.Cid) (blocks.Block, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	got, err := s.GetBlocks(ctx, []cid.Cid{c})
	if err != nil {
		return nil, err
	}
	if blk, ok := <-got; ok {
		return blk, nil
	}
	for _, err := range []error{ctx.Err(), s.Err(), ErrClosed} {
		if errors.Is(err, ErrStalled) {
			return nil, err // names a block itself
		}
		if err != nil {
			return nil, fmt.Errorf("block %s: %w", c, err)
		}
	}
	return nil, nil // not reached: the last is an error
}

// GetBlocks returns a channel with the blocks of cs, each once and in no order.
// The channel is closed when all have come, or early when ctx or the session
// ends: a caller that got less looks at its ctx and at Err. ErrNoPeers when there is
// nobody to ask. Of the blocks of one call at most 768 are asked for at a time.
func (s *Session) GetBlocks(ctx context.Context, cs []cid.Cid) (<-chan blocks.Block, error) {
	out := make(chan blocks.Block)
	if len(cs) == 0 {
		close(out)
		return out, nil
	}
	s.root.CompareAndSwap(nil, &cs[0])
	local, remote := splitEmpty(cs)
	if len(remote) > 0 {
		if err := s.ex.reachable(ctx); err != nil {
			return nil, fmt.Errorf("block %s: %w", remote[0], err)
		}
	}
	err := s.ex.spawn(func() {
		defer close(out)
		for _, blk := range local {
			if !s.send(ctx, out, blk) {
				return
			}
		}
		for batch := range slices.Chunk(remote, wantBatch) {
			if !s.forward(ctx, batch, out) {
				return
			}
		}
	})
	return out, err
}

// forward gets the blocks of cs into out, across renewals of the inner session;
// false when ctx or the session has ended.
func (s *Session) forward(ctx context.Context, cs []cid.Cid, out chan<- blocks.Block) bool {
	left := make(map[cid.Cid]struct{}, len(cs))
	for _, c := range cs {
		left[c] = struct{}{}
	}
	s.await(left, 1)
	defer func() { s.await(left, -1) }()
	// The wants on the old inner session end after those on the new one began,
	// so that a block that comes just then finds somebody who waits for it.
	endOld := func() {}
	defer func() { endOld() }()
	for len(left) > 0 {
		s.mu.Lock()
		inner, renewed := s.inner, s.renewed
		s.mu.Unlock()
		ictx, end := context.WithCancel(ctx)
		in, err := inner.GetBlocks(ictx, slices.Collect(maps.Keys(left)))
		endOld()
		endOld = end
		if err != nil || !s.drain(ctx, in, renewed, left, out) {
			return false
		}
	}
	return true
}

// drain takes blocks from one inner session until nothing is left or the inner
// session was replaced; false when ctx or the session has ended.
func (s *Session) drain(ctx context.Context, in <-chan blocks.Block, renewed <-chan struct{}, left map[cid.Cid]struct{}, out chan<- blocks.Block) bool {
	for len(left) > 0 {
		select {
		case blk, ok := <-in:
			if !ok {
				select {
				case <-renewed:
					return true
				default:
					return false
				}
			}
			if _, wanted := left[blk.Cid()]; !wanted {
				continue
			}
			delete(left, blk.Cid())
			if !s.send(ctx, out, s.arrived(blk)) {
				return false
			}
		case <-renewed:
			return true
		case <-ctx.Done():
			return false
		case <-s.done:
			return false
		case <-s.ex.closing:
			return false
		}
	}
	return true
}

// await counts the calls that wait for each block.
func (s *Session) await(cs map[cid.Cid]struct{}, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.waiting) == 0 {
		s.came = time.Now()
	}
	for c := range cs {
		if s.waiting[c] += n; s.waiting[c] == 0 {
			delete(s.waiting, c)
		}
	}
}

// arrived notes that a block is waited for no longer, and who sent it.
func (s *Session) arrived(blk blocks.Block) blocks.Block {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := blk.Cid()
	if s.waiting[c]--; s.waiting[c] == 0 {
		delete(s.waiting, c)
	}
	s.came = time.Now()
	traced, ok := blk.(traceability.Block)
	if !ok {
		return blk
	}
	if traced.From != "" {
		s.had[traced.From] = struct{}{}
	}
	return traced.Block
}

// awaits tells whether a call waits for a block.
func (s *Session) awaits(c cid.Cid) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.waiting[c] > 0
}

// send hands one block over; false when ctx or the session has ended.
func (s *Session) send(ctx context.Context, out chan<- blocks.Block, blk blocks.Block) bool {
	select {
	case out <- blk:
		return true
	case <-ctx.Done():
	case <-s.done:
	case <-s.ex.closing:
	}
	return false
}

// Refresh is for a transfer that makes no progress while missing is waited for.
// It moves everything that the session waits for to a new session of bitswap,
// looks for providers of the block and of the root, connects to them, and asks
// everybody for the block without the usual inquiry. boxo's sessions need that: a
// peer that promises blocks and never sends them can hold one up for half a
// minute, and a want is lost for good when another session that wanted the same
// block ends at the same moment (it is cancelled at the peer, but counts as sent).
// It returns how many providers it reached, when the block has come or after ten
// seconds.
func (s *Session) Refresh(ctx context.Context, missing cid.Cid) int {
	ctx, cancel := context.WithTimeout(context.WithValue(ctx, sessionKey{}, s), lookupTimeout)
	defer cancel()
	s.ex.log.Warn("transfer stalls, looking for other providers", slog.String("cid", missing.String()))
	s.renew()
	s.ex.Notify() // it may have come into the store by another way
	providers := (finder{s.ex.lookup}).FindProvidersAsync(ctx, missing, maxProviders)
	found := 0
	again := time.NewTicker(askAgain)
	defer again.Stop()
	s.ex.askAll(ctx, missing)
	for s.awaits(missing) {
		select {
		case p, ok := <-providers:
			if !ok {
				providers = nil
				continue
			}
			s.ex.log.Info("provider found", slog.String("cid", missing.String()), slog.String("peer", p.ID.String()))
			found++
			s.ex.ask(ctx, p.ID, missing)
		case <-again.C:
			s.ex.askAll(ctx, missing)
		case <-s.done:
			return found
		case <-s.ex.closing:
			return found
		case <-ctx.Done():
			return found
		}
	}
	return found
}

// renew replaces the inner session; forwards move their wants to the new one.
// The old one ends at the next renewal, since a block that comes while wants move
// is dropped when no session is known to want it.
func (s *Session) renew() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopOld != nil {
		s.stopOld()
	}
	s.stopOld = s.stop
	s.inner, s.stop = s.open()
	close(s.renewed)
	s.renewed = make(chan struct{})
}

// splitEmpty answers the CIDs of zero bytes: a bitswap server takes a block of
// size zero for one that it does not have, so nobody would ever send them.
func splitEmpty(cs []cid.Cid) (local []blocks.Block, remote []cid.Cid) {
	if !slices.ContainsFunc(cs, isEmpty) {
		return nil, cs
	}
	for _, c := range cs {
		if blk, err := blocks.NewBlockWithCid(nil, c); err == nil && isEmpty(c) {
			local = append(local, blk)
		} else {
			remote = append(remote, c)
		}
	}
	return local, remote
}

// isEmpty tells whether a CID is that of zero bytes.
func isEmpty(c cid.Cid) bool {
	return string(c.Hash()) == emptyHash
}

// emptyHash is the sha2-256 multihash of zero bytes.
const emptyHash = "\x12\x20\xe3\xb0\xc4\x42\x98\xfc\x1c\x14\x9a\xfb\xf4\xc8\x99\x6f\xb9\x24\x27\xae\x41\xe4\x64\x9b\x93\x4c\xa4\x95\x99\x1b\x78\x52\xb8\x55"
