package bitswap_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ipfs/boxo/bitswap/message"
	pb "github.com/ipfs/boxo/bitswap/message/pb"
	bsnetwork "github.com/ipfs/boxo/bitswap/network"
	"github.com/ipfs/boxo/bitswap/network/bsnet"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/hypha-node/hypha-node/bitswap"
)

// liar is a peer that answers wants with what reply makes of them.
type liar struct {
	host  host.Host
	net   bsnetwork.BitSwapNetwork
	reply func(c cid.Cid, block bool) (blocks.Block, *pb.Message_BlockPresenceType)
	asked chan cid.Cid // wants for blocks, as far as there is room
}

// newLiar starts a liar and returns it with its address.
func newLiar(t *testing.T, reply func(c cid.Cid, block bool) (blocks.Block, *pb.Message_BlockPresenceType)) (*liar, string) {
	t.Helper()
	h, err := libp2p.New(libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0"), libp2p.DisableMetrics())
	if err != nil {
		t.Fatal(err)
	}
	l := &liar{host: h, net: bsnet.NewFromIpfsHost(h), reply: reply, asked: make(chan cid.Cid, 64)}
	l.net.Start(l)
	t.Cleanup(func() {
		l.net.Stop()
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return l, h.Addrs()[0].String() + "/p2p/" + h.ID().String()
}

func (l *liar) PeerConnected(peer.ID)    {}
func (l *liar) PeerDisconnected(peer.ID) {}
func (l *liar) ReceiveError(error)       {}

// ReceiveMessage answers every want.
func (l *liar) ReceiveMessage(ctx context.Context, from peer.ID, in message.BitSwapMessage) {
	out := message.New(false)
	for _, e := range in.Wantlist() {
		if e.Cancel {
			continue
		}
		blk, presence := l.reply(e.Cid, e.WantType == pb.Message_Wantlist_Block)
		if blk != nil {
			out.AddBlock(blk)
		}
		if presence != nil {
			out.AddBlockPresence(e.Cid, *presence)
		}
		if e.WantType == pb.Message_Wantlist_Block {
			select {
			case l.asked <- e.Cid:
			default:
			}
		}
	}
	if !out.Empty() {
		// The asker may be gone; then nobody is left to lie to.
		_ = l.net.SendMessage(ctx, from, out)
	}
}

func TestWrongBytesAreNeverDelivered(t *testing.T) {
	have := pb.Message_Have
	l, addr := newLiar(t, func(c cid.Cid, block bool) (blocks.Block, *pb.Message_BlockPresenceType) {
		if !block {
			return nil, &have
		}
		blk, err := blocks.NewBlockWithCid([]byte("not what was asked for"), c)
		if err != nil {
			return nil, nil
		}
		return blk, nil
	})
	honest, _ := start(t, nil)
	blks := honest.random(t, 3, 100_000)
	c, _ := start(t, nil)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := c.Connect(ctx, addr); err != nil {
		t.Fatal(err)
	}
	s := c.Session(ctx)
	got, err := s.GetBlocks(ctx, cids(blks))
	if err != nil {
		t.Fatal(err)
	}
	for range blks { // it has been asked, and has lied, before anybody else is there
		select {
		case <-l.asked:
		case blk := <-got:
			t.Fatalf("got %q", blk.RawData())
		}
	}
	connect(t, c, honest)
	go func() { // else the liar may be asked again and again
		for _, want := range blks {
			s.Refresh(ctx, want.Cid())
		}
	}()
	for range blks {
		blk := <-got
		if blk == nil {
			t.Fatal("not all blocks came")
		}
		if sum, err := blk.Cid().Prefix().Sum(blk.RawData()); err != nil || !sum.Equals(blk.Cid()) {
			t.Errorf("block %s holds %d other bytes", blk.Cid(), len(blk.RawData()))
		}
	}
}

func TestPeerThatPromisesAndNeverSends(t *testing.T) {
	have := pb.Message_Have
	l, addr := newLiar(t, func(_ cid.Cid, block bool) (blocks.Block, *pb.Message_BlockPresenceType) {
		if block {
			return nil, nil
		}
		return nil, &have
	})
	c, _ := start(t, nil)
	honest, _ := start(t, nil)
	blk := honest.random(t, 1, 100_000)[0]
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := c.Connect(ctx, addr); err != nil {
		t.Fatal(err)
	}
	s := c.Session(ctx)
	got, err := s.GetBlocks(ctx, []cid.Cid{blk.Cid()})
	if err != nil {
		t.Fatal(err)
	}
	<-l.asked
	connect(t, c, honest)
	go s.Refresh(ctx, blk.Cid())
	if b := <-got; b == nil || !bytes.Equal(b.RawData(), blk.RawData()) {
		t.Errorf("got %v", b)
	}
}

func TestUnwantedBlocksAreDropped(t *testing.T) {
	extra := raw(t, []byte("nobody asked for this"))
	wanted := raw(t, []byte("this was asked for"))
	_, addr := newLiar(t, func(c cid.Cid, _ bool) (blocks.Block, *pb.Message_BlockPresenceType) { return extra, nil })
	honest, _ := start(t, nil)
	if err := honest.store.Put(t.Context(), wanted); err != nil {
		t.Fatal(err)
	}
	c, _ := start(t, nil)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := c.Connect(ctx, addr); err != nil {
		t.Fatal(err)
	}
	connect(t, c, honest)
	get(t, c, []blocks.Block{wanted})
	if has, err := c.store.Has(ctx, extra.Cid()); err != nil || has {
		t.Errorf("the extra block was stored (%v)", err)
	}
}

// short gives up soon.
func short() bitswap.Watch {
	return bitswap.Watch{Stall: 100 * time.Millisecond, Timeout: 300 * time.Millisecond}
}

// gaveUp fails the test unless an error says that c did not come.
func gaveUp(t *testing.T, err error, c cid.Cid) {
	t.Helper()
	if !errors.Is(err, bitswap.ErrStalled) || !strings.Contains(err.Error(), c.String()) {
		t.Errorf("error is %v", err)
	}
}

func TestWatchedSessionGivesUp(t *testing.T) {
	a, _ := start(t, nil)
	b, _ := start(t, nil)
	blk := a.random(t, 1, 1000)[0]
	connect(t, b, a)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	s := b.WatchedSession(ctx, bitswap.Watch{Stall: patience, Timeout: patience})
	if _, err := s.Get(ctx, blk.Cid()); err != nil || s.Err() != nil {
		t.Fatal(err, s.Err())
	}
	absent := raw(t, []byte("nobody has this")).Cid()
	s = b.WatchedSession(ctx, short())
	_, err := s.Get(ctx, absent)
	gaveUp(t, err, absent)
	gaveUp(t, s.Err(), absent)
	if got, err := s.GetBlocks(ctx, []cid.Cid{absent}); err != nil {
		t.Error(err)
	} else if blk := <-got; blk != nil {
		t.Errorf("got %s", blk.Cid())
	}
}

func TestTricklerDoesNotHoldASession(t *testing.T) {
	root := raw(t, []byte("this comes at once"))
	leaf := raw(t, []byte("this never comes"))
	var l *liar
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var trickling sync.WaitGroup
	dst, _ := start(t, nil)
	self, err := peer.Decode(dst.ID().PeerID)
	if err != nil {
		t.Fatal(err)
	}
	l, addr := newLiar(t, func(c cid.Cid, block bool) (blocks.Block, *pb.Message_BlockPresenceType) {
		if c.Equals(root.Cid()) {
			return root, nil
		}
		if block {
			trickling.Go(func() { l.trickle(ctx, self) })
		}
		have := pb.Message_Have
		return nil, &have
	})
	if _, err := dst.Connect(ctx, addr); err != nil {
		t.Fatal(err)
	}
	s, watch := dst.WatchedSession(ctx, short()), short()
	for { // a busy machine may need longer for what comes at once
		_, err := s.Get(ctx, root.Cid())
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			t.Fatal(err)
		}
		watch.Timeout *= 2
		s = dst.WatchedSession(ctx, watch)
	}
	_, err = s.Get(ctx, leaf.Cid())
	gaveUp(t, err, leaf.Cid())
	cancel()
	trickling.Wait()
}

// trickle sends a message of 4 MB, 1 KiB every 20 ms, until ctx or the connection
// ends.
func (l *liar) trickle(ctx context.Context, to peer.ID) {
	s, err := l.host.NewStream(ctx, to, "/ipfs/bitswap/1.2.0")
	if err != nil {
		return
	}
	defer s.Reset()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for next := binary.AppendUvarint(nil, 4_000_000); ; next = make([]byte, 1<<10) {
		if _, err := s.Write(next); err != nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
