package ingest_test

import (
	"bytes"
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/connectors"
	"github.com/hypha-node/hypha-node/connectors/ingest"
	"github.com/hypha-node/hypha-node/dag"
)

// peer is another node's store, asked block by block.
type peer struct {
	src    blockstore.Store
	copies atomic.Int64
	saved  int64
	hold   chan struct{} // nil: answers at once
}

func (p *peer) FetchInto(ctx context.Context, dst blockstore.Store, root cid.Cid, o dag.CopyOptions) (dag.Entry, error) {
	p.copies.Add(1)
	e, err := dag.Copy(ctx, dst, p, root, o)
	e.Saved = p.saved
	return e, err
}

func (p *peer) GetBlocks(ctx context.Context, cs []cid.Cid) (<-chan blocks.Block, error) {
	out := make(chan blocks.Block)
	go func() {
		defer close(out)
		for _, c := range cs {
			if p.hold != nil {
				select {
				case <-p.hold:
				case <-ctx.Done():
					return
				}
			}
			blk, err := p.src.Get(ctx, c)
			if err != nil {
				return
			}
			select {
			case out <- blk:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out, nil
}

func TestRoot(t *testing.T) {
	eachStore(t, func(t *testing.T, s blockstore.Store) {
		p := &peer{src: blockstore.NewMemory()}
		var stored int
		e := newEngine(t, ingest.Config{Store: s, Blocks: p, OnStored: func(_ context.Context, _ dag.File, private bool) {
			if stored++; private {
				t.Error("private")
			}
		}})
		for i, n := range sizes() {
			content, tee := random(byte(i), n), &memFile{}
			f, err := dag.Import(t.Context(), p.src, bytes.NewReader(content), dag.ImportOptions{})
			must(t, err)
			it := connectors.Item{Path: "f", Size: -1, Root: f.Root}
			got, err := e.Fetch(t.Context(), it, ingest.Options{Tee: tee})
			must(t, err)
			checkStored(t, s, got.File, content)
			if got.File != f || got.From != ingest.FromPeer && n > 0 || got.PeerBytes != int64(n) || !got.Verified {
				t.Errorf("%+v", got)
			}
			if n > 0 && (!got.Teed || !bytes.Equal(tee.b, content)) {
				t.Errorf("tee has %d bytes, whole: %v", len(tee.b), got.Teed)
			}
			again, err := e.Fetch(t.Context(), it, ingest.Options{})
			if err != nil || again.From != ingest.FromStore || again.PeerBytes != 0 || !again.Verified {
				t.Errorf("%+v, %v", again, err)
			}
		}
		if n := p.copies.Load(); n != int64(len(sizes())) {
			t.Errorf("%d copies, want %d", n, len(sizes()))
		}
	})
}

// flushStore counts what makes its changes durable.
type flushStore struct {
	blockstore.Store
	flushes *atomic.Int64
}

func (s flushStore) Scope(name string) blockstore.Store {
	return flushStore{s.Store.Scope(name), s.flushes}
}

func (s flushStore) Sync(ctx context.Context) error {
	s.flushes.Add(1)
	return s.Store.Sync(ctx)
}

func (s flushStore) Pin(ctx context.Context, p blockstore.Pin) error {
	s.flushes.Add(1)
	return s.Store.Pin(ctx, p)
}

// TestRootFlushes: a file of one block is made durable once, by its pin or for want
// of one, and is so for everybody who waits for it.
func TestRootFlushes(t *testing.T) {
	for name, o := range map[string]ingest.Options{"pinned": {}, "not pinned": {NoPin: true}} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			disk, err := blockstore.Open(t.Context(), dir, blockstore.Options{Reserve: -1})
			must(t, err)
			s := flushStore{disk, new(atomic.Int64)}
			p := &peer{src: blockstore.NewMemory(), saved: 7}
			e := newEngine(t, ingest.Config{Store: s, Blocks: p})
			content := random(1, 4<<10)
			f, err := dag.Import(t.Context(), p.src, bytes.NewReader(content), dag.ImportOptions{})
			must(t, err)
			got, err := e.Fetch(t.Context(), connectors.Item{Path: "f", Size: -1, Root: f.Root}, o)
			must(t, err)
			if n := s.flushes.Load(); got.From != ingest.FromPeer || n != 1 || got.SavedBytes != p.saved {
				t.Errorf("%d flushes for %+v, want 1", n, got)
			}
			must(t, disk.Close())
		})
	}
}

