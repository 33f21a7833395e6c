package bitswap

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	ma "github.com/multiformats/go-multiaddr"
)

// ErrRelayed says that a peer is reached over a relay only. A relay lends a few
// seconds and kilobytes for two nodes to arrange a connection of their own; when
// they can't, nothing is fetched from there.
var ErrRelayed = errors.New("reached over a relay only, which carries no data")

// direct is a host whose protocols run over connections of its own to a peer, never
// over a relay's: streams that come over one are reset before anything is read, and
// none is opened there. What the host itself needs to get to a connection (identify,
// hole punching) is registered beneath.
type direct struct {
	host.Host
}

// refusing returns a handler that resets what comes over a relay.
func refusing(handler network.StreamHandler) network.StreamHandler {
	return func(st network.Stream) {
		if st.Conn().Stat().Limited {
			reset(st)
			return
		}
		handler(st)
	}
}

// SetStreamHandler registers a handler for streams over direct connections.
func (d direct) SetStreamHandler(id protocol.ID, handler network.StreamHandler) {
	d.Host.SetStreamHandler(id, refusing(handler))
}

// SetStreamHandlerMatch does the same for all ids that match.
func (d direct) SetStreamHandlerMatch(id protocol.ID, match func(protocol.ID) bool, handler network.StreamHandler) {
	d.Host.SetStreamHandlerMatch(id, match, refusing(handler))
}

// NewStream opens a stream over a direct connection. Over a relay's alone, the
// peers get the time of one dial to arrange one; then it is ErrRelayed.
func (d direct) NewStream(ctx context.Context, p peer.ID, ids ...protocol.ID) (network.Stream, error) {
	st, err := d.Host.NewStream(network.WithDialPeerTimeout(ctx, dialTimeout), p, ids...)
	switch {
	case err == nil && st.Conn().Stat().Limited: // somebody allowed it
		reset(st)
		err = network.ErrLimitedConn
	case err == nil:
		return st, nil
	}
	if d.Network().Connectedness(p) == network.Limited {
		err = fmt.Errorf("%s: %w (%w)", p, ErrRelayed, err)
	}
	return nil, err
}

// Connect connects to a peer. A relay's connection does not count as one, unless it
// is what is asked for.
func (d direct) Connect(ctx context.Context, info peer.AddrInfo) error {
	asked := len(info.Addrs) > 0 && !slices.ContainsFunc(info.Addrs, func(a ma.Multiaddr) bool { return !overRelay(a) })
	if !asked && d.Network().Connectedness(info.ID) == network.Limited {
		ctx = network.WithForceDirectDial(ctx, "a relay carries no data")
	}
	return d.Host.Connect(ctx, info)
}

// relayed returns how many peers are reached over relays only.
func (e *Exchange) relayed() int {
	n := 0
	for _, p := range e.host.Network().Peers() {
		if e.host.Network().Connectedness(p) == network.Limited {
			n++
		}
	}
	return n
}

// explain adds to an error that nothing came what may be the reason for it.
func (e *Exchange) explain(err error) error {
	if n := e.relayed(); err != nil && n > 0 {
		return fmt.Errorf("%w; peers that were %w: %d", err, ErrRelayed, n)
	}
	return err
}

// directPeers returns the peers that there is a connection to which carries data.
func (e *Exchange) directPeers() []peer.ID {
	var peers []peer.ID
	for _, p := range e.host.Network().Peers() {
		if e.host.Network().Connectedness(p) == network.Connected {
			peers = append(peers, p)
		}
	}
	return peers
}
