package peers

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/dag"
)

// Answers to a want.
type answer uint8

const (
	answerBlock answer = iota // here it is
	answerNo                  // it can't be had here
	answerLater               // it will come; on the wire, of no want: whoever says so waits for blocks itself
)

// maxNodes is how many inner nodes of a file are looked through for one want.
const maxNodes = 1 << 20

// share is what a peer may ask for on one stream.
type share interface {
	// find tells whether a block is to be had. For answerLater, a is told with n
	// when that is known.
	find(ctx context.Context, c cid.Cid, a *asker, n uint32) (answer, error)
	// view calls f with a block that find had; ipld.ErrNotFound when it is gone.
	view(ctx context.Context, c cid.Cid, f func(data []byte) error) error
	// slot waits until one more block may go out; done must be called when it has gone.
	slot(ctx context.Context) (done func(), err error)
	// pace returns what to call before bytes go out, nil for nothing.
	pace() func(ctx context.Context, n int) error
	// sent counts bytes that went out.
	sent(n int64)
	// over is closed when nothing is served any more.
	over() <-chan struct{}
}

// shares knows what is served to whom: files that are being sent, and files that
// come in, to the others who get them as well.
type shares struct {
	store  blockstore.Store
	linger time.Duration

	mu      sync.Mutex
	uploads map[string][]*upload  // by root
	circles map[string][]*holding // by root
	changed chan struct{}         // closed when something was added
	timers  map[*holding]*time.Timer
	closed  bool
}

func newShares(store blockstore.Store, linger time.Duration) *shares {
	return &shares{
		store: store, linger: linger, changed: make(chan struct{}),
		uploads: make(map[string][]*upload), circles: make(map[string][]*holding),
		timers: make(map[*holding]*time.Timer),
	}
}

// find returns what a peer may have of a root, and a channel that is closed when
// there may be more to find.
func (s *shares) find(root cid.Cid, p peer.ID, transfer string) (share, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found *upload
	for _, u := range s.uploads[root.KeyString()] {
		if u.to == p && (found == nil || u.transfer == transfer) {
			found = u
		}
	}
	if found != nil {
		return found, nil
	}
	for _, h := range s.circles[root.KeyString()] {
		if h.allowed[p] {
			return h, nil
		}
	}
	return nil, s.changed
}

// announce tells those who wait that something was added; s.mu is held.
func (s *shares) announce() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// upload is a file that is being sent to one peer.
type upload struct {
	root     cid.Cid
	to       peer.ID
	transfer string
	store    blockstore.Store
	blocks   *members
	moved    atomic.Int64 // bytes
	paced    func(ctx context.Context, n int) error
	progress func(n int64)
	ended    chan struct{}
}

// addUpload serves a file to a peer until the returned function is called.
func (s *shares) addUpload(u *upload) (end func()) {
	u.store, u.ended = s.store, make(chan struct{})
	key := u.root.KeyString()
	s.mu.Lock()
	defer s.mu.Unlock()
	if all := s.uploads[key]; len(all) > 0 {
		u.blocks = all[0].blocks
	} else {
		u.blocks = newMembers(s.store, u.root)
	}
	s.uploads[key] = append(s.uploads[key], u)
	s.announce()
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.uploads[key] = without(s.uploads[key], u)
		if len(s.uploads[key]) == 0 {
			delete(s.uploads, key)
		}
		close(u.ended)
	}
}

// without returns a list without one of its members.
func without[T comparable](list []T, x T) []T {
	kept := make([]T, 0, len(list))
	for _, v := range list {
		if v != x {
			kept = append(kept, v)
		}
	}
	return kept
}

func (u *upload) find(ctx context.Context, c cid.Cid, _ *asker, _ uint32) (answer, error) {
	ok, err := u.blocks.contains(ctx, c)
	if err != nil || !ok {
		return answerNo, err
	}
	return answerBlock, nil
}

func (u *upload) view(ctx context.Context, c cid.Cid, f func([]byte) error) error {
	return u.store.View(ctx, c, f)
}

// slot has few blocks of a file on their way at once: whoever has one whole passes it
// on, and nobody can pass on halves.
func (u *upload) slot(ctx context.Context) (done func(), err error) {
	select {
	case u.blocks.slots <- struct{}{}:
	case <-u.ended:
		return func() {}, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	free := sync.OnceFunc(func() { <-u.blocks.slots })
	timer := time.AfterFunc(slotTime, free)
	return func() {
		timer.Stop()
		free()
	}, nil
}

func (u *upload) pace() func(ctx context.Context, n int) error { return u.paced }

func (u *upload) sent(n int64) {
	u.moved.Add(n)
	if u.progress != nil {
		u.progress(n)
	}
}

func (u *upload) over() <-chan struct{} { return u.ended }

// uploadSlots is how many blocks of one file go out at once, to all its receivers
// together, as in bitswap/swarm; slotTime is how long a slow receiver keeps others
// waiting for one.
const (
	uploadSlots = 4
	slotTime    = 2 * time.Second
)

// members tells which blocks a stored file is made of. It reads inner nodes only
// as far as it has to: sixteen bytes for each block above those that were asked
// for.
type members struct {
	store blockstore.Store
	slots chan struct{} // one for each block that goes out

	mu    sync.Mutex
	known map[shortHash]struct{}
	nodes []cid.Cid // inner nodes whose links are not known yet
	read  int       // inner nodes that were read
}

// shortHash stands for a multihash: its last bytes. Nobody can find another
// block with the same ones.
type shortHash [16]byte

func shortOf(c cid.Cid) (s shortHash) {
	hash := c.Hash()
	copy(s[:], hash[max(0, len(hash)-len(s)):])
	return s
}

func newMembers(store blockstore.Store, root cid.Cid) *members {
	m := &members{store: store, slots: make(chan struct{}, uploadSlots), known: make(map[shortHash]struct{})}
	m.add(root)
	return m
}

// add notes a block; m.mu is held, or m is new.
func (m *members) add(c cid.Cid) {
	key := shortOf(c)
	if _, ok := m.known[key]; ok {
		return
	}
	m.known[key] = struct{}{}
	if c.Type() == cid.DagProtobuf {
		m.nodes = append(m.nodes, c)
	}
}

// contains tells whether a block is part of the file.
func (m *members) contains(ctx context.Context, c cid.Cid) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := shortOf(c)
	for {
		if _, ok := m.known[key]; ok {
			return true, nil
		}
		if len(m.nodes) == 0 || m.read >= maxNodes {
			return false, nil
		}
		node := m.nodes[0]
		err := m.store.View(ctx, node, func(data []byte) error {
			links, err := dag.Links(node, data)
			for _, l := range links {
				m.add(l)
			}
			return err
		})
		if err != nil && !ipld.IsNotFound(err) {
			return false, err
		}
		m.nodes = m.nodes[1:]
		m.read++
	}
}
