package swarm

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	mh "github.com/multiformats/go-multihash"

	"github.com/hypha-node/hypha-node/internal/sha256pair"
)

const (
	dialTimeout = 10 * time.Second
	keepAlive   = 30 * time.Second
	maxBitmaps  = 4096    // nodes of which a source may tell
	maxBits     = 4 << 20 // bytes of their bitmaps
	maxGifts    = 1 << 20 // bytes of blocks that came before they were wanted
)

// source is a peer that is asked for a root. What is not said to be of one goroutine
// is guarded by the fetch.
type source struct {
	f  *Fetch
	p  peer.ID
	st network.Stream // nil while it is dialled

	rank uint64 // the lower, the rather it is asked
	made time.Time

	kick chan struct{} // room for one: there is something to write
	out  []byte

	chain chain // of the reader

	state   int  // -1: it has not said
	fed     bool // it gets from somebody who has all
	bits    map[string]bitmap
	bytes   int                  // in bits
	lacks   map[string]time.Time // wants that it does not have, since when
	listed  map[uint32]*want
	held    int // of listed, that it holds back
	queued  int // bytes of the others, estimated
	number  uint32
	cancels []runOf
	told    bool // that others are asked, too
	ended   bool
	leaves  bool // another one has its place: it ends when it has given what it was asked for
	again   bool // should it have nothing, it is asked once more

	begun time.Time // when the stream was there
	heard time.Time // when bytes came last
	mark  time.Time // of rate: since when bytes are counted in got
	got   int
	rate  float64       // bytes per second, smoothed; 0: not known
	rtt   time.Duration // from the first want to the first answer, the least
	last  time.Time     // when a block came, or the first one was asked for
	since time.Time     // when something was listed at a source that had nothing to do
	late  int           // how often something was moved elsewhere since it gave something
}

// ask is the life of a source; it returns when it is none any more.
func (f *Fetch) ask(ctx context.Context, src *source, info peer.AddrInfo) {
	err := src.run(ctx, info)
	f.mu.Lock()
	defer f.mu.Unlock()
	src.end()
	delete(f.sources, src.p)
	f.refused[src.p] = time.Now()
	switch {
	case f.closed:
	case src.state == stateNone && src.again:
		f.queue = append(f.queue, info)
	case src.state > stateNone && src.late < maxLate:
		f.retry(info)
	}
	for _, w := range src.listed {
		w.src = nil
	}
	src.listed = nil
	if err != nil && ctx.Err() == nil {
		f.s.log.Debug("source is gone", slog.String("peer", src.p.String()), slog.Any("error", err))
	}
	f.poke()
}

// end has run return; the fetch's lock is held.
func (s *source) end() {
	s.ended = true
	if s.st != nil {
		reset(s.st)
	}
}

// run connects, says hello and takes in what comes.
func (s *source) run(ctx context.Context, info peer.AddrInfo) error {
	dctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	st, err := s.reach(dctx, info)
	if err != nil {
		return err
	}
	defer reset(st)
	stop := context.AfterFunc(ctx, func() { reset(st) })
	defer stop()
	kind := byte(askHello)
	if s.f.o.Peek {
		kind = askPeek
	}
	hello := append(helloFrame(kind, s.f.root), packsFrame()...)
	s.f.mu.Lock()
	if s.ended {
		s.f.mu.Unlock()
		return ErrClosed
	}
	s.st, s.begun, s.heard = st, time.Now(), time.Now()
	s.out = slices.Concat(hello, s.out, s.first())
	s.f.mu.Unlock()
	ended := make(chan struct{})
	defer close(ended)
	s.f.work.Go(func() { s.write(st, ended) })
	s.poke()
	return s.read(st)
}

func (s *source) poke() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// write writes what is queued in out until the source has ended.
func (s *source) write(st network.Stream, ended <-chan struct{}) {
	alive := time.NewTicker(keepAlive)
	defer alive.Stop()
	for {
		s.f.mu.Lock()
		b := s.out
		s.out = nil
		s.f.mu.Unlock()
		if len(b) > 0 {
			s.f.s.control.Add(int64(len(b)))
			if _, err := newTakenWriter(st).Write(b); err != nil {
				reset(st)
				return
			}
		}
		select {
		case <-s.kick:
		case <-alive.C:
			s.f.mu.Lock()
			s.out = append(s.out, modeFrame(s.told)...)
			s.f.mu.Unlock()
		case <-ended:
			return
		}
	}
}

// heardReader notes when bytes come.
type heardReader struct {
	s  *source
	st network.Stream
}

func (r heardReader) Read(p []byte) (int, error) {
	n, err := r.st.Read(p)
	if n > 0 {
		r.s.f.mu.Lock()
		r.s.heard = time.Now()
		r.s.f.mu.Unlock()
	}
	return n, err
}

