package peers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"

	"github.com/hypha-node/hypha-node/dag"
)

// maxAgain is how often a sender is asked anew that ended a stream.
const maxAgain = 3

// maxMoved is how many receivers may be lost before the sender is asked for a
// block.
const maxMoved = 2

// circle gets the blocks of one file from its sender and from the others who
// receive it. Each block belongs to one receiver, who asks the sender for it; the
// others ask that one. So the sender sends each block about once:
//
//  1. A block's owner is the receiver at the block's place: those that one node links
//     to belong to one after the other, so that whatever part of the file is under
//     way, all have the same share of it to pass on. Where the place is not known it
//     is the receiver with the highest hash of block and id. All who compute it get
//     the same.
//  2. Whoever does not answer, is silent for too long, gives nothing for longer yet
//     though it says that it waits for it, or sends something else is not asked for a
//     while: what it owns belongs to the receiver with the next hash. Who has a block
//     no more says so, and the sender is asked.
//  3. The sender has everything; when it fails, the transfer has failed.
type circle struct {
	s      *Service
	root   cid.Cid
	from   peer.ID
	hello  hello
	others []seeded // who get it as well, this node among them
	hold   *holding // nil when there are none
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup

	mu     sync.Mutex
	start  func(l *line)
	lines  map[peer.ID]*line
	banned map[peer.ID]*sentence
	wants  map[string]*want
	places map[shortHash]int32 // of blocks among those that their node links to
	top    blocks.Block        // the root, once it came
	again  int                 // how often the sender was asked anew
	err    error
}

// want is a block that is waited for.
type want struct {
	c      cid.Cid
	at     peer.ID
	moved  int // how often whom it was asked of was lost
	groups []*group
}

// group is what one call of GetBlocks waits for.
type group struct {
	ch     chan blocks.Block
	left   int
	closed bool
}

var (
	_ dag.Fetcher = (*circle)(nil)
	_ dag.Guide   = (*circle)(nil)
)

// newCircle begins to get the file of an offer; close must be called.
func (s *Service) newCircle(ctx context.Context, from peer.ID, r *received) *circle {
	ctx, cancel := context.WithCancelCause(ctx)
	w := &circle{
		s: s, root: r.File.Root, from: from, cancel: cancel,
		hello:  hello{V: version, Root: r.File.Root.String(), Transfer: r.Transfer},
		lines:  make(map[peer.ID]*line),
		banned: make(map[peer.ID]*sentence),
		wants:  make(map[string]*want),
		places: make(map[shortHash]int32),
	}
	w.join(r.others)
	w.start = func(l *line) {
		lctx, stop := context.WithCancelCause(ctx)
		l.stop = stop
		w.wg.Go(func() {
			defer stop(nil)
			err := l.run(lctx, s, w.hello, func(c cid.Cid, data []byte) { w.answered(l, c, data) })
			if lctx.Err() != nil {
				err = context.Cause(lctx)
			}
			w.lost(l, err)
		})
	}
	w.wg.Go(func() { w.watch(ctx) })
	return w
}

// join begins to share with the other receivers.
func (w *circle) join(others []peer.AddrInfo) {
	var rest []peer.ID
	if w.others, rest = w.s.circle(w.from, others); len(rest) == 0 {
		return
	}
	for _, o := range others {
		if o.ID != w.s.self {
			w.s.cfg.Host.Peerstore().AddAddrs(o.ID, o.Addrs, peerstore.TempAddrTTL)
		}
	}
	w.hold = w.s.shares.addHolding(w.root, rest)
}

// close ends the circle and waits for all that it started. Others are served on
// when everything came.
func (w *circle) close(whole bool) {
	w.cancel(nil)
	w.wg.Wait()
	if w.hold != nil {
		w.s.shares.finish(w.hold, whole)
	}
}

// GetBlocks asks for blocks, each once.
func (w *circle) GetBlocks(_ context.Context, cs []cid.Cid) (<-chan blocks.Block, error) {
	g := &group{ch: make(chan blocks.Block, len(cs)), left: len(cs)}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return nil, w.err
	}
	for _, c := range cs {
		if w.top != nil && c.Equals(w.root) {
			g.give(w.top)
			continue
		}
		t := w.wants[c.KeyString()]
		if t == nil {
			t = &want{c: c}
			w.wants[c.KeyString()] = t
			w.route(t, w.owner(c, time.Now()))
		}
		t.groups = append(t.groups, g)
	}
	return g.ch, nil
}

