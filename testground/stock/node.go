// Package stock has nodes of unmodified bitswap, to compare this project's with. They
// play the same cases over the same links.
//
// A node asks for all leaves of a content in one session, in order, and serves each as
// soon as it has it. Its store is in memory, and what it fetches is compared with the
// CIDs of the leaves, and with nothing else: it has no jobs.
package stock

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
	"github.com/libp2p/go-libp2p/core/host"
	mh "github.com/multiformats/go-multihash"

	"github.com/hypha-node/hypha-node/testground/cases"
)

// Wire tells what has gone over a host's links since it was made, in bytes.
type Wire func() (sent, received int64)

// Node is a node of stock bitswap.
type Node struct {
	cases.Host
	wire    Wire
	store   boxoblockstore.Blockstore
	bitswap *boxobitswap.Bitswap
	chunk   int64
}

var _ cases.Node = (*Node)(nil)

// New starts a node on a host, for content in blocks of chunk bytes, 0 for
// cases.DefaultChunk. Close ends it, not the host.
func New(ctx context.Context, h host.Host, wire Wire, chunk int64) *Node {
	if chunk == 0 {
		chunk = cases.DefaultChunk
	}
	n := &Node{Host: cases.Host{Libp2p: h}, wire: wire, chunk: chunk, store: boxoblockstore.NewBlockstore(dssync.MutexWrap(datastore.NewMapDatastore()))}
	n.bitswap = boxobitswap.New(context.WithoutCancel(ctx), bsnet.NewFromIpfsHost(h), nil, n.store)
	return n
}

// Close ends the node.
func (n *Node) Close() error { return n.bitswap.Close() }

// leaves calls f with each block of the content.
func (n *Node) leaves(size int64, f func(blocks.Block) error) error {
	for noise := cases.Noise(size); ; {
		data := make([]byte, n.chunk)
		count, err := io.ReadFull(noise, data)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			return err
		}
		sum, err := mh.Sum(data[:count], mh.SHA2_256, -1)
		if err != nil {
			return err
		}
		blk, err := blocks.NewBlockWithCid(data[:count], cid.NewCidV1(cid.Raw, sum))
		if err == nil {
			err = f(blk)
		}
		if err != nil {
			return err
		}
	}
}

// Received implements cases.Meter.
func (n *Node) Received() int64 {
	_, received := n.wire()
	return received
}

// Traffic implements cases.Meter. What told and asked for blocks is not known.
func (n *Node) Traffic(context.Context) (t cases.Traffic, err error) {
	t.Sent, t.Received = n.wire()
	st, err := n.bitswap.Stat()
	if err != nil {
		return t, err
	}
	t.Content, t.Double = int64(st.DataReceived), int64(st.DupDataReceived) //nolint:gosec // bytes of a case
	return t, nil
}

// Add implements cases.Node. Nodes know the leaves of the content by themselves; the CID
// is empty.
func (n *Node) Add(ctx context.Context, size, _ int64) (string, error) {
	return "", n.leaves(size, func(b blocks.Block) error { return n.store.Put(ctx, b) })
}

// Fetch implements cases.Node.
func (n *Node) Fetch(ctx context.Context, _ string, size int64) (int64, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var cids []cid.Cid
	if err := n.leaves(size, func(b blocks.Block) error { cids = append(cids, b.Cid()); return nil }); err != nil {
		return 0, err
	}
	in, err := n.bitswap.NewSession(ctx).GetBlocks(ctx, cids)
	if err != nil {
		return 0, err
	}
	var came int64
	for b := range in { // put, then notify: only so can the others have it from here
		if err := n.store.Put(ctx, b); err != nil {
			return came, err
		}
		if err := n.bitswap.NotifyNewBlocks(ctx, b); err != nil {
			return came, err
		}
		came += int64(len(b.RawData()))
	}
	if came != size {
		return came, fmt.Errorf("%d bytes of %d came", came, size)
	}
	return came, nil
}
