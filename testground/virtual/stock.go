package virtual

import (
	"context"
	"errors"
	"fmt"
	"io"

	boxobitswap "github.com/ipfs/boxo/bitswap"
	"github.com/ipfs/boxo/bitswap/network/bsnet"
	boxoblockstore "github.com/ipfs/boxo/blockstore"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/ipfs/go-datastore"
	dssync "github.com/ipfs/go-datastore/sync"
	mh "github.com/multiformats/go-multihash"

	"github.com/hypha-node/hypha-node/testground/cases"
)

// stock is a node of unmodified bitswap with a store in memory, to compare with:
// one session that asks for all leaves, in order, and serves each as soon as it
// has it.
type stock struct {
	*node // its host, its wire and its closers

	store   boxoblockstore.Blockstore
	bitswap *boxobitswap.Bitswap
	chunk   int64
}

var _ cases.Node = (*stock)(nil)

// newStock starts a node of stock bitswap.
func (n *links) newStock(ctx context.Context, index int, chunk int64) (*stock, error) {
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	h, w, closeHost, err := n.newHost(index, key, n.link.Up)
	if err != nil {
		return nil, err
	}
	s := &stock{
		node: &node{running: running{host: h, wire: w}}, chunk: chunk,
		store: boxoblockstore.NewBlockstore(dssync.MutexWrap(datastore.NewMapDatastore())),
	}
	s.onClose(closeHost)
	s.bitswap = boxobitswap.New(context.WithoutCancel(ctx), bsnet.NewFromIpfsHost(h), nil, s.store)
	s.onClose(s.bitswap.Close)
	return s, nil
}

// leaves calls f with each block of the content.
func (s *stock) leaves(size int64, f func(blocks.Block) error) error {
	for noise := cases.Noise(size); ; {
		data := make([]byte, s.chunk)
		n, err := io.ReadFull(noise, data)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			return err
		}
		sum, err := mh.Sum(data[:n], mh.SHA2_256, -1)
		if err != nil {
			return err
		}
		blk, err := blocks.NewBlockWithCid(data[:n], cid.NewCidV1(cid.Raw, sum))
		if err == nil {
			err = f(blk)
		}
		if err != nil {
			return err
		}
	}
}

// Traffic implements cases.Node.
func (s *stock) Traffic() cases.Traffic {
	w := s.wire.Stats()
	t := cases.Traffic{Sent: int64(w.BytesSent), Received: int64(w.BytesRcvd)}
	if st, err := s.bitswap.Stat(); err == nil {
		t.Content, t.Double = int64(st.DataReceived), int64(st.DupDataReceived)
	}
	return t
}

// Restart implements cases.Restarter: what the node has is in memory.
func (s *stock) Restart(context.Context, func()) error { return errors.ErrUnsupported }

// Add implements cases.Node. Stock nodes know the leaves of the content by
// themselves; the CID is empty.
func (s *stock) Add(ctx context.Context, size, _ int64) (string, error) {
	return "", s.leaves(size, func(b blocks.Block) error { return s.store.Put(ctx, b) })
}

// Fetch implements cases.Node.
func (s *stock) Fetch(ctx context.Context, _ string, size int64) (int64, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var cids []cid.Cid
	if err := s.leaves(size, func(b blocks.Block) error { cids = append(cids, b.Cid()); return nil }); err != nil {
		return 0, err
	}
	in, err := s.bitswap.NewSession(ctx).GetBlocks(ctx, cids)
	if err != nil {
		return 0, err
	}
	var n int64
	for b := range in { // put, then notify: only so can the others have it from here
		if err := s.store.Put(ctx, b); err != nil {
			return n, err
		}
		if err := s.bitswap.NotifyNewBlocks(ctx, b); err != nil {
			return n, err
		}
		n += int64(len(b.RawData()))
	}
	if n != size {
		return n, fmt.Errorf("%d bytes of %d came", n, size)
	}
	return n, nil
}
