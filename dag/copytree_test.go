package dag

import (
	"context"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"github.com/hypha-node/hypha-node/blockstore"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
)

func TestCopyTree(t *testing.T) {
	all := trees()
	delete(all["order"], "a")
	all["large"] = tree{"a": string(content(9 << 20)), "b": string(content(5 << 20)), "c/a": string(content(9 << 20)), "d": string(content(2<<20 + 1)), "e": string(content(3 << 20)), "f": string(content(6 << 20))}
	all["copies"] = tree{"a/x/1": "1", "a/x/2": "2", "b/x/1": "1", "b/x/2": "2", "c/y/1": "1", "c/y/2": "2", "1": "1"}
	for name, tr := range all {
		for _, p := range []Profile{V1_2025(), V0_2015()} {
			t.Run(name+"/"+p.String(), func(t *testing.T) {
				t.Parallel()
				theirs, ours := newStore(t), newStore(t)
				dir := tr.write(t)
				want, err := ImportTree(t.Context(), theirs, openRoot(t, dir), ".", TreeOptions{ImportOptions: ImportOptions{Profile: p}, Hidden: true})
				if err != nil {
					t.Fatal(err)
				}
				src := newPeer(t, theirs)
				var told atomic.Int64
				e, err := Copy(t.Context(), ours, src, want.Cid, CopyOptions{Progress: func(n int64) { told.Add(n) }})
				if err != nil || e.Cid != want.Cid || e.Type != TypeDir || e.Size != want.Size {
					t.Fatalf("Copy = %v, %v; want %v", e, err, want)
				}
				if most := src.most.Load(); most > maxWants {
					t.Errorf("%d wants in flight", most)
				}
				src.asked.Store(0)
				if _, err := Copy(t.Context(), ours, src, want.Cid, CopyOptions{}); err != nil || src.asked.Load() != 0 {
					t.Errorf("second Copy asked for %d blocks, %v", src.asked.Load(), err)
				}
				out := t.TempDir()
				if _, err := Export(t.Context(), ours, want.Cid, openRoot(t, out), "out", ExportOptions{Symlinks: true}); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(readTree(t, dir), readTree(t, filepath.Join(out, "out"))); diff != "" {
					t.Errorf("differs: %s", diff)
				}
			})
		}
	}
}

// TestCopyBatches copies a directory of small files: they are asked for
// together, and never more than the bound.
func TestCopyBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		theirs, ours := blockstore.NewMemory(), blockstore.NewMemory()
		f := forge{t, theirs}
		links := make([]link, 5000)
		for i := range links {
			links[i] = link{cid: f.raw([]byte(fmt.Sprint(i))), name: fmt.Sprint(i), size: 4}
		}
		root, err := V1_2025().encodeDir(links, func(blk blocks.Block) error { return theirs.Put(t.Context(), blk) })
		if err != nil {
			t.Fatal(err)
		}
		src := newPeer(t, theirs)
		if _, err := Copy(t.Context(), ours, src, root.cid, CopyOptions{}); err != nil {
			t.Fatal(err)
		}
		if calls, asked := src.calls.Load(), src.asked.Load(); asked > 5001 || calls > 250 {
			t.Errorf("%d requests for %d blocks", calls, asked)
		}
		if most := src.most.Load(); most > maxWants {
			t.Errorf("%d wants in flight", most)
		}
		src.wg.Wait()
	})
}

// TestCopyWideFiles copies more files at once than may be under way, with roots
// that are too large to be kept until it is their turn.
func TestCopyWideFiles(t *testing.T) {
	theirs, ours := newStore(t), newStore(t)
	f := forge{t, theirs}
	leaf := f.raw([]byte("a"))
	var links []link
	for i := range 12 {
		cids, parts := make([]cid.Cid, 7000+i), make([]int64, 7000+i)
		for k := range cids {
			cids[k], parts[k] = leaf, 1
		}
		links = append(links, link{cid: f.file(int64(len(parts)), parts, cids...), name: fmt.Sprint(i)})
	}
	root := f.dir(links...)
	e, err := Copy(t.Context(), ours, newPeer(t, theirs), root, CopyOptions{})
	if err != nil || e.Size != 12*7000+66 {
		t.Fatal(e, err)
	}
	for l, err := range List(t.Context(), ours, root) {
		if err != nil {
			t.Fatal(err)
		}
		got, err := readAll(t.Context(), ours, File{Root: l.Cid})
		if err != nil || int64(len(got)) != l.Size {
			t.Errorf("%s: %d bytes, %v", l.Path, len(got), err)
		}
	}
}

// TestCopyOrder watches the store: when a directory is put, all that it links
// to is there.
func TestCopyOrder(t *testing.T) {
	theirs := newStore(t)
	dir := many(1000).write(t)
	want, err := ImportTree(t.Context(), theirs, openRoot(t, dir), ".", TreeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ours := &ordered{Memory: newStore(t), t: t}
	if _, err := Copy(t.Context(), ours, newPeer(t, theirs), want.Cid, CopyOptions{}); err != nil {
		t.Fatal(err)
	}
	again := &ordered{Memory: newStore(t), t: t}
	if _, err := ImportTree(t.Context(), again, openRoot(t, dir), ".", TreeOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, p := range []Profile{V1_2025(), V0_2015()} {
		f := mustImport(t, theirs, content(3_000_000), ImportOptions{Profile: chunker(p, 1000)})
		again := &ordered{Memory: newStore(t), t: t}
		if _, err := Copy(t.Context(), again, newPeer(t, theirs), f.Root, CopyOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}

// ordered is a store that complains about parents that come before children.
type ordered struct {
	*blockstore.Memory
	t *testing.T
}

func (o *ordered) Put(ctx context.Context, blk blocks.Block) error {
	return o.PutMany(ctx, []blocks.Block{blk})
}

func (o *ordered) PutMany(ctx context.Context, blks []blocks.Block) error {
	if err := o.Memory.PutMany(ctx, blks); err != nil {
		return err
	}
	for _, blk := range blks {
		links, err := Links(blk.Cid(), blk.RawData())
		if err != nil {
			o.t.Error(err)
		}
		for _, c := range links {
			if ok, err := o.Has(ctx, c); err != nil || !ok {
				o.t.Errorf("%s was put before %s", blk.Cid(), c)
			}
		}
	}
	return nil
}
