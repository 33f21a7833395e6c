package peers

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	mh "github.com/multiformats/go-multihash"
)

// reachTimeout bounds one attempt to connect to a peer, the search for its
// addresses included.
const reachTimeout = 20 * time.Second

// knownTimeout bounds the attempt at the addresses that are known.
const knownTimeout = 5 * time.Second

// Parse returns the base58 form of a peer id that is given in it or as the text
// of a CIDv1: one form per peer, so that ids can be compared.
func (s *Service) Parse(id string) (string, error) {
	p, err := parseID(id)
	return p.String(), err
}

// parseID is Parse for this package. Only what can be the id of a key passes.
func parseID(text string) (peer.ID, error) {
	const most = 128 // bytes: twice the longest form
	if len(text) > most {
		return "", fmt.Errorf("peer id of %d bytes: %w", len(text), ErrInvalid)
	}
	id, err := peer.Decode(text)
	if err != nil {
		return "", fmt.Errorf("peer id %q: %w: %w", text, ErrInvalid, err)
	}
	hash, err := mh.Decode([]byte(id))
	if err != nil {
		return "", fmt.Errorf("peer id %q: %w: %w", text, ErrInvalid, err)
	}
	switch {
	case hash.Code == mh.SHA2_256 && hash.Length == sha256.Size:
		return id, nil
	case hash.Code == mh.IDENTITY:
		if _, err := id.ExtractPublicKey(); err == nil {
			return id, nil
		}
	}
	return "", fmt.Errorf("peer id %q is not that of a key: %w", text, ErrInvalid)
}

// Reach connects to a peer: over a connection that is there, else at the
// addresses that are known of it, else at those that the network knows.
// ErrUnreachable when nothing helps; to Self it always succeeds.
func (s *Service) Reach(ctx context.Context, id string) error {
	p, err := parseID(id)
	if err != nil {
		return err
	}
	ctx, done, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer done()
	return s.reach(ctx, p)
}

func (s *Service) reach(ctx context.Context, p peer.ID) error {
	if p == s.self || s.cfg.Host.Network().Connectedness(p) == network.Connected {
		return nil
	}
	dctx, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	err := s.connect(dctx, p)
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return fmt.Errorf("%s: %w: %w", p, ErrUnreachable, err)
	}
	return nil
}

// connect dials a peer, also when an earlier attempt has just failed.
func (s *Service) connect(ctx context.Context, p peer.ID) error {
	if sw, ok := s.cfg.Host.Network().(*swarm.Swarm); ok {
		sw.Backoff().Clear(p)
	}
	var known error
	if len(s.cfg.Host.Peerstore().Addrs(p)) > 0 {
		// What is known may be out of date: some of the time is for the search.
		kctx, cancel := context.WithTimeout(ctx, knownTimeout)
		known = s.cfg.Host.Connect(kctx, peer.AddrInfo{ID: p})
		cancel()
		if known == nil {
			return nil
		}
	}
	if s.cfg.FindPeer == nil || ctx.Err() != nil {
		if known == nil {
			known = errors.New("no address is known")
		}
		return known
	}
	info, err := s.cfg.FindPeer(ctx, p)
	if err == nil {
		err = s.cfg.Host.Connect(ctx, info)
	}
	if err != nil && known != nil {
		return fmt.Errorf("%w; search: %w", known, err)
	}
	return err
}

// protect keeps the connection to a peer from being trimmed during a transfer.
func (s *Service) protect(p peer.ID, transfer string) (release func()) {
	tag := "transfer/" + transfer
	s.cfg.Host.ConnManager().Protect(p, tag)
	return func() { s.cfg.Host.ConnManager().Unprotect(p, tag) }
}
