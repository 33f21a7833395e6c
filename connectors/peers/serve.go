package peers

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
)

// A stream of blocks begins with a hello. Then the asker sends messages that are
// CIDs in their binary form, one behind the other; they are numbered from 0 in
// the order in which they come. Each is answered once, in any order, by a head
// of eight bytes, big endian: the number, and the answer (one byte) with the
// length (three bytes) of the block, which follows. Who waits for the blocks that are
// asked of it says so meanwhile, with a head of the number 0 and no length.
const (
	answerHead = 8
	maxBlock   = 2 << 20 // bytes
	maxWants   = 2048    // of one stream that are not answered yet
	serveBuf   = 64 << 10
)

// hello says what a stream of blocks is about.
type hello struct {
	V        int    `json:"v"`
	Root     string `json:"root"`
	Transfer string `json:"transfer"` // the asker's own
}

// parseHello reads a hello.
func parseHello(b []byte) (root cid.Cid, transfer string, err error) {
	var h hello
	if err := json.Unmarshal(b, &h); err != nil {
		return cid.Undef, "", fmt.Errorf("hello: %w: %w", ErrInvalid, err)
	}
	root, err = cid.Decode(h.Root)
	if err != nil || h.V != version || !isToken(h.Transfer) {
		return cid.Undef, "", fmt.Errorf("hello: %w", ErrInvalid)
	}
	return root, h.Transfer, nil
}

// parseWants reads the CIDs of a message.
func parseWants(b []byte) ([]cid.Cid, error) {
	var wants []cid.Cid
	for len(b) > 0 {
		n, c, err := cid.CidFromBytes(b)
		if err != nil {
			return nil, fmt.Errorf("want: %w: %w", ErrInvalid, err)
		}
		if len(wants) == maxWants {
			return nil, fmt.Errorf("more than %d wants: %w", maxWants, ErrInvalid)
		}
		wants = append(wants, c)
		b = b[n:]
	}
	return wants, nil
}

// serveBlocks answers a peer that takes part in a transfer.
func (s *Service) serveBlocks(st network.Stream) {
	defer s.abandon(st)
	ctx, done, err := s.enter(context.Background())
	if err != nil {
		return
	}
	defer done()
	p := st.Conn().RemotePeer()
	if !s.askers.add(p) {
		return
	}
	defer s.askers.remove(p)
	stop := context.AfterFunc(ctx, func() { s.abandon(st) })
	defer stop()
	if err := gone(s.serve(ctx, st)); err != nil && ctx.Err() == nil && !errors.Is(err, ErrGone) {
		s.log.Debug("serve blocks", slog.String("peer", p.String()), slog.Any("error", err))
	}
}

func (s *Service) serve(ctx context.Context, st network.Stream) error {
	w := newWire(st, s.cfg.Stall)
	b, err := w.receive()
	if err != nil {
		return err
	}
	root, transfer, err := parseHello(b)
	if err != nil {
		return err
	}
	sh, err := s.welcome(ctx, root, st.Conn().RemotePeer(), transfer)
	if err != nil {
		return err
	}
	if err := w.listen(); err != nil { // it asks when it needs something
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	a := &asker{share: sh, wake: make(chan struct{}, 1), alive: s.cfg.Patience / aliveShare}
	var reading sync.WaitGroup
	defer reading.Wait()
	defer s.abandon(st)
	reading.Go(func() { a.end(a.read(ctx, w)) })
	if h, ok := sh.(*holding); ok {
		defer h.forget(a)
	}
	return a.write(ctx, w)
}

// welcome returns what the peer may have. Another receiver may be told of a file
// a moment earlier than this one, so strangers are made to wait before they are
// refused.
func (s *Service) welcome(ctx context.Context, root cid.Cid, p peer.ID, transfer string) (share, error) {
	sh, changed := s.shares.find(root, p, transfer)
	if sh != nil {
		return sh, nil
	}
	select {
	case s.guests <- struct{}{}:
		defer func() { <-s.guests }()
	default:
		return nil, fmt.Errorf("%s: no transfer with it: %w", root, ErrInvalid)
	}
	timer := time.NewTimer(s.cfg.Patience / welcomeShare)
	defer timer.Stop()
	for sh == nil {
		select {
		case <-changed:
			sh, changed = s.shares.find(root, p, transfer)
		case <-timer.C:
			return nil, fmt.Errorf("%s: no transfer with it: %w", root, ErrInvalid)
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	return sh, nil
}

// welcomeShare is the part of the patience that a stranger waits.
const welcomeShare = 4

// asker is one stream on which a peer asks for blocks.
type asker struct {
	share share
	alive time.Duration // between signs of life to one who waits

	mu    sync.Mutex
	ready []reply
	open  int // wants that are not answered yet
	err   error
	over  bool
	wake  chan struct{}

	slow []byte // a block that goes at a pace
}

// reply is an answer that is to be sent.
type reply struct {
	n    uint32
	c    cid.Cid
	what answer
}

// push queues an answer.
func (a *asker) push(n uint32, c cid.Cid, what answer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ready = append(a.ready, reply{n, c, what})
	a.poke()
}

func (a *asker) poke() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// end says that no more wants come.
func (a *asker) end(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.err, a.over = err, true
	a.poke()
}

// next takes the next answer; false when there is none for now.
func (a *asker) next() (reply, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.ready) == 0 {
		return reply{}, false
	}
	r := a.ready[0]
	a.ready = a.ready[1:]
	a.open--
	return r, true
}

// waits tells whether the asker waits for something.
func (a *asker) waits() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.open > 0
}

// ended tells whether the asker has gone, and why.
func (a *asker) ended() (bool, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.over, a.err
}

// admit counts wants.
func (a *asker) admit(n int) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.open += n; a.open > maxWants {
		return fmt.Errorf("more than %d wants at once: %w", maxWants, ErrInvalid)
	}
	return nil
}

