package peers

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/hypha-node/hypha-node/blockstore"
)

// line asks one peer for blocks, on one stream.
type line struct {
	to   peer.ID
	wake chan struct{} // capacity 1: there is something to ask for
	stop context.CancelCauseFunc

	mu    sync.Mutex
	queue []cid.Cid
	asked map[uint32]cid.Cid
	next  uint32
	began time.Time // since when something is waited for
	gave  time.Time // when an answer came last
	wire  *wire     // nil until the stream is open
}

func newLine(to peer.ID, stop context.CancelCauseFunc) *line {
	return &line{to: to, wake: make(chan struct{}, 1), asked: make(map[uint32]cid.Cid), stop: stop}
}

// ask queues a want.
func (l *line) ask(c cid.Cid) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.asked)+len(l.queue) == 0 {
		l.began = time.Now()
	}
	l.queue = append(l.queue, c)
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// idle returns for how long a peer has sent nothing, and for how long no answer,
// although something is waited for; 0 when nothing is.
func (l *line) idle(now time.Time) (silent, idle time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.asked)+len(l.queue) == 0 {
		return 0, 0
	}
	last, gave := l.began, l.began
	if l.wire != nil {
		if t := time.Unix(0, l.wire.heard.Load()); t.After(last) {
			last = t
		}
	}
	if l.gave.After(gave) {
		gave = l.gave
	}
	return now.Sub(last), now.Sub(gave)
}

// take numbers what is queued and returns the message that asks for it.
func (l *line) take() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	var b []byte
	for len(l.queue) > 0 && len(b)+l.queue[0].ByteLen() <= maxFrame && len(l.asked) < maxWants {
		c := l.queue[0]
		l.queue = l.queue[1:]
		b = append(b, c.Bytes()...)
		l.asked[l.next] = c
		l.next++
	}
	return b
}

// settle returns what was asked for under a number.
func (l *line) settle(n uint32) (cid.Cid, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c, ok := l.asked[n]
	if !ok {
		return cid.Undef, fmt.Errorf("answer to want %d, which was not asked: %w", n, ErrInvalid)
	}
	delete(l.asked, n)
	l.gave = time.Now()
	if len(l.queue) > 0 {
		select {
		case l.wake <- struct{}{}:
		default:
		}
	}
	return c, nil
}

// run talks to the peer until ctx ends or the stream breaks. take gets each
// answer, nil for a no.
func (l *line) run(ctx context.Context, s *Service, h hello, take func(c cid.Cid, data []byte)) error {
	if err := s.reach(ctx, l.to); err != nil {
		return err
	}
	st, err := s.cfg.Host.NewStream(ctx, l.to, protoBlocks)
	if err != nil {
		return err
	}
	defer s.abandon(st)
	stop := context.AfterFunc(ctx, func() { s.abandon(st) })
	defer stop()
	b, err := json.Marshal(h)
	if err != nil {
		return err
	}
	w := newWire(st, s.cfg.Stall)
	if err := errors.Join(w.listen(), w.send(b, nil)); err != nil { // the circle watches it
		return err
	}
	l.mu.Lock()
	l.wire = w
	l.mu.Unlock()
	var reading sync.WaitGroup
	defer reading.Wait()
	defer s.abandon(st)
	reading.Go(func() { l.stop(l.read(w, take)) })
	for {
		b := l.take()
		if len(b) > 0 {
			if err := w.send(b, nil); err != nil {
				return err
			}
			continue
		}
		select {
		case <-l.wake:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// read takes in answers until the stream breaks.
func (l *line) read(w *wire, take func(c cid.Cid, data []byte)) error {
	for {
		n, what, data, err := readAnswer(w.in)
		if err != nil {
			return err
		}
		if what == answerLater {
			continue
		}
		c, err := l.settle(n)
		if err != nil {
			return err
		}
		if data != nil {
			if err := verify(c, data); err != nil {
				return err
			}
		}
		take(c, data)
	}
}

// readAnswer reads one answer; data is nil without a block.
func readAnswer(r io.Reader) (n uint32, what answer, data []byte, err error) {
	var head [answerHead]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, 0, nil, err
	}
	n, what = binary.BigEndian.Uint32(head[:]), answer(head[4])
	length := binary.BigEndian.Uint32(head[4:]) & 0xffffff
	switch {
	case length == 0 && (what == answerNo || what == answerLater):
		return n, what, nil, nil
	case what != answerBlock || length > maxBlock:
		return 0, 0, nil, fmt.Errorf("answer %d of %d bytes: %w", what, length, ErrInvalid)
	}
	data = make([]byte, length)
	_, err = io.ReadFull(r, data)
	return n, what, data, noEOF(err)
}

// verify tells whether data is the block c.
func verify(c cid.Cid, data []byte) error {
	got, err := c.Prefix().Sum(data)
	if err == nil && !got.Equals(c) {
		err = blockstore.ErrCorrupt
	}
	if err != nil {
		return fmt.Errorf("block %s as it came: %w", c, err)
	}
	return nil
}
