package peers

import (
	"context"
	"sync"
	"time"

	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/hypha-node/hypha-node/blockstore"
)

// relayWindow is how many bytes of blocks are kept for other receivers while a
// file comes in. All receivers follow the file in the same order and wait for
// each other, so none is further ahead than the window of a copy, 32 MiB.
const relayWindow = 32 << 20

// maxHoldings is how many files that came are still served to others.
const maxHoldings = 256

// holding is a file that comes in, as other receivers of it see it. They get
// what came in this very transfer and nothing else: what was here before may be
// another job's, and the sender may only guess its name.
type holding struct {
	root    cid.Cid
	allowed map[peer.ID]bool
	store   blockstore.Store
	ended   chan struct{}

	mu      sync.Mutex
	came    map[shortHash]struct{} // in this transfer
	kept    map[shortHash][]byte   // of them, while the store can't be asked
	order   []shortHash            // of kept, oldest first
	bytes   int64                  // in kept
	waiting map[shortHash][]waiter
	whole   bool // everything is in the store
	done    bool // nothing comes any more
}

// waiter is a want that is answered when its block comes.
type waiter struct {
	a *asker
	n uint32
	c cid.Cid
}

// addHolding lets others ask for what comes of a file.
func (s *shares) addHolding(root cid.Cid, others []peer.ID) *holding {
	h := &holding{
		root: root, store: s.store, ended: make(chan struct{}), allowed: make(map[peer.ID]bool),
		came: make(map[shortHash]struct{}), kept: make(map[shortHash][]byte), waiting: make(map[shortHash][]waiter),
	}
	for _, p := range others {
		h.allowed[p] = true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.circles[root.KeyString()] = append(s.circles[root.KeyString()], h)
	s.announce()
	return h
}

// finish says that nothing more comes of a file. When whole, it is in the store
// and is served for some time yet; else nothing of it is served any more.
func (s *shares) finish(h *holding, whole bool) {
	h.finish(whole)
	s.mu.Lock()
	defer s.mu.Unlock()
	if !whole || s.closed || len(s.timers) >= maxHoldings {
		s.drop(h)
		return
	}
	s.timers[h] = time.AfterFunc(s.linger, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if _, ok := s.timers[h]; ok {
			s.drop(h)
		}
	})
}

// drop serves a file no more; s.mu is held.
func (s *shares) drop(h *holding) {
	delete(s.timers, h)
	key := h.root.KeyString()
	s.circles[key] = without(s.circles[key], h)
	if len(s.circles[key]) == 0 {
		delete(s.circles, key)
	}
	close(h.ended)
}

// close serves nothing that came any more.
func (s *shares) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for h, t := range s.timers {
		t.Stop()
		s.drop(h)
	}
}

// arrived takes note of a block that was verified. Those that others may ask for,
// or have asked for already, are kept for a while.
func (h *holding) arrived(c cid.Cid, data []byte, mine bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	key := shortOf(c)
	h.came[key] = struct{}{}
	waiters := h.waiting[key]
	delete(h.waiting, key)
	if _, ok := h.kept[key]; !ok && (mine || len(waiters) > 0) {
		h.kept[key] = data
		h.order = append(h.order, key)
		h.bytes += int64(len(data))
	}
	for h.bytes > relayWindow {
		oldest := h.order[0]
		h.bytes -= int64(len(h.kept[oldest]))
		delete(h.kept, oldest)
		h.order = h.order[1:]
	}
	for _, w := range waiters {
		w.a.push(w.n, w.c, answerBlock)
	}
}

// finish answers those who wait: no.
func (h *holding) finish(whole bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.whole, h.done = whole, true
	h.kept, h.order, h.bytes = nil, nil, 0
	for _, waiters := range h.waiting {
		for _, w := range waiters {
			w.a.push(w.n, w.c, answerNo)
		}
	}
	h.waiting = nil
}

func (h *holding) find(_ context.Context, c cid.Cid, a *asker, n uint32) (answer, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	key := shortOf(c)
	_, came := h.came[key]
	_, kept := h.kept[key]
	switch {
	case kept, came && h.whole:
		return answerBlock, nil
	case came, h.done:
		return answerNo, nil
	}
	h.waiting[key] = append(h.waiting[key], waiter{a, n, c})
	return answerLater, nil
}

func (h *holding) view(ctx context.Context, c cid.Cid, f func([]byte) error) error {
	h.mu.Lock()
	key := shortOf(c)
	data, ok := h.kept[key]
	_, came := h.came[key]
	whole := h.whole
	h.mu.Unlock()
	switch {
	case ok:
		return f(data)
	case came && whole:
		return h.store.View(ctx, c, f)
	}
	return ipld.ErrNotFound{Cid: c}
}

// forget removes the wants of a stream that has ended.
func (h *holding) forget(a *asker) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for key, waiters := range h.waiting {
		kept := waiters[:0]
		for _, w := range waiters {
			if w.a != a {
				kept = append(kept, w)
			}
		}
		if len(kept) == 0 {
			delete(h.waiting, key)
		} else {
			h.waiting[key] = kept
		}
	}
}

// slot is free: nobody passes on what goes out from here.
func (h *holding) slot(context.Context) (done func(), err error) { return func() {}, nil }

// pace is none: the sender's receivers pass on what it would have to send.
func (h *holding) pace() func(ctx context.Context, n int) error { return nil }

func (h *holding) sent(int64) {}

func (h *holding) over() <-chan struct{} { return h.ended }
