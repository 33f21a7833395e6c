package swarm

import (
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
)

// How much is written to a stream at a time.
const (
	// pieceOther is for QUIC: larger ones are slower on a long link.
	pieceOther = 32 << 10
	// pieceTCP is what fits into a message of yamux, of 64 KiB with its head of 12 bytes:
	// four records of TLS, all full.
	pieceTCP = 64<<10 - 12
)

// takenWriter writes to a peer that must take each piece in time.
type takenWriter struct {
	st    network.Stream
	piece int // bytes
}

func newTakenWriter(st network.Stream) takenWriter {
	if st.Conn().ConnState().Transport == "tcp" {
		return takenWriter{st, pieceTCP}
	}
	return takenWriter{st, pieceOther}
}

func (w takenWriter) Write(p []byte) (n int, err error) {
	for n < len(p) {
		if err := w.st.SetWriteDeadline(time.Now().Add(writeStall)); err != nil {
			return n, err
		}
		m, err := w.st.Write(p[n:min(len(p), n+w.piece)])
		n += m
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// pieces writes whole pieces, and what is left with the next Flush. It has a buffer
// only while something is in it.
type pieces struct {
	w   takenWriter
	buf *[pieceTCP]byte
	n   int // bytes in buf

	buffers *sync.Pool // of *[pieceTCP]byte, of all streams
}

func newPieceBuffers() *sync.Pool { return &sync.Pool{New: func() any { return new([pieceTCP]byte) }} }

func newPieces(st network.Stream, buffers *sync.Pool) *pieces {
	return &pieces{w: newTakenWriter(st), buffers: buffers}
}

func (o *pieces) Write(p []byte) (n int, err error) {
	for n < len(p) {
		if o.n == 0 && len(p)-n >= o.w.piece {
			m, err := o.w.Write(p[n : n+o.w.piece])
			if n += m; err != nil {
				return n, err
			}
			continue
		}
		if o.buf == nil {
			o.buf = o.buffers.Get().(*[pieceTCP]byte) //nolint:errcheck,forcetypeassert // nothing else is put there
		}
		m := copy(o.buf[o.n:o.w.piece], p[n:])
		n, o.n = n+m, o.n+m
		if o.n == o.w.piece {
			if err := o.Flush(); err != nil {
				return n, err
			}
		}
	}
	return n, nil
}

// Flush writes what is left.
func (o *pieces) Flush() error {
	if o.n == 0 {
		return nil
	}
	_, err := o.w.Write(o.buf[:o.n])
	o.release()
	return err
}

// release drops what is left.
func (o *pieces) release() {
	if o.buf != nil {
		o.buffers.Put(o.buf)
	}
	o.buf, o.n = nil, 0
}
