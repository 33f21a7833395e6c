package ingest_test

import (
	"bytes"
	"context"
	"path/filepath"
	"slices"
	"testing"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/connectors/ingest"
	"github.com/hypha-node/hypha-node/dag"
)

// dying is a peer that ends when so much of a root has been written.
type dying struct {
	*peer
	root cid.Cid
	leaf cid.Cid // is not sent any more
	at   int64   // bytes before it
	gone chan struct{}
}

// newDying has a peer die in the middle of a file.
func newDying(t *testing.T, p *peer, f dag.File, at int64) *dying {
	t.Helper()
	root, err := p.src.Get(t.Context(), f.Root)
	must(t, err)
	leaves, err := dag.Links(f.Root, root.RawData())
	must(t, err)
	return &dying{peer: p, root: f.Root, leaf: leaves[at*int64(len(leaves))/f.Size], at: at, gone: make(chan struct{})}
}

func (d *dying) FetchInto(ctx context.Context, dst blockstore.Store, root cid.Cid, o dag.CopyOptions) (dag.Entry, error) {
	if root != d.root {
		return d.peer.FetchInto(ctx, dst, root, o)
	}
	var done int64
	came := o.Progress
	o.Progress = func(n int64) { // by the writer, in order
		came(n)
		if done += n; done == d.at {
			close(d.gone)
		}
	}
	return dag.Copy(ctx, dst, d, root, o)
}

func (d *dying) GetBlocks(ctx context.Context, cs []cid.Cid) (<-chan blocks.Block, error) {
	i := slices.Index(cs, d.leaf)
	if i < 0 {
		return d.peer.GetBlocks(ctx, cs)
	}
	before, err := d.peer.GetBlocks(ctx, cs[:i])
	out := make(chan blocks.Block)
	go func() {
		defer close(out)
		for blk := range before {
			select {
			case out <- blk:
			case <-ctx.Done():
			}
		}
		select {
		case <-d.gone:
		case <-ctx.Done():
		}
	}()
	return out, err
}

// TestHolderDies: what a holder has sent before it dies is not fetched again, if it can
// be gone on with, and harms nobody if it is not the content.
func TestHolderDies(t *testing.T) {
	const size, at = 20 << 20, 12 << 20
	content := random(1, size)
	small, err := dag.V1_2025().WithChunker("size-262144")
	must(t, err)
	for _, c := range []struct {
		name    string
		sends   []byte      // of who dies
		leaves  dag.Profile // likewise
		another bool        // who has the content in other leaves is asked next
		origin  int64       // bytes that it sends
	}{
		{name: "the origin goes on", sends: content, origin: size - at},
		{name: "the origin can't go on with other leaves", sends: content, leaves: small, origin: size + size - at},
		{name: "what came was a lie", sends: random(2, size), origin: size + size - at},
		{name: "the next one has other leaves", sends: content, another: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			s, err := blockstore.Open(t.Context(), dir, blockstore.Options{Reserve: -1})
			must(t, err)
			t.Cleanup(func() { must(t, s.Close()) })
			p := &peer{src: blockstore.NewMemory()}
			f, err := dag.Import(t.Context(), p.src, bytes.NewReader(c.sends), dag.ImportOptions{Profile: c.leaves})
			must(t, err)
			net := &crowd{says: []ingest.Holder{{"a", f.Root, f.Size}}}
			if c.another {
				f, err := dag.Import(t.Context(), p.src, bytes.NewReader(content), dag.ImportOptions{Profile: small})
				must(t, err)
				net.says = append(net.says, ingest.Holder{"b", f.Root, f.Size})
			}
			o := newOrigin(t, map[string]*served{"/f": {content: content, etag: quoted(1)}})
			e := newEngine(t, ingest.Config{Store: s, Blocks: newDying(t, p, f, at), Finder: net})
			var got ingest.Fetched
			_, n := o.counted(func() { got = fetch(t, e, s, o.checked("/f", content), content) })
			if n > c.origin || n < min(c.origin, size-at) || (got.From == ingest.FromPeer) != c.another || !slices.Equal(net.blamed, []string{"a false"}) {
				t.Errorf("%d bytes of the origin, want %d, %+v; blamed %q", n, c.origin, got, net.blamed)
			}
			left, err := filepath.Glob(filepath.Join(dir, "segments", "*.part"))
			if err != nil || len(left) != 0 {
				t.Errorf("left behind: %q, %v", left, err)
			}
		})
	}
}
