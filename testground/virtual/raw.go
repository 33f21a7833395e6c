package virtual

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/hypha-node/hypha-node/testground/cases"
)

// rawProtocol is a stream that bytes come on, and nothing else.
const rawProtocol = "/hypha-sim/raw"

// raw returns how long, in seconds, a bare stream takes to bring size bytes over
// links of this kind, on a connection that was used before.
func raw(ctx context.Context, link cases.Link, size int64) (seconds float64, err error) {
	l := newLinks(link, nil)
	defer l.close()
	var keys [2]crypto.PrivKey
	for i := range keys {
		if keys[i], err = newKey(); err != nil {
			return 0, err
		}
	}
	a, _, closeA, err := l.newHost(0, keys[0], l.link.Up)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, closeA()) }()
	b, _, closeB, err := l.newHost(1, keys[1], l.link.Up)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, closeB()) }()
	a.SetStreamHandler(rawProtocol, func(st network.Stream) {
		if _, err := io.ReadFull(st, make([]byte, 1)); err != nil { // negotiation ends with the first byte
			return
		}
		if _, err := io.Copy(st, cases.Noise(size)); err == nil {
			_ = st.CloseWrite() //nolint:errcheck // the reader counts
		}
	})
	if err := b.Connect(ctx, peer.AddrInfo{ID: a.ID(), Addrs: a.Addrs()}); err != nil {
		return 0, err
	}
	<-time.After(2 * time.Second) // as in a case: they have met
	start := time.Now()
	st, err := b.NewStream(ctx, a.ID(), rawProtocol)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	if _, err := st.Write([]byte{1}); err != nil {
		return 0, err
	}
	if _, err := io.CopyN(io.Discard, st, size); err != nil {
		return 0, err
	}
	return time.Since(start).Seconds(), nil
}