// give hands over one block; the channel has room for all.
func (g *group) give(b blocks.Block) {
	if g.closed {
		return
	}
	g.ch <- b
	if g.left--; g.left == 0 {
		g.end()
	}
}

func (g *group) end() {
	if !g.closed {
		g.closed = true
		close(g.ch)
	}
}

// route asks a peer for a block; w.mu is held.
func (w *circle) route(t *want, to peer.ID) {
	t.at = to
	l := w.lines[to]
	if l == nil {
		l = newLine(to, nil)
		w.lines[to] = l
		w.start(l)
	}
	l.ask(t.c)
}

// answered takes in a block, or a no.
func (w *circle) answered(l *line, c cid.Cid, data []byte) {
	if data == nil {
		w.missing(l, c)
		return
	}
	blk, err := blocks.NewBlockWithCid(data, c)
	if err != nil {
		l.stop(err)
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	t := w.wants[c.KeyString()]
	if t == nil {
		return // it came from elsewhere meanwhile
	}
	delete(w.wants, c.KeyString())
	if w.hold != nil {
		w.hold.arrived(c, data, w.mine(c))
	}
	if c.Equals(w.root) {
		w.top = blk
	}
	for _, g := range t.groups {
		g.give(blk)
	}
}

// missing asks the sender for what another receiver does not have.
func (w *circle) missing(l *line, c cid.Cid) {
	w.mu.Lock()
	defer w.mu.Unlock()
	t := w.wants[c.KeyString()]
	switch {
	case t == nil || t.at != l.to:
	case l.to == w.from:
		w.fail(&Refusal{Code: CodeMismatch, Detail: fmt.Sprintf("the sender does not have block %s", c)})
	default:
		w.route(t, w.from)
	}
}

// lost asks the sender for all that was asked of a peer that can't be asked any
// more.
func (w *circle) lost(l *line, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.lines[l.to] != l {
		return
	}
	delete(w.lines, l.to)
	err = gone(err)
	again := errors.Is(err, ErrGone) && w.again < maxAgain && w.err == nil
	switch {
	case l.to == w.from && again: // an earlier attempt of its may have ended, and this stream with it
		w.again++
	case l.to == w.from:
		w.fail(fmt.Errorf("blocks from %s: %w", l.to, err))
		return
	default:
		w.punish(l.to)
		w.s.log.Debug("another receiver fails", slog.String("peer", l.to.String()), slog.Any("error", err))
	}
	if w.err != nil {
		return
	}
	for _, t := range w.wants {
		if t.at != l.to {
			continue
		}
		to := w.from
		if t.moved++; t.moved < maxMoved {
			to = w.owner(t.c, time.Now())
		}
		w.route(t, to)
	}
}

// fail ends the circle; w.mu is held.
func (w *circle) fail(err error) {
	if w.err != nil {
		return
	}
	w.err = err
	for _, t := range w.wants {
		for _, g := range t.groups {
			g.end()
		}
	}
	w.cancel(err)
}

// failure returns why the circle has ended.
func (w *circle) failure() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// watch ends the lines to peers that are silent.
func (w *circle) watch(ctx context.Context) {
	const looks = 8 // per patience
	tick := time.NewTicker(max(min(w.s.cfg.Patience, w.s.cfg.Stall)/looks, time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			w.look(now)
		case <-ctx.Done():
			w.mu.Lock()
			w.fail(context.Cause(ctx))
			w.mu.Unlock()
			return
		}
	}
}

func (w *circle) look(now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for id, l := range w.lines {
		silent, idle := l.idle(now)
		limit := w.s.cfg.Patience
		if id == w.from {
			limit, idle = w.s.cfg.Stall, 0
		}
		if silent >= limit || idle >= w.s.cfg.Stall {
			l.stop(ErrStalled)
		}
	}
}
