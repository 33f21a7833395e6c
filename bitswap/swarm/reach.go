package swarm

import (
	"context"
	"fmt"
	"slices"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
	msmux "github.com/multiformats/go-multistream"
)

// eager is a stream that was opened before its peer has said which protocols it
// speaks: ID is agreed upon with the first bytes, which don't wait for that. Of a peer
// that does not speak it the first read fails.
type eager struct {
	network.Stream
	agreed msmux.LazyConn
}

// Read implements network.Stream.
func (e eager) Read(p []byte) (int, error) { return e.agreed.Read(p) }

// Write implements network.Stream.
func (e eager) Write(p []byte) (int, error) { return e.agreed.Write(p) }

// reach connects to a peer unless it is connected, and opens a stream, which takes the
// handshake and nothing more: the host's own Connect and NewStream wait for what peers
// tell of themselves after it, a round trip in which the first want can be there.
func (s *source) reach(ctx context.Context, info peer.AddrInfo) (network.Stream, error) {
	h := s.f.s.cfg.Host
	if h.Network().Connectedness(s.p) == network.NotConnected {
		h.Peerstore().AddAddrs(s.p, info.Addrs, peerstore.TempAddrTTL)
		if err := s.dial(ctx); err != nil {
			return nil, err
		}
	}
	if h.Network().Connectedness(s.p) != network.Connected { // by a relay alone
		if err := h.Connect(ctx, info); err != nil {
			return nil, err
		}
		return h.NewStream(network.WithNoDial(ctx, "connected"), s.p, ID)
	}
	if known, err := h.Peerstore().GetProtocols(s.p); err == nil && len(known) > 0 && !slices.Contains(known, ID) {
		return nil, fmt.Errorf("it does not speak %s", ID)
	}
	st, err := h.Network().NewStream(network.WithNoDial(ctx, "connected"), s.p)
	if err != nil {
		return nil, err
	}
	if err := st.SetProtocol(ID); err != nil {
		reset(st)
		return nil, err
	}
	return eager{st, msmux.NewMSSelect(st, ID)}, nil
}

// dial dials a peer at the addresses that are known, and if that fails at those that
// Options.Locate knows.
func (s *source) dial(ctx context.Context) error {
	h := s.f.s.cfg.Host
	_, err := h.Network().DialPeer(ctx, s.p)
	if err == nil || s.f.o.Locate == nil {
		return err
	}
	tried := h.Peerstore().Addrs(s.p)
	info, other := s.f.o.Locate(ctx, s.p)
	if other != nil {
		return err
	}
	for _, a := range info.Addrs {
		if !slices.ContainsFunc(tried, a.Equal) {
			h.Peerstore().AddAddrs(s.p, info.Addrs, peerstore.TempAddrTTL)
			_, err = h.Network().DialPeer(ctx, s.p)
			return err
		}
	}
	return err
}

// first asks for the root, if it was not asked of anybody who is connected, with the
// hello of a source that was just reached: what is small comes with the first answer.
// f.mu is held; frame is empty when there is nothing to ask for.
func (s *source) first() (frame []byte) {
	w := s.f.wants[s.f.rootKey]
	if w == nil || w.src != nil && w.src.st != nil {
		return nil
	}
	if w.src != s {
		s.f.unlist(w)
		s.list(w, s.begun, s.f.typical)
		frame = wantFrame(w.number, []span{{c: w.c}})
	}
	return frame
}
