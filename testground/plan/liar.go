package plan

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hypha-node/hypha-node/bitswap"
	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/dag"
	"github.com/hypha-node/hypha-node/testground/cases"
	"github.com/hypha-node/hypha-node/testground/faulty"
)

// liar is the node of an instance that has the content and does not send it as it is:
// the node's store and exchange, with what the exchange reads put wrong.
type liar struct {
	wire  wire
	store *blockstore.Disk
	ex    *bitswap.Exchange
}

var _ cases.Node = (*liar)(nil)

// startLiar starts a node with a fault.
func startLiar(ctx context.Context, fault cases.Fault, at place) (_ *liar, err error) {
	l, repo := &liar{wire: at.wire}, filepath.Join(at.dir, "repo")
	if l.store, err = blockstore.Open(ctx, repo, blockstore.Options{Reserve: -1}); err != nil {
		return nil, err
	}
	key, err := bitswap.LoadIdentity(repo)
	if err == nil {
		l.ex, err = bitswap.New(ctx, bitswap.Config{
			Identity: key, Listen: []string{at.listen()},
			Store: faulty.Store(l.store, fault), Datastore: l.store.Datastore("net"),
		})
	}
	if err != nil {
		return nil, errors.Join(err, l.store.Close())
	}
	return l, nil
}

// stop ends the node.
func (l *liar) stop() error { return errors.Join(l.ex.Close(), l.store.Close()) }

// Address implements cases.Node.
func (l *liar) Address() string {
	id := l.ex.ID()
	i := slices.IndexFunc(id.Addresses, func(a string) bool { return strings.HasSuffix(a, "/p2p/"+id.PeerID) })
	if i < 0 {
		return ""
	}
	return id.Addresses[i]
}

// Connect implements cases.Node.
func (l *liar) Connect(ctx context.Context, address string) error {
	_, err := l.ex.Connect(ctx, address)
	return err
}

// Add implements cases.Node.
func (l *liar) Add(ctx context.Context, size, chunk int64) (string, error) {
	if chunk == 0 {
		chunk = cases.DefaultChunk
	}
	profile, err := dag.V1_2025().WithChunker(fmt.Sprintf("size-%d", chunk))
	if err != nil {
		return "", err
	}
	f, err := dag.Import(ctx, l.store, cases.Noise(size), dag.ImportOptions{Size: size, Profile: profile})
	return f.Root.String(), err
}

// Fetch implements cases.Node: it wants nothing.
func (l *liar) Fetch(context.Context, string, int64) (int64, error) { return 0, errors.ErrUnsupported }

// Leave implements cases.Node: it stays.
func (l *liar) Leave(context.Context) error { return errors.ErrUnsupported }

// Received implements cases.Meter.
func (l *liar) Received() int64 { return l.wire.Received() }

// Traffic implements cases.Meter. It knows what was on the wire alone.
func (l *liar) Traffic(context.Context) (cases.Traffic, error) { return l.wire.traffic() }
