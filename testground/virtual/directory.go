package virtual

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/sync/errgroup"

	"github.com/hypha-node/hypha-node/bitswap"
	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/connectors/ipfs"
	"github.com/hypha-node/hypha-node/dag"
	"github.com/hypha-node/hypha-node/testground/cases"
)

// Times in a directory, virtual.
const (
	meeting  = 30 * time.Second // in which routing tables fill, by what each node looks up when it begins
	settling = 15 * time.Second // in which a record has gone wherever it goes: longer than dials and messages may take
)

// firstNewcomer is the index of the first node that comes after all others have met.
const firstNewcomer = 1 << 10

// resident is a node of a directory: the exchange of a node, with its DHT and what
// announces and gets, without a store on disk and without jobs.
type resident struct {
	wire   *wire
	store  blockstore.Store
	ex     *bitswap.Exchange
	blocks *ipfs.Connector
	ends   []func() error
}

// newResident starts a node whose DHT the ear hears. bootstrap holds the addresses that
// it enters the network by; with none it dials nobody.
func (n *links) newResident(ctx context.Context, index int, e *ear, bootstrap ...string) (_ *resident, err error) {
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	h, w, closeHost, err := n.newHost(index, key, n.link.Up)
	if err != nil {
		return nil, err
	}
	r := &resident{wire: w, store: blockstore.NewMemory(), ends: []func() error{closeHost}}
	r.ex, err = bitswap.New(ctx, bitswap.Config{Host: tapped{h, e}, Store: r.store, Bootstrap: bootstrap})
	if err != nil {
		return nil, errors.Join(err, r.close())
	}
	r.blocks = ipfs.New(r.store, r.ex)
	r.ends = append(r.ends, r.ex.Close)
	rctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan error, 1)
	go func() { done <- r.ex.Run(rctx) }()
	r.ends = append(r.ends, func() error { stop(); return <-done })
	return r, nil
}

// close ends the node, newest part first.
func (r *resident) close() error {
	var errs []error
	for _, f := range slices.Backward(r.ends) {
		errs = append(errs, f())
	}
	return errors.Join(errs...)
}

// keep stores a small file.
func (r *resident) keep(ctx context.Context, data []byte, root cid.Cid) error {
	blk, err := blocks.NewBlockWithCid(data, root)
	if err != nil {
		return err
	}
	return r.store.Put(ctx, blk)
}

// id is the node's.
func (r *resident) id() peer.ID { return r.ex.Host().ID() }

// meet connects to another node.
func (r *resident) meet(ctx context.Context, other *resident) error {
	return r.ex.Host().Connect(ctx, peer.AddrInfo{ID: other.id(), Addrs: other.ex.Host().Addrs()})
}

// PlayDirectory plays a case of the DHT, in a bubble as Play does: nodes connect to
// two others, and find the rest by themselves; then some die without a word, and the
// others announce content, look for it, and get it.
func PlayDirectory(ctx context.Context, d cases.Directory) (_ []cases.Row, err error) {
	l := newLinks(d.Link, nil)
	defer l.close()
	e := newEar()
	nodes := make([]*resident, d.Peers)
	defer func() {
		for _, n := range nodes {
			if n != nil {
				err = errors.Join(err, n.close())
			}
		}
	}()
	for i := range nodes {
		if nodes[i], err = l.newResident(ctx, i, e); err != nil {
			return nil, fmt.Errorf("node %d: %w", i, err)
		}
		if i == 0 {
			continue
		}
		for _, known := range []int{0, i / 2} {
			if err := nodes[i].meet(ctx, nodes[known]); err != nil {
				return nil, err
			}
		}
	}
	<-time.After(meeting)
	for _, n := range nodes[:d.Dead] { // node 0 among them, whom all knew
		n.wire.cut.Store(true)
	}
	all, err := e.records(ctx, d.Records, nodes[d.Dead:])
	if err == nil && d.Join > 0 {
		err = l.joins(ctx, e, all, nodes[d.Dead:])
	}
	if err == nil && d.Fetch > 0 {
		err = fetches(ctx, all, nodes[d.Dead:])
	}
	if err != nil {
		return nil, err
	}
	return d.Rows(all), nil
}

