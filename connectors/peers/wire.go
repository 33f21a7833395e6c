package peers

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
)

const (
	maxFrame   = 64 << 10  // bytes of a message
	writeChunk = 256 << 10 // bytes that a peer must take within one stall
	readBuffer = 4 << 10   // bytes; content is read past it
)

// wire is one stream with messages on it: each is its length in four bytes, big
// endian, and that many bytes. Reads are for one goroutine.
type wire struct {
	st    network.Stream
	stall time.Duration
	limit time.Duration // of silence, 0: none
	in    *bufio.Reader
	heard atomic.Int64 // when bytes came last, in nanoseconds since 1970

	writing sync.Mutex
}

// newWire makes a wire on which a read fails with ErrStalled when no byte comes
// for stall, and a write when the peer takes nothing for stall.
func newWire(st network.Stream, stall time.Duration) *wire {
	w := &wire{st: st, stall: stall, limit: stall}
	w.in = bufio.NewReaderSize(watchedReader{w}, readBuffer)
	return w
}

// listen lets the peer be silent from now on: somebody else watches.
func (w *wire) listen() error {
	w.limit = 0
	return w.st.SetReadDeadline(time.Time{})
}

// watchedReader reads from a stream that must not be silent for too long.
type watchedReader struct{ w *wire }

func (r watchedReader) Read(p []byte) (int, error) {
	if r.w.limit > 0 {
		if err := r.w.st.SetReadDeadline(time.Now().Add(r.w.limit)); err != nil {
			return 0, err
		}
	}
	n, err := r.w.st.Read(p)
	if n > 0 {
		r.w.heard.Store(time.Now().UnixNano())
	}
	return n, stalled(err)
}

// stalled names the error of a deadline.
func stalled(err error) error {
	if t, ok := errors.AsType[net.Error](err); ok && t.Timeout() {
		return fmt.Errorf("%w: %w", ErrStalled, err)
	}
	return err
}

// Write sends bytes; it is not for several goroutines at once.
func (w *wire) Write(p []byte) (n int, err error) {
	for n < len(p) {
		if err := w.st.SetWriteDeadline(time.Now().Add(w.stall)); err != nil {
			return n, err
		}
		m, err := w.st.Write(p[n:min(len(p), n+writeChunk)])
		n += m
		if err != nil {
			return n, stalled(err)
		}
	}
	return n, nil
}

// send sends one message and the bytes behind it. Messages of several
// goroutines don't mix.
func (w *wire) send(message, tail []byte) error {
	if len(message) > maxFrame {
		return fmt.Errorf("message of %d bytes: %w", len(message), ErrInvalid)
	}
	w.writing.Lock()
	defer w.writing.Unlock()
	b := make([]byte, 4, 4+len(message)+len(tail))
	binary.BigEndian.PutUint32(b, uint32(len(message)))
	_, err := w.Write(append(append(b, message...), tail...))
	return err
}

// receive returns the next message; io.EOF when the peer has ended its side
// between two.
func (w *wire) receive() ([]byte, error) { return readFrame(w.in) }

// readFrame reads one message.
func readFrame(r io.Reader) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > maxFrame {
		return nil, fmt.Errorf("message of %d bytes: %w", n, ErrInvalid)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, noEOF(err)
	}
	return b, nil
}

// noEOF makes an end in the middle an error.
func noEOF(err error) error {
	if err == io.EOF { //nolint:errorlint // ReadFull returns it bare
		return io.ErrUnexpectedEOF
	}
	return err
}
