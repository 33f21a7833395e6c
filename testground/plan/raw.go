package plan

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/hypha-node/hypha-node/testground/cases"
)

// rawProtocol is a stream that bytes come on, and nothing else.
const rawProtocol = "/hypha-testground/raw"

// raw returns how long, in seconds, a bare stream takes to bring size bytes from
// the first instance to the second, on a connection that was used before.
func raw(ctx context.Context, w *world, ip string, size int64) (seconds float64, err error) {
	h, err := libp2p.New(libp2p.ListenAddrStrings("/ip4/"+ip+"/tcp/0"), libp2p.DisableRelay())
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, h.Close()) }()
	h.SetStreamHandler(rawProtocol, func(st network.Stream) {
		if _, err := io.ReadFull(st, make([]byte, 1)); err != nil { // negotiation ends with the first byte
			return
		}
		if _, err := io.Copy(st, cases.Noise(size)); err == nil {
			_ = st.CloseWrite() //nolint:errcheck // the reader counts
		}
	})
	all, err := w.Share(ctx, "bare hosts", []byte(fmt.Sprintf("%s/p2p/%s", h.Addrs()[0], h.ID())))
	if err != nil {
		return 0, err
	}
	var took string
	if w.index == 1 {
		if seconds, err = read(ctx, h, string(all[0]), size); err != nil {
			return 0, err
		}
		took = strconv.FormatFloat(seconds, 'g', -1, 64)
	}
	if all, err = w.Share(ctx, "bare stream", []byte(took)); err != nil {
		return 0, err
	}
	return strconv.ParseFloat(string(all[1]), 64)
}

// read takes the time of one stream.
func read(ctx context.Context, h host.Host, address string, size int64) (seconds float64, err error) {
	m, err := ma.NewMultiaddr(address)
	if err != nil {
		return 0, err
	}
	info, err := peer.AddrInfoFromP2pAddr(m)
	if err != nil {
		return 0, err
	}
	if err := h.Connect(ctx, *info); err != nil {
		return 0, err
	}
	start := time.Now()
	st, err := h.NewStream(ctx, info.ID, rawProtocol)
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
