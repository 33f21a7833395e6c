package swarm

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	boxoblockstore "github.com/ipfs/boxo/blockstore"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/internal/dagpb"
)

const (
	askerSilence = 2 * time.Minute  // without a frame, after which a stream ends
	writeStall   = 30 * time.Second // in which an asker must take a piece
	smallFile    = 256 << 10        // bytes of a file that is sent along with its root
	smallLinks   = 64
	keptTables   = 4 // nodes whose links a stream remembers
)

// asker is a stream on which a peer asks for a root. What is not said to be of one
// goroutine is guarded by the spread.
type asker struct {
	s    *Service
	st   network.Stream
	p    peer.ID
	info peer.AddrInfo
	root cid.Cid
	peek bool // it keeps nothing
	pack packing
	sp   *spread
	wake chan struct{} // room for one

	queue   []item
	sent    map[string]struct{}
	shared  bool
	holding bool            // it waits for others to pass on what it waits for
	told    []peer.AddrInfo // of whom it will be told
	heard   int             // of how many it was told, or will be
	ended   bool            // nothing more is asked

	tables []*table          // of the reader
	knows  map[string]bitmap // of the writer: what it was told that is here
	state  int               // of the writer: the last one that it was told
	fed    bool              // of the writer: what it was told of that
}

func (a *asker) poke() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// handle serves one stream.
func (s *Service) handle(st network.Stream) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if !s.admit(st, cancel) {
		reset(st)
		return
	}
	defer s.dismiss(st)
	defer reset(st)
	if err := s.serve(ctx, cancel, st); err != nil && ctx.Err() == nil && !errors.Is(err, io.EOF) {
		s.log.Debug("serve a peer", slog.String("peer", st.Conn().RemotePeer().String()), slog.Any("error", err))
	}
}

// serve reads what is asked in one goroutine and answers in this one.
func (s *Service) serve(ctx context.Context, cancel context.CancelFunc, st network.Stream) error {
	in := bufio.NewReaderSize(st, 4<<10)
	if err := st.SetReadDeadline(time.Now().Add(askerSilence)); err != nil {
		return err
	}
	kind, body, buf, err := readFrame(in, nil)
	if err != nil {
		return err
	}
	if kind != askHello && kind != askPeek {
		return errFrame
	}
	root, err := parseHello(body)
	if err != nil {
		return err
	}
	a := &asker{s: s, st: st, p: st.Conn().RemotePeer(), root: root, peek: kind == askPeek, wake: make(chan struct{}, 1), sent: make(map[string]struct{}), knows: make(map[string]bitmap), state: -1}
	a.pack.policy = s.packs.policy
	if a.sp, err = s.attend(ctx, a); err != nil {
		return err
	}
	defer s.release(a)
	if f := s.fetching(keyOf(root)); f != nil && !a.peek && s.speaks(a.p) {
		f.begins(a.info)
	}
	var reading sync.WaitGroup
	defer reading.Wait()
	defer cancel()
	defer reset(st)
	reading.Go(func() {
		err := a.read(ctx, in, buf)
		if !errors.Is(err, io.EOF) {
			cancel() // before write can take it for a good end
		}
		a.sp.mu.Lock()
		a.ended = true
		a.sp.mu.Unlock()
		a.poke()
	})
	return a.write(ctx)
}

// attend finds or makes the spread of an asker's root.
func (s *Service) attend(ctx context.Context, a *asker) (*spread, error) {
	state, err := s.stateOf(ctx, a.root)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	key := keyOf(a.root)
	sp := s.spreads[key]
	if sp == nil {
		sp = &spread{askers: make(map[*asker]struct{}), given: make(map[string]gift)}
		s.spreads[key] = sp
	}
	sp.mu.Lock()
	sp.state = state
	sp.mu.Unlock()
	sp.join(a, peer.AddrInfo{ID: a.p, Addrs: s.cfg.Host.Peerstore().Addrs(a.p)})
	return sp, nil
}

// introduce has those who ask for the same know of a peer that has told its addresses.
func (s *Service) introduce(p peer.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	info := peer.AddrInfo{ID: p, Addrs: s.cfg.Host.Peerstore().Addrs(p)}
	for _, sp := range s.spreads {
		sp.introduce(info)
	}
}

// release forgets an asker.
func (s *Service) release(a *asker) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a.sp.leave(a) && s.spreads[keyOf(a.root)] == a.sp {
		delete(s.spreads, keyOf(a.root))
	}
}

// stateOf tells what is here of a root, as far as peers may have it.
func (s *Service) stateOf(ctx context.Context, root cid.Cid) (int, error) {
	if !s.served(ctx, root) {
		return stateNone, nil
	}
	if s.fetching(keyOf(root)) != nil {
		return statePart, nil
	}
	has, err := s.cfg.Store.Has(ctx, root)
	if err != nil || !has {
		return stateNone, err
	}
	return stateWhole, nil
}