// read takes in wants until the stream ends.
func (a *asker) read(ctx context.Context, w *wire) error {
	n := uint32(0)
	for {
		b, err := w.receive()
		if err == io.EOF { //nolint:errorlint // between messages it comes bare
			return nil
		}
		if err != nil {
			return err
		}
		wants, err := parseWants(b)
		if err != nil {
			return err
		}
		if err := a.admit(len(wants)); err != nil {
			return err
		}
		for _, c := range wants {
			what, err := a.share.find(ctx, c, a, n)
			if err != nil {
				return err
			}
			if what != answerLater {
				a.push(n, c, what)
			}
			n++
		}
	}
}

// write sends answers until the asker or the share ends.
func (a *asker) write(ctx context.Context, w *wire) error {
	out := bufio.NewWriterSize(w, serveBuf)
	tick := time.NewTicker(a.alive)
	defer tick.Stop()
	for {
		r, ok := a.next()
		if ok {
			if err := a.answer(ctx, out, r); err != nil {
				return err
			}
			continue
		}
		if err := out.Flush(); err != nil {
			return err
		}
		if over, err := a.ended(); over {
			return err
		}
		select {
		case <-a.wake:
		case <-tick.C:
			if !a.waits() {
				continue
			}
			if err := writeHead(out, 0, answerLater, 0); err != nil {
				return err
			}
		case <-a.share.over():
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// writeHead writes the head of an answer to a want, with the bytes of the block.
func writeHead(out io.Writer, want uint32, what answer, n int) error {
	var b [answerHead]byte
	binary.BigEndian.PutUint32(b[:], want)
	binary.BigEndian.PutUint32(b[4:], uint32(what)<<24|uint32(n))
	_, err := out.Write(b[:])
	return err
}

// answer sends one answer. A block that goes at a pace is copied: nothing in the
// store waits for it.
func (a *asker) answer(ctx context.Context, out *bufio.Writer, r reply) error {
	head := func(what answer, n int) error { return writeHead(out, r.n, what, n) }
	if r.what == answerNo {
		return head(answerNo, 0)
	}
	done, err := a.share.slot(ctx)
	if err != nil {
		return err
	}
	defer done()
	pace := a.share.pace()
	var broken error
	err = a.share.view(ctx, r.c, func(data []byte) error {
		if len(data) > maxBlock {
			return fmt.Errorf("block %s of %d bytes: %w", r.c, len(data), ErrInvalid)
		}
		if pace != nil {
			a.slow = append(a.slow[:0], data...)
			return nil
		}
		if broken = head(answerBlock, len(data)); broken == nil {
			_, broken = out.Write(data)
		}
		if broken == nil {
			a.share.sent(int64(len(data)))
		}
		return broken
	})
	if broken == nil && ipld.IsNotFound(err) {
		return head(answerNo, 0)
	}
	if pace != nil && err == nil {
		if err := head(answerBlock, len(a.slow)); err != nil {
			return err
		}
		return a.writeSlowly(ctx, out, pace)
	}
	return errors.Join(broken, err)
}

// writeSlowly sends the copied block in pieces that are small enough that nobody
// takes the pause between two for silence.
func (a *asker) writeSlowly(ctx context.Context, out *bufio.Writer, pace func(context.Context, int) error) error {
	for piece := range slices.Chunk(a.slow, serveBuf/4) {
		if err := pace(ctx, len(piece)); err != nil {
			return err
		}
		if _, err := out.Write(piece); err != nil {
			return err
		}
		if err := out.Flush(); err != nil {
			return err
		}
		a.share.sent(int64(len(piece)))
	}
	return nil
}
