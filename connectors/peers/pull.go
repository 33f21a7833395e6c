package peers

import (
	"context"
	"errors"
	"fmt"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/dag"
)

// copyPatience is how many stalls dag.Copy waits by itself: the circle ends
// sooner, for it sees the bytes of blocks that are not complete yet.
const copyPatience = 20

// copyWindow is how many bytes of one file are under way at most: in dag.Copy and
// once more for other receivers.
const copyWindow = 64 << 20

// delivered is an offer that was taken.
type delivered struct {
	from     peer.ID
	r        *received
	content  []byte   // the file, when it came with the offer
	follower Follower // nil: nobody
}

// pull gets the file of an offer into a store: durable, and what the offer says.
func (s *Service) pull(ctx context.Context, store blockstore.Store, d delivered) error {
	from, r, content, f := d.from, d.r, d.content, d.follower
	have, err := store.File(ctx, r.File.Root)
	if err == nil {
		s.decline(from, r)
		return same(have, r.File)
	}
	if !ipld.IsNotFound(err) {
		return err
	}
	moved := func(context.Context, int) error { return nil }
	if f != nil {
		moved = func(ctx context.Context, n int) error {
			f.Moved(ctx, int64(n))
			return context.Cause(ctx)
		}
	}
	if r.inline > 0 || r.File.Size == 0 && inlined(r.File) {
		err := verify(r.File.Root, content)
		if err != nil {
			return lie(err)
		}
		blk, err := blocks.NewBlockWithCid(content, r.File.Root)
		if err != nil {
			return lie(err)
		}
		return s.copy(ctx, store, one{blk}, r.File, moved)
	}
	free, err := s.acquire(ctx, from, min(max(r.File.Size, 1), copyWindow))
	if err != nil {
		return err
	}
	defer free()
	// Who holds a share waits for nobody who waits for one: what a sender and the
	// other receivers give comes out of their stores.
	share, err := s.cfg.Memory.Take(ctx, dag.ImportMemory(r.File.Size))
	if err != nil {
		return err
	}
	defer share.Release()
	w := s.newCircle(ctx, from, r)
	err = isFile(ctx, rootGetter{store, w}, r.File)
	if err == nil {
		err = s.copy(ctx, store, w, r.File, moved)
	}
	if failed := w.failure(); err != nil && failed != nil {
		err = judged(failed)
	}
	w.close(err == nil)
	return err
}

// decline tells the other receivers that nothing comes in here.
func (s *Service) decline(from peer.ID, r *received) {
	if circle, rest := s.circle(from, r.others); len(circle) > 0 {
		s.shares.finish(s.shares.addHolding(r.File.Root, rest), true)
	}
}

// copy takes a file into a store.
func (s *Service) copy(ctx context.Context, dst blockstore.Store, src dag.Fetcher, f blockstore.File, moved func(context.Context, int) error) error {
	_, err := dag.Copy(ctx, dst, src, f.Root, dag.CopyOptions{
		Accept:  func(got dag.File) (map[string][]byte, error) { return nil, same(got, f) },
		Pace:    moved,
		Stall:   s.cfg.Stall,
		Timeout: copyPatience * s.cfg.Stall,
		Keep:    true,
		Limits:  dag.Limits{Bytes: max(f.Size, 1)},
	})
	return judged(err)
}

// judged makes a lie of the sender's what it is.
func judged(err error) error {
	for _, kind := range []error{dag.ErrMalformed, dag.ErrTooLarge, dag.ErrNotFile, blockstore.ErrCorrupt} {
		if errors.Is(err, kind) {
			return lie(err)
		}
	}
	return err
}

// lie says that the content is not what the offer says.
func lie(err error) *Refusal {
	return &Refusal{Code: CodeMismatch, Detail: err.Error(), Lied: true}
}

// same compares what is there with what was offered.
func same(got, offered blockstore.File) error {
	if got.Size != offered.Size {
		return lie(fmt.Errorf("%s has %d bytes, not %d", offered.Root, got.Size, offered.Size))
	}
	if got.SHA256 != offered.SHA256 {
		return lie(fmt.Errorf("%s has sha256 %x, not %x", offered.Root, got.SHA256, offered.SHA256))
	}
	return nil
}

// isFile looks at the root before anything is stored.
func isFile(ctx context.Context, src rootGetter, f blockstore.File) error {
	info, err := dag.Stat(ctx, src, f.Root)
	switch {
	case err != nil:
		return judged(err)
	case info.Type != dag.TypeFile:
		return lie(fmt.Errorf("%s is a %s", f.Root, info.Type))
	case info.Size != f.Size:
		return lie(fmt.Errorf("%s has %d bytes, not %d", f.Root, info.Size, f.Size))
	}
	return nil
}

// rootGetter gets a block out of the store, or else from the circle.
type rootGetter struct {
	store blockstore.Store
	from  dag.Fetcher
}

func (g rootGetter) Get(ctx context.Context, c cid.Cid) (blocks.Block, error) {
	blk, err := g.store.Get(ctx, c)
	if !ipld.IsNotFound(err) {
		return blk, err
	}
	got, err := g.from.GetBlocks(ctx, []cid.Cid{c})
	if err != nil {
		return nil, err
	}
	select {
	case blk, ok := <-got:
		if !ok {
			return nil, ipld.ErrNotFound{Cid: c}
		}
		return blk, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// one is a source of one block.
type one struct{ blk blocks.Block }

// GetBlocks returns the block, whatever is asked for.
func (o one) GetBlocks(context.Context, []cid.Cid) (<-chan blocks.Block, error) {
	ch := make(chan blocks.Block, 1)
	ch <- o.blk
	close(ch)
	return ch, nil
}