// changed has those who ask for a root told what is here of it now.
func (s *Service) changed(ctx context.Context, root cid.Cid) {
	s.mu.Lock()
	sp := s.spreads[keyOf(root)]
	s.mu.Unlock()
	if sp == nil {
		return
	}
	state, err := s.stateOf(ctx, root)
	if err != nil {
		state = stateNone
	}
	sp.mu.Lock()
	sp.state = state
	sp.mu.Unlock()
	sp.wakeAll()
}

// read takes in what an asker sends until it ends its side.
func (a *asker) read(ctx context.Context, in io.Reader, buf []byte) error {
	for {
		if err := a.st.SetReadDeadline(time.Now().Add(askerSilence)); err != nil {
			return err
		}
		kind, body, grown, err := readFrame(in, buf)
		if err != nil {
			return err
		}
		buf = grown
		switch kind {
		case askWant:
			err = a.wanted(ctx, body)
		case askCancel:
			var runs []runOf
			if runs, err = parseCancel(body); err == nil {
				a.sp.cancel(a, runs)
			}
		case askMode:
			if len(body) != 1 {
				return fmt.Errorf("mode: %w", errFrame)
			}
			a.sp.mode(a, body[0] == 1)
		case askPacks:
			a.pack.wanted.Store(bytes.IndexByte(body, packZstd) >= 0)
		default: // of a later version
		}
		if err != nil {
			return err
		}
	}
}

// wanted queues what a want frame asks for.
func (a *asker) wanted(ctx context.Context, body []byte) error {
	number, spans, err := parseWant(body)
	if err != nil {
		return err
	}
	for _, sp := range spans {
		var items []item
		if sp.n == 0 {
			if sp.c.Equals(a.root) && !a.peek {
				items = a.gifts(ctx)
			}
			items = append(items, item{number: number, c: sp.c, key: keyOf(sp.c), first: sp.c.Equals(a.root)})
			number++
		} else {
			links, err := a.links(ctx, sp.c)
			if err != nil {
				return err
			}
			for i := sp.from; i < sp.from+sp.n; i++ {
				it := item{number: number}
				if i < len(links) {
					it.c, it.key = links[i], keyOf(links[i])
				}
				items = append(items, it)
				number++
			}
		}
		if !a.sp.push(a, items...) {
			return fmt.Errorf("more than %d wants at once: %w", maxQueue, errFrame)
		}
	}
	return nil
}

// links returns what a node links to, nothing when the node is not here.
func (a *asker) links(ctx context.Context, node cid.Cid) ([]cid.Cid, error) {
	key := keyOf(node)
	if f := a.s.fetching(keyOf(a.root)); f != nil {
		if links := f.linksOf(key); links != nil {
			return links, nil
		}
	}
	for _, t := range a.tables {
		if t.key == key {
			return t.links, nil
		}
	}
	if !a.s.served(ctx, node) {
		return nil, nil
	}
	blk, err := a.s.cfg.Store.Get(ctx, node)
	if ipld.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	t := &table{key: key, links: dagpb.Links(node, blk.RawData())}
	if a.tables = append(a.tables, t); len(a.tables) > keptTables {
		a.tables = a.tables[1:]
	}
	return t.links, nil
}

// gifts returns what is below the root of a small file, so that all of it comes in
// one round trip; nothing of a larger one.
func (a *asker) gifts(ctx context.Context) []item {
	if a.root.Type() != cid.DagProtobuf || a.s.fetching(keyOf(a.root)) != nil {
		return nil
	}
	links, err := a.links(ctx, a.root)
	if err != nil || len(links) > smallLinks {
		return nil
	}
	var items []item
	total := 0
	for _, c := range links {
		n, err := a.s.cfg.Store.GetSize(ctx, c)
		if total += n; err != nil || total > smallFile {
			return nil
		}
		items = append(items, item{c: c, key: keyOf(c), gift: true})
	}
	return items
}

// view calls f with the verified bytes of a block.
func (s *Service) view(ctx context.Context, rootKey string, c cid.Cid, f func([]byte) error) error {
	if !c.Defined() || !s.served(ctx, c) {
		return ipld.ErrNotFound{Cid: c}
	}
	if live := s.fetching(rootKey); live != nil {
		if data := live.read(c); data != nil {
			return f(data)
		}
	}
	if v, ok := s.cfg.Store.(blockstore.Passer); ok {
		return v.Pass(ctx, c, f) // the asker verifies
	}
	if v, ok := s.cfg.Store.(boxoblockstore.Viewer); ok {
		return v.View(ctx, c, f)
	}
	blk, err := s.cfg.Store.Get(ctx, c)
	if err != nil {
		return err
	}
	return f(blk.RawData())
}