// smallFile is the content of a record.
func smallFile(index int) []byte {
	return bytes.Repeat(binary.BigEndian.AppendUint64(nil, uint64(index)), 512)
}

// fetches has nodes get the content of records, all at once: each another one than
// those that announced it or looked for it.
func fetches(ctx context.Context, all []cases.Lookup, living []*resident) error {
	start := time.Now()
	g, ctx := errgroup.WithContext(ctx)
	for i := range all {
		sum := sha256.Sum256(smallFile(i))
		asker := living[(i+len(living)/2)%len(living)]
		g.Go(func() error {
			root, err := bitswap.FileKey(sum)
			if err != nil {
				return err
			}
			got, err := asker.blocks.Fetch(ctx, root, dag.CopyOptions{})
			if err != nil {
				return err
			}
			if got.SHA256 == nil || *got.SHA256 != sum {
				return fmt.Errorf("record %d: other bytes came", i)
			}
			all[i].Fetched = time.Since(start)
			return nil
		})
	}
	return g.Wait()
}

// joins has a newcomer for each record, one after the other, enter the network by the
// first node alone and, when it has met the others, get the content from the node that
// announced it, with which it has no connection any more.
func (n *links) joins(ctx context.Context, e *ear, all []cases.Lookup, living []*resident) error {
	bootstrap := fmt.Sprintf("%s/p2p/%s", living[0].ex.Host().Addrs()[0], living[0].id())
	for i := range all {
		sum := sha256.Sum256(smallFile(i))
		root, err := bitswap.FileKey(sum)
		if err != nil {
			return err
		}
		holder := living[i%len(living)]
		newcomer, err := n.newResident(ctx, firstNewcomer+i, e, bootstrap)
		if err != nil {
			return err
		}
		<-time.After(settling)
		err = newcomer.ex.Host().Network().ClosePeer(holder.id())
		if err == nil {
			if c := newcomer.ex.Host().Network().Connectedness(holder.id()); c != network.NotConnected {
				err = fmt.Errorf("record %d: the newcomer is connected to the holder", i)
			}
		}
		start := time.Now()
		if err == nil {
			_, err = newcomer.blocks.Fetch(ctx, root, dag.CopyOptions{})
		}
		all[i].Joined = time.Since(start)
		if err := errors.Join(err, newcomer.close()); err != nil {
			return fmt.Errorf("newcomer %d: %w", i, err)
		}
	}
	return nil
}

// records has nodes announce content, all at once, and then others that don't keep the
// records look for it.
func (e *ear) records(ctx context.Context, count int, living []*resident) ([]cases.Lookup, error) {
	all := make([]cases.Lookup, count)
	sums, keys := make([][sha256.Size]byte, count), make([]cid.Cid, count)
	start := time.Now()
	g, gctx := errgroup.WithContext(ctx)
	for i := range all {
		var err error
		sums[i] = sha256.Sum256(smallFile(i))
		if keys[i], err = bitswap.FileKey(sums[i]); err != nil {
			return nil, err
		}
		if err := living[i%len(living)].keep(ctx, smallFile(i), keys[i]); err != nil {
			return nil, err
		}
		g.Go(func() error { return living[i%len(living)].ex.Provide(gctx, keys[i]) })
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	<-time.After(settling)
	var asking sync.WaitGroup
	again := time.Now()
	for i := range all {
		keepers := e.keepers(keys[i].Hash())
		for _, at := range keepers {
			all[i].Provided = max(all[i].Provided, at.Sub(start))
		}
		for step := 1; step < len(living); step++ {
			asker := living[(i+step)%len(living)]
			if _, keeps := keepers[asker.id()]; keeps {
				continue
			}
			asking.Go(func() {
				for range asker.ex.Holders(ctx, sums[i]) { // it asks the DHT, whatever comes
				}
				if at, ok := e.finders(keys[i].Hash())[asker.id()]; ok {
					all[i].Found = at.Sub(again)
				}
			})
			break
		}
	}
	asking.Wait()
	return all, nil
}
