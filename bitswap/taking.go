package bitswap

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
)

const (
	// Messages that are sent at once; each holds at most targetMessageSize and one
	// block. A peer that takes nothing holds up to 16 of them, maxOutstandingBytes in
	// blocks of 1 MiB, until it is dropped. With boxo's default of 8 one such peer kept
	// everybody else from being served.
	sendWorkers = 64
	// In which a peer must take a piece of a message. boxo would wait for two minutes
	// for a message of one block, whether any of it is taken or not.
	takeStall = 10 * time.Second
	takePiece = 32 << 10 // bytes
)

// NewStream opens a stream to a peer who must take what is written to it.
func (m *meter) NewStream(ctx context.Context, p peer.ID, ids ...protocol.ID) (network.Stream, error) {
	st, err := m.Host.NewStream(ctx, p, ids...)
	if err != nil {
		return nil, err
	}
	return &takenStream{st}, nil
}

// takenStream ends the connection to a peer who takes nothing: what it wants would
// hold up others again and again.
type takenStream struct {
	network.Stream
}

// Write writes piece by piece.
func (s *takenStream) Write(b []byte) (n int, err error) {
	for first := true; first || n < len(b); first = false {
		if err := s.Stream.SetWriteDeadline(time.Now().Add(takeStall)); err != nil {
			return n, err
		}
		took, err := s.Stream.Write(b[n:min(n+takePiece, len(b))])
		n += took
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return n, errors.Join(err, s.Conn().Close())
		}
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// SetWriteDeadline does nothing: each piece has its own.
func (s *takenStream) SetWriteDeadline(time.Time) error { return nil }
