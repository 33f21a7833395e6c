package gateway

import (
	"context"
	"errors"
	"sync"

	boxoblockstore "github.com/ipfs/boxo/blockstore"
	boxoexchange "github.com/ipfs/boxo/exchange"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"

	"github.com/hypha-node/hypha-node/dag"
)

// ahead is how many blocks a request asks peers for at once.
const ahead = 16

// errReadOnly is the error of what would change the store.
var errReadOnly = errors.New("a gateway stores nothing")

// view is the store as clients of the gateway see it.
type view struct {
	Store
	served func(ctx context.Context, c cid.Cid) bool // nil: all
}

var _ boxoblockstore.Blockstore = (*view)(nil)

// hides tells whether clients may not have a block.
func (v *view) hides(ctx context.Context, c cid.Cid) bool {
	return v.served != nil && !v.served(ctx, c)
}

// Has tells whether clients can have a block.
func (v *view) Has(ctx context.Context, c cid.Cid) (bool, error) {
	if v.hides(ctx, c) {
		return false, nil
	}
	return v.Store.Has(ctx, c)
}

// Get returns a block.
func (v *view) Get(ctx context.Context, c cid.Cid) (blocks.Block, error) {
	if v.hides(ctx, c) {
		return nil, ipld.ErrNotFound{Cid: c}
	}
	return v.Store.Get(ctx, c)
}

// View calls do with the bytes of a block.
func (v *view) View(ctx context.Context, c cid.Cid, do func([]byte) error) error {
	if v.hides(ctx, c) {
		return ipld.ErrNotFound{Cid: c}
	}
	return v.Store.View(ctx, c, do)
}

// GetSize returns the size of a block: bytes.
func (v *view) GetSize(ctx context.Context, c cid.Cid) (int, error) {
	if v.hides(ctx, c) {
		return -1, ipld.ErrNotFound{Cid: c}
	}
	return v.Store.GetSize(ctx, c)
}

// Put does nothing: what came from a peer is stored by who asked for it.
func (*view) Put(context.Context, blocks.Block) error { return nil }

// PutMany does nothing, as Put.
func (*view) PutMany(context.Context, []blocks.Block) error { return nil }

// DeleteBlock refuses.
func (*view) DeleteBlock(context.Context, cid.Cid) error { return errReadOnly }

// exchange is where boxo asks for what is not stored.
type exchange struct{ config *Config }

var _ boxoexchange.SessionExchange = (*exchange)(nil)

// NewSession returns a source for one request.
func (e *exchange) NewSession(ctx context.Context) boxoexchange.Fetcher {
	if e.config.Fetch == nil {
		return nowhere{}
	}
	return &session{config: e.config, source: sync.OnceValue(func() dag.Getter { return e.config.Fetch(ctx) })}
}

// GetBlock gets a block outside of a session.
func (e *exchange) GetBlock(ctx context.Context, c cid.Cid) (blocks.Block, error) {
	return e.NewSession(ctx).GetBlock(ctx, c)
}

// GetBlocks gets blocks outside of a session.
func (e *exchange) GetBlocks(ctx context.Context, cs []cid.Cid) (<-chan blocks.Block, error) {
	return e.NewSession(ctx).GetBlocks(ctx, cs)
}

// NotifyNewBlocks does nothing: who stored them has told.
func (*exchange) NotifyNewBlocks(context.Context, ...blocks.Block) error { return nil }

// Close does nothing.
func (*exchange) Close() error { return nil }

// nowhere has nothing.
type nowhere struct{}

// GetBlock returns ipld.ErrNotFound.
func (nowhere) GetBlock(_ context.Context, c cid.Cid) (blocks.Block, error) {
	return nil, ipld.ErrNotFound{Cid: c}
}

// GetBlocks returns none.
func (nowhere) GetBlocks(context.Context, []cid.Cid) (<-chan blocks.Block, error) {
	ch := make(chan blocks.Block)
	close(ch)
	return ch, nil
}

// session gets what one request needs from peers.
type session struct {
	config *Config
	source func() dag.Getter
}

// GetBlock gets a block. The store is asked again on the way, so that what may not
// be served is held back here, too.
func (s *session) GetBlock(ctx context.Context, c cid.Cid) (blocks.Block, error) {
	if s.config.Served != nil && !s.config.Served(ctx, c) {
		return nil, ipld.ErrNotFound{Cid: c}
	}
	return s.source().Get(ctx, c)
}

// GetBlocks gets blocks, several at once, and closes the channel when it has done
// what it can or ctx is done.
func (s *session) GetBlocks(ctx context.Context, cs []cid.Cid) (<-chan blocks.Block, error) {
	out, work := make(chan blocks.Block), make(chan cid.Cid)
	var workers sync.WaitGroup
	for range min(ahead, len(cs)) {
		workers.Go(func() {
			for c := range work {
				blk, err := s.GetBlock(ctx, c)
				if err != nil {
					continue // its absence says so, as the interface has it
				}
				select {
				case out <- blk:
				case <-ctx.Done():
				}
			}
		})
	}
	go func() { // ends with ctx at the latest
		defer close(out)
		defer workers.Wait()
		defer close(work)
		for _, c := range cs {
			select {
			case work <- c:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out, nil
}
