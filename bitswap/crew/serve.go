package crew

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
)

// errRefused says that a peer asks for what it does not get.
var errRefused = errors.New("not to be had here")

// handle answers one stream.
func (s *Service) handle(st network.Stream) {
	if !s.add(st, true) {
		reset(st)
		return
	}
	defer s.remove(st, true)
	err := st.SetReadDeadline(time.Now().Add(greetTime))
	if err == nil {
		err = s.answer(st)
	}
	if err != nil { // else it was closed: a reset would take what is still on its way
		reset(st)
		s.log.Debug("answer a member", slog.String("peer", st.Conn().RemotePeer().String()), slog.Any("error", err))
	}
}

func (s *Service) answer(st network.Stream) error {
	in := bufio.NewReaderSize(st, 4<<10)
	h, err := readHead(in)
	if err != nil {
		return err
	}
	if h.kind == kindMeet {
		return s.welcome(st, in, h)
	}
	if h.b == 0 || h.b > maxRange {
		return errWire
	}
	return s.send(st, h)
}

// welcome listens to a member.
func (s *Service) welcome(st network.Stream, in *bufio.Reader, h head) error {
	p := st.Conn().RemotePeer()
	sh := s.share(h.sum)
	if sh == nil || sh.content.Size != h.a || s.bans(p) || !sh.enter(p) {
		if _, err := st.Write([]byte{0}); err != nil {
			return err
		}
		return st.Close()
	}
	defer sh.exit(p)
	ended := make(chan struct{})
	defer close(ended)
	if !s.spawn(func() {
		select {
		case <-sh.left:
			reset(st) // the member may go
		case <-ended:
		}
	}) {
		return errClosed
	}
	if _, err := st.Write([]byte{1}); err != nil {
		return err
	}
	sh.meet(p)
	for {
		if err := st.SetReadDeadline(time.Now().Add(noteTime)); err != nil {
			return err
		}
		n, err := readNote(in, sh.count)
		if err != nil {
			return err
		}
		sh.heed(p, n)
	}
}

// send answers a read.
func (s *Service) send(st network.Stream, h head) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	out := pieces{st: st}
	sh := s.share(h.sum)
	for sh != nil && h.b > 0 {
		if h.a+h.b > sh.content.Size {
			return errRefused
		}
		n, err := sh.read(ctx, out.room(h.b), h.a)
		if errors.Is(err, errEnded) {
			break
		}
		if err == nil || errors.Is(err, context.DeadlineExceeded) {
			err = out.flush(n)
		}
		if err != nil {
			return err
		}
		h.a, h.b = h.a+int64(n), h.b-int64(n)
	}
	if h.b > 0 {
		if !s.isDone(h.sum) {
			return errRefused
		}
		if err := s.cfg.Stored(ctx, &out, h.sum, h.a, h.b); err != nil {
			return err
		}
	}
	return st.Close()
}

// read reads what this node has from the origin; context.DeadlineExceeded when that
// takes a while, errEnded when the share was left.
func (sh *Share) read(ctx context.Context, p []byte, off int64) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, waitTime)
	defer cancel()
	for {
		sh.mu.Lock()
		n, taken, err := sh.look(p, off)
		changed := sh.changed
		sh.mu.Unlock()
		switch {
		case err != nil || n > 0:
			return n, err
		case taken > 0:
			n, err := sh.content.Read(ctx, p[:min(taken, int64(len(p)))], off)
			if err == nil {
				return n, nil
			}
			changed = nil // it is being stored, or given up
		}
		select {
		case <-changed:
		case <-sh.left:
			return 0, errEnded
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// look copies what is in memory, or returns how many bytes from off on were taken in;
// sh.mu is held.
func (sh *Share) look(p []byte, off int64) (n int, taken int64, err error) {
	i := int(off / sh.step)
	switch {
	case isClosed(sh.left):
		return 0, 0, errEnded
	case !sh.mine.has(i):
		return 0, 0, errRefused
	case sh.r == nil:
		return 0, 0, nil
	}
	if sl := sh.r.slots[i]; sl != nil && sl.from == "" && off < sl.off+int64(sl.filled) {
		return copy(p, sl.buf[off-sl.off:sl.filled]), 0, nil
	}
	if off >= sh.r.pos {
		return 0, 0, nil
	}
	return 0, min(sh.r.pos, sh.end(i)) - off, nil
}

// pieces writes content to a stream.
type pieces struct {
	st  network.Stream
	buf [4 + maxPiece]byte
}

// room returns where the next piece of at most n bytes goes.
func (p *pieces) room(n int64) []byte { return p.buf[4 : 4+min(n, maxPiece)] }

// flush sends n bytes of room.
func (p *pieces) flush(n int) error {
	binary.BigEndian.PutUint32(p.buf[:], uint32(n)) //nolint:gosec // at most maxPiece
	if err := p.st.SetWriteDeadline(time.Now().Add(writeTime)); err != nil {
		return err
	}
	_, err := p.st.Write(p.buf[:4+n])
	return err
}

// Write sends content.
func (p *pieces) Write(b []byte) (total int, err error) {
	for len(b) > 0 {
		n := copy(p.room(int64(len(b))), b)
		if err := p.flush(n); err != nil {
			return total, err
		}
		total, b = total+n, b[n:]
	}
	return total, nil
}