// TestRootOfPrivateBlocks: a root that somebody made of another's blocks is no way
// to them: they have to come from where it came from, and then they are everybody's.
func TestRootOfPrivateBlocks(t *testing.T) {
	eachStore(t, func(t *testing.T, s blockstore.Store) {
		content := random(1, 3<<20)
		f, err := dag.Import(t.Context(), s.Scope("a"), bytes.NewReader(content), dag.ImportOptions{})
		must(t, err)
		node, err := s.Get(t.Context(), f.Root)
		must(t, err)
		links, err := dag.Links(node.Cid(), node.RawData())
		must(t, err)
		must(t, s.DeleteBlock(t.Context(), f.Root)) // the leaves stay, and are a's
		p := &peer{src: blockstore.NewMemory()}
		must(t, p.src.Put(t.Context(), node))
		e := newEngine(t, ingest.Config{Store: s, Blocks: p})
		it := connectors.Item{Path: "f", Size: -1, Root: f.Root}
		for _, acc := range []connectors.Access{{Scope: "b"}, {Operator: true}} {
			if got, err := e.Fetch(t.Context(), it, ingest.Options{Access: acc, Timeout: 50 * time.Millisecond}); err == nil {
				t.Errorf("%+v got %+v", acc, got)
			}
		}
		for _, c := range links {
			checkPrivate(t, s, dag.File{Root: c}, true)
		}
		_, err = dag.Import(t.Context(), p.src, bytes.NewReader(content), dag.ImportOptions{})
		must(t, err)
		got, err := e.Fetch(t.Context(), it, ingest.Options{Access: connectors.Access{Scope: "b"}})
		if err != nil || got.Private || got.PeerBytes != int64(len(content)) {
			t.Errorf("%+v, %v: want all of it from the peer", got, err)
		}
		checkStored(t, s.Scope(""), f, content)
	})
}

// TestRootMismatch holds that a root whose content is not what else was said of
// it is refused, whether it is stored or not.
func TestRootMismatch(t *testing.T) {
	s := blockstore.NewMemory()
	p := &peer{src: blockstore.NewMemory()}
	e := newEngine(t, ingest.Config{Store: s, Blocks: p})
	for _, n := range []int{1000, 3 << 20} {
		content := random(1, n)
		f, err := dag.Import(t.Context(), p.src, bytes.NewReader(content), dag.ImportOptions{})
		must(t, err)
		wrong := connectors.Item{Path: "f", Size: -1, Root: f.Root, SHA256: &[32]byte{1}}
		for _, it := range []connectors.Item{wrong, with(wrong, func(it *connectors.Item) { it.SHA256, it.Size = nil, 1 })} {
			if _, err := e.Fetch(t.Context(), it, ingest.Options{}); !errors.Is(err, connectors.ErrMismatch) {
				t.Errorf("%v, want ErrMismatch", err)
			}
			if has, err := s.Has(t.Context(), f.Root); has || err != nil {
				t.Errorf("Has = %v, %v, want false", has, err)
			}
		}
		_, err = e.Fetch(t.Context(), with(wrong, func(it *connectors.Item) { it.SHA256 = &f.SHA256 }), ingest.Options{})
		must(t, err)
		if _, err := e.Fetch(t.Context(), wrong, ingest.Options{}); !errors.Is(err, connectors.ErrMismatch) {
			t.Errorf("stored: %v, want ErrMismatch", err)
		}
	}
}

func TestRootRefused(t *testing.T) {
	s, src := blockstore.NewMemory(), blockstore.NewMemory()
	f, err := dag.Import(t.Context(), src, bytes.NewReader(random(1, 100)), dag.ImportOptions{})
	must(t, err)
	it := connectors.Item{Path: "f", Size: -1, Root: f.Root}
	offline := newEngine(t, ingest.Config{Store: s})
	if _, err := offline.Fetch(t.Context(), it, ingest.Options{}); !errors.Is(err, connectors.ErrNotFound) {
		t.Errorf("without a network: %v, want ErrNotFound", err)
	}
	// An empty directory, as UnixFS has it.
	dir, err := cid.Decode("bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354")
	must(t, err)
	blk, err := blocks.NewBlockWithCid([]byte{0x0a, 0x02, 0x08, 0x01}, dir)
	must(t, err)
	must(t, src.Put(t.Context(), blk))
	e := newEngine(t, ingest.Config{Store: s, Blocks: &peer{src: src}})
	if _, err := e.Fetch(t.Context(), connectors.Item{Path: "d", Size: -1, Root: dir}, ingest.Options{}); !errors.Is(err, connectors.ErrInvalid) || !errors.Is(err, dag.ErrNotFile) {
		t.Errorf("directory: %v, want ErrInvalid and ErrNotFile", err)
	}
}

// TestRootAtOnce holds that callers of one root, as CIDv0 or CIDv1, share a copy.
func TestRootAtOnce(t *testing.T) {
	s, content := blockstore.NewMemory(), random(1, 3<<20)
	p := &peer{src: blockstore.NewMemory(), hold: make(chan struct{})}
	f, err := dag.Import(t.Context(), p.src, bytes.NewReader(content), dag.ImportOptions{Profile: dag.V0_2015()})
	must(t, err)
	e := newEngine(t, ingest.Config{Store: s, Blocks: p})
	var calls []*call
	for i := range 8 {
		root := f.Root
		if i%2 == 0 {
			root = cid.NewCidV1(cid.DagProtobuf, f.Root.Hash())
		}
		calls = append(calls, begin(t, e, connectors.Item{Path: "f", Size: -1, Root: root}))
	}
	until(t, "all wait", func() bool { n, _ := e.Waiting(); return n == 8 })
	calls[0].cancel(errGaveUp)
	close(p.hold)
	for _, c := range calls[1:] {
		<-c.done
		must(t, c.err)
		checkStored(t, s, c.got.File, content)
	}
	if n := p.copies.Load(); n != 1 {
		t.Errorf("%d copies, want 1", n)
	}
}
