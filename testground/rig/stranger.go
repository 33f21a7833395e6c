package rig

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/ipfs/boxo/bitswap/message"
	pb "github.com/ipfs/boxo/bitswap/message/pb"
	"github.com/ipfs/boxo/bitswap/network"
	"github.com/ipfs/boxo/bitswap/network/bsnet"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
)

// Stranger is a peer that asks for blocks with messages of its own: each want is
// answered, with a yes or with a no, so that nothing is left to patience.
type Stranger struct {
	host host.Host
	net  network.BitSwapNetwork

	mu      sync.Mutex
	waiting map[cid.Cid]chan bool // wants of one kind that were not answered
}

// NewStranger starts a stranger, which listens nowhere. The caller closes it.
func NewStranger() (*Stranger, error) {
	h, err := libp2p.New(libp2p.NoListenAddrs)
	if err != nil {
		return nil, err
	}
	s := &Stranger{host: h, net: bsnet.NewFromIpfsHost(h), waiting: make(map[cid.Cid]chan bool)}
	s.net.Start(s)
	return s, nil
}

// Close ends it.
func (s *Stranger) Close() error {
	s.net.Stop()
	return s.host.Close()
}

// Has tells which of the CIDs a node serves: it is asked whether it has them, then
// for the blocks, and must answer both the same.
func (s *Stranger) Has(ctx context.Context, address string, cids ...cid.Cid) (map[cid.Cid]bool, error) {
	to, err := peer.AddrInfoFromString(address)
	if err != nil {
		return nil, err
	}
	if err := s.host.Connect(ctx, *to); err != nil {
		return nil, err
	}
	have, err := s.ask(ctx, to.ID, pb.Message_Wantlist_Have, cids)
	if err != nil {
		return nil, err
	}
	sent, err := s.ask(ctx, to.ID, pb.Message_Wantlist_Block, cids)
	if err != nil {
		return nil, err
	}
	for _, c := range cids {
		if have[c] != sent[c] {
			return nil, fmt.Errorf("%s: says that it has it: %v, sends it: %v", c, have[c], sent[c])
		}
	}
	return sent, nil
}

// ask sends wants of one kind and waits for all answers.
func (s *Stranger) ask(ctx context.Context, to peer.ID, kind pb.Message_Wantlist_WantType, cids []cid.Cid) (map[cid.Cid]bool, error) {
	m := message.New(true) // all that is wanted from now on: no want of before is
	answers := make(map[cid.Cid]chan bool, len(cids))
	s.mu.Lock()
	for i, c := range cids {
		answers[c] = make(chan bool, 1)
		s.waiting[c] = answers[c]
		m.AddEntry(c, int32(len(cids)-i), kind, true)
	}
	s.mu.Unlock()
	if err := s.net.SendMessage(ctx, to, m); err != nil {
		return nil, err
	}
	got := make(map[cid.Cid]bool, len(cids))
	for c, answer := range answers {
		select {
		case got[c] = <-answer:
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("%s: no answer", c), ctx.Err())
		}
	}
	return got, nil
}

// ReceiveMessage takes answers.
func (s *Stranger) ReceiveMessage(_ context.Context, _ peer.ID, m message.BitSwapMessage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	answer := func(c cid.Cid, has bool) {
		for want, ch := range s.waiting {
			if want.Equals(c) {
				ch <- has
				delete(s.waiting, want)
			}
		}
	}
	for _, blk := range m.Blocks() {
		answer(blk.Cid(), true)
	}
	for _, c := range m.Haves() {
		answer(c, true)
	}
	for _, c := range m.DontHaves() {
		answer(c, false)
	}
}

// ReceiveError is told of streams that broke: who asks has a deadline.
func (s *Stranger) ReceiveError(error) {}

// PeerConnected is of no interest.
func (s *Stranger) PeerConnected(peer.ID) {}

// PeerDisconnected is of no interest.
func (s *Stranger) PeerDisconnected(peer.ID) {}