// read takes in answers until the stream ends. That a silent source is not waited
// for is the plan's business.
func (s *source) read(st network.Stream) error {
	in := bufio.NewReaderSize(heardReader{s, st}, 16<<10)
	gifts := 0
	for {
		var head [headBytes]byte
		if _, err := io.ReadFull(in, head[:]); err != nil {
			return err
		}
		kind, n, number, err := parseHead(head)
		if err != nil {
			return err
		}
		body := make([]byte, n)
		if _, err := io.ReadFull(in, body); err != nil {
			return err
		}
		switch kind {
		case tellBlock:
			err = s.block(number, body)
		case tellPacked:
			err = s.packed(number, body)
		case tellGift:
			if gifts += n; gifts > maxGifts {
				return fmt.Errorf("gifts of %d bytes: %w", gifts, errFrame)
			}
			s.gift(body)
		case tellNone:
			s.none(number)
		case tellHeld:
			s.holds(number)
		case tellFed:
			s.feeds(number == 1)
		case tellState:
			err = s.stated(body)
		case tellHave:
			err = s.has(body)
		case tellPeers:
			var all []peer.AddrInfo
			if all, err = parsePeers(body); err == nil {
				for _, info := range all {
					s.f.consider(info)
				}
			}
		default: // busy, or of a later version
		}
		if err != nil {
			return err
		}
	}
}

// block takes in a block. Wrong bytes end the source, for other fetches too.
func (s *source) block(number uint32, data []byte) error {
	s.f.mu.Lock()
	w := s.listed[number]
	var listed time.Time
	var at place
	if w != nil {
		listed = w.listed
		if p := s.f.places[w.key]; p != nil {
			at = *p
		}
	}
	s.f.mu.Unlock()
	if w == nil { // it came from elsewhere meanwhile
		s.f.s.duplicate.add(len(data))
		return nil
	}
	step, ok := s.chain.verify(w.c, data, at)
	if !ok {
		err := fmt.Errorf("block %s: %d other bytes: %w", w.c, len(data), errFrame)
		s.f.s.ban(s.p, err)
		return err
	}
	if s.f.s.log.Enabled(context.Background(), slog.LevelDebug) {
		s.f.s.log.Debug("block came", slog.String("peer", s.p.String()), slog.String("block", w.c.String()),
			slog.Int("bytes", len(data)), slog.Duration("after", time.Since(listed)))
	}
	if !s.f.came(w.c, data, step, s) {
		s.f.s.duplicate.add(len(data))
	}
	return nil
}

// packed takes in a block that was packed. One that is not waited for is not unpacked,
// and wrong ones end the source, so that each want costs the unpacking of one block.
func (s *source) packed(number uint32, body []byte) error {
	s.f.mu.Lock()
	w := s.listed[number]
	s.f.mu.Unlock()
	if w == nil {
		s.f.s.duplicate.add(len(body))
		return nil
	}
	data, err := s.f.s.packs.unpack(body)
	if err != nil {
		s.f.s.ban(s.p, err)
		return err
	}
	s.f.s.packs.spared.add(len(data) - len(body))
	s.f.spared.Add(int64(len(data) - len(body)))
	return s.block(number, data)
}

// gift takes in a block that was not asked for and may be wanted soon. What it is
// called follows from its bytes.
func (s *source) gift(data []byte) {
	c, err := cid.V1Builder{Codec: cid.Raw, MhType: mh.SHA2_256}.Sum(data)
	if err != nil {
		return
	}
	if s.f.came(c, data, sha256pair.Step{}, s) {
		return
	}
	s.f.mu.Lock()
	defer s.f.mu.Unlock()
	total := len(data)
	for _, other := range s.f.gifts {
		total += len(other)
	}
	if total <= maxGifts {
		s.f.gifts[keyOf(c)] = data
	}
}

// none notes that a source does not have a block.
func (s *source) none(number uint32) {
	s.f.mu.Lock()
	defer s.f.mu.Unlock()
	w := s.listed[number]
	if w == nil {
		return
	}
	s.forget(w)
	w.src = nil
	if len(s.lacks) < maxQueue {
		s.lacks[w.key] = time.Now()
	}
	s.f.poke()
}

// holds notes that a source waits for others to pass a block on.
func (s *source) holds(number uint32) {
	s.f.mu.Lock()
	defer s.f.mu.Unlock()
	if w := s.listed[number]; w != nil && !w.held {
		w.held = true
		s.held++
		s.count()
		s.f.poke()
	}
}

// feeds notes whether a source is given what it has not got yet.
func (s *source) feeds(fed bool) {
	s.f.mu.Lock()
	defer s.f.mu.Unlock()
	s.fed = fed
	s.f.poke()
}

// stated notes what a source has of the root.
func (s *source) stated(body []byte) error {
	if len(body) != 1 || body[0] > stateWhole {
		return fmt.Errorf("state: %w", errFrame)
	}
	s.f.mu.Lock()
	defer s.f.mu.Unlock()
	s.state = int(body[0])
	if s.state == stateNone {
		return ErrClosed
	}
	clear(s.lacks)
	s.f.poke()
	return nil
}

// has notes what a source has.
func (s *source) has(body []byte) error {
	node, from, news, err := parseHave(body)
	if err != nil {
		return err
	}
	s.f.mu.Lock()
	defer s.f.mu.Unlock()
	key := keyOf(node)
	bits := s.bits[key]
	if n := from/8 + len(news); n > len(bits) {
		if bits == nil && len(s.bits) >= maxBitmaps || s.bytes+n-len(bits) > maxBits {
			return fmt.Errorf("more than can be remembered: %w", errFrame)
		}
		s.bytes += n - len(bits)
		bits = append(bits, make(bitmap, n-len(bits))...)
		s.bits[key] = bits
	}
	for i, b := range news {
		bits[from/8+i] |= b
	}
	s.f.poke()
	return nil
}
