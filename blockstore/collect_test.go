package blockstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"

	"github.com/hypha-node/hypha-node/internal/diskspace"
)

// bigDAG is a file of n leaves of size bytes each, that follow from seed.
func bigDAG(seed, n, size int) testDAG {
	var f testDAG
	var node []byte
	for i := range n {
		leaf := mustBlock(cid.Raw, bytes.Repeat(fmt.Appendf(nil, "%d/%d.", seed, i), size)[:size])
		f.leaves = append(f.leaves, leaf)
		f.Size += int64(size)
		link := append([]byte{0x0a, byte(len(leaf.Cid().Bytes()))}, leaf.Cid().Bytes()...)
		node = append(append(node, 0x12, byte(len(link))), link...)
	}
	f.node = mustBlock(cid.DagProtobuf, append(node, 0x0a, 1, byte(seed)))
	f.Root = f.node.Cid()
	f.SHA256[0] = byte(seed)
	return f
}

func store(t testing.TB, s Store, f testDAG, aliases ...string) {
	t.Helper()
	ctx := context.Background()
	w, err := s.NewFile(ctx, f.Size)
	check(t, err)
	var off int64
	for _, leaf := range f.leaves {
		check(t, w.WriteLeaf(off, leaf.Cid(), leaf.RawData()))
		off += int64(len(leaf.RawData()))
	}
	check(t, w.PutNode(f.node))
	all := make(map[string][]byte)
	for _, a := range aliases {
		all[a] = []byte("meta")
	}
	check(t, w.Commit(ctx, f.File, all))
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// tune opens a store on a real disk with packs of limit bytes.
func openTuned(t testing.TB, dir string, limit int64) *Disk {
	t.Helper()
	o := Options{Reserve: -1}
	r, err := openRepo(context.Background(), dir, o)
	check(t, err)
	env := r.environment()
	env.tune = func(d *Disk) { d.pack.limit = limit }
	d, err := openDisk(context.Background(), dir, env, o)
	check(t, err)
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// has fails unless the blocks are all there, or all gone.
func has(t testing.TB, d *Disk, want bool, blks ...blocks.Block) {
	t.Helper()
	for _, blk := range blks {
		got, err := d.Get(context.Background(), blk.Cid())
		switch {
		case want && err != nil:
			t.Errorf("block %s is gone: %v", blk.Cid(), err)
		case want && !bytes.Equal(got.RawData(), blk.RawData()):
			t.Errorf("block %s is wrong", blk.Cid())
		case !want && !isNotFound(err):
			t.Errorf("block %s is there still: %v", blk.Cid(), err)
		}
	}
}

func whole(t testing.TB, d *Disk, f testDAG) {
	t.Helper()
	if got, err := d.File(context.Background(), f.Root); err != nil || got != f.File {
		t.Errorf("File = %+v, %v, want %+v", got, err, f.File)
	}
	has(t, d, true, f.all()...)
	c, err := d.OpenFile(context.Background(), f.Root)
	check(t, err)
	defer c.Close()
	var want bytes.Buffer
	for _, leaf := range f.leaves {
		want.Write(leaf.RawData())
	}
	got, err := io.ReadAll(io.NewSectionReader(c, c.Off, c.Size))
	if err != nil || !bytes.Equal(got, want.Bytes()) {
		t.Errorf("content of %s: %d bytes, %v", f.Root, len(got), err)
	}
}

func used(t testing.TB, d *Disk) int64 {
	t.Helper()
	n, err := diskspace.Used(d.dir)
	check(t, err)
	return n
}

func TestCollect(t *testing.T) {
	ctx := t.Context()
	d := openTuned(t, t.TempDir(), packLimit)
	kept, dead := bigDAG(1, 4, 1<<20), bigDAG(2, 4, 1<<20)
	// They share a leaf; each has a copy of its own.
	dead.leaves[3] = kept.leaves[3]
	store(t, d, kept, "url:kept")
	store(t, d, dead, "url:dead")
	check(t, d.Pin(ctx, Pin{Root: kept.Root}))
	before := used(t, d)
	got, err := d.Collect(ctx, testLinks)
	check(t, err)
	if want := (Collected{Blocks: 4, Files: 1, Bytes: got.Bytes}); got != want || got.Bytes < 4<<20 {
		t.Errorf("Collect = %+v, want %+v and 4 MiB", got, want)
	}
	if freed := before - used(t, d); freed < 4<<20 {
		t.Errorf("%d bytes came back, want 4 MiB", freed)
	}
	for range 2 {
		whole(t, d, kept)
		has(t, d, false, dead.leaves[:3]...)
		has(t, d, false, dead.node)
		if _, err := d.Alias(ctx, "url:dead"); !isNotFound(err) {
			t.Errorf("alias of the dead file: %v", err)
		}
		if a, err := d.Alias(ctx, "url:kept"); err != nil || a.Root != kept.Root || string(a.Meta) != "meta" {
			t.Errorf("alias of the kept file = %v, %v", a, err)
		}
		check(t, d.Close())
		d = openTuned(t, d.dir, packLimit)
	}
	again, err := d.Collect(ctx, testLinks)
	if err != nil || again != (Collected{}) {
		t.Errorf("Collect again = %+v, %v, want nothing", again, err)
	}
}

// TestCollectRead keeps a file whole of which somebody has read the root alone.
func TestCollectRead(t *testing.T) {
	d := openTuned(t, t.TempDir(), packLimit)
	f := bigDAG(1, 4, 1<<20)
	store(t, d, f)
	release := d.Hold()
	has(t, d, true, f.node)
	_, err := d.Collect(t.Context(), testLinks)
	check(t, err)
	whole(t, d, f)
	release()
	_, err = d.Collect(t.Context(), testLinks)
	check(t, err)
	gone(t, d, f)
}

// TestCollectHollow keeps one leaf of a dead file that has no other copy.
func TestCollectHollow(t *testing.T) {
	ctx := t.Context()
	d := openTuned(t, t.TempDir(), packLimit)
	f := bigDAG(1, 8, 1<<20)
	store(t, d, f)
	check(t, d.Pin(ctx, Pin{Root: f.leaves[5].Cid()}))
	before := used(t, d)
	_, err := d.Collect(ctx, testLinks)
	check(t, err)
	if freed := before - used(t, d); freed < 7<<20-64<<10 {
		t.Errorf("%d bytes came back, want 7 MiB", freed)
	}
	has(t, d, true, f.leaves[5])
	has(t, d, false, f.leaves[0], f.leaves[4], f.leaves[6], f.node)
	check(t, d.Close())
	// What is left of the others is no damage.
	report, err := Rebuild(ctx, d.dir, Options{Reserve: -1})
	check(t, err)
	if report.Blocks > 2 || len(report.Damaged) != 0 || report.Files != 0 {
		t.Errorf("Rebuild = %+v, want the leaf (and perhaps the small node), no damage", report)
	}
	d = openTuned(t, d.dir, packLimit)
	has(t, d, true, f.leaves[5])
	// And the last one goes with its pin.
	for p, err := range d.Pins(ctx) {
		check(t, err)
		check(t, d.Unpin(ctx, p.Root, p.Name))
	}
	_, err = d.Collect(ctx, testLinks)
	check(t, err)
	if s, err := d.Stat(ctx); err != nil || s.Blocks != 0 {
		t.Errorf("Stat = %+v, %v, want no blocks", s, err)
	}
	if n := used(t, d); n > ballastSize+1<<20 {
		t.Errorf("%d bytes in use by an empty store", n)
	}
}

// TestCollectPacks empties packs to different degrees.
func TestCollectPacks(t *testing.T) {
	ctx := t.Context()
	const size, perPack = 64 << 10, 16
	d := openTuned(t, t.TempDir(), perPack*size)
	var all []blocks.Block
	for i := range 8 * perPack {
		all = append(all, mustBlock(cid.Raw, bytes.Repeat(fmt.Appendf(nil, "%d.", i), size)[:size]))
	}
	check(t, d.PutMany(ctx, all))
	check(t, d.PutAlias(ctx, "url:a", Alias{Root: all[0].Cid()}))
	var live, dead []blocks.Block
	for i, blk := range all {
		// Of the n-th pack, 2n of 16 blocks live.
		if i%perPack < 2*(i/perPack) || i == 0 {
			live = append(live, blk)
			check(t, d.Pin(ctx, Pin{Root: blk.Cid()}))
		} else {
			dead = append(dead, blk)
		}
	}
	before := used(t, d)
	_, err := d.Collect(ctx, testLinks)
	check(t, err)
	if freed := before - used(t, d); freed < int64(len(dead)-10)*size {
		t.Errorf("%d bytes came back, want nearly %d", freed, len(dead)*size)
	}
	for i := range 3 {
		has(t, d, true, live...)
		has(t, d, false, dead...)
		if a, err := d.Alias(ctx, "url:a"); err != nil || a.Root != all[0].Cid() {
			t.Errorf("alias = %v, %v", a, err)
		}
		check(t, d.Close())
		if i == 1 {
			report, err := Rebuild(ctx, d.dir, Options{Reserve: -1})
			check(t, err)
			// Dead blocks at the edges of holes may be found, never too few.
			if report.Blocks < int64(len(live)) || len(report.Damaged) > 0 || report.Aliases != 1 {
				t.Errorf("Rebuild = %+v, want %d blocks and 1 alias", report, len(live))
			}
			dead = nil
		}
		d = openTuned(t, d.dir, perPack*size)
	}
}

// TestCollectShared collects all files but the last of more than the index lists
// for one leaf.
func TestCollectShared(t *testing.T) {
	ctx := t.Context()
	d := openTuned(t, t.TempDir(), packLimit)
	var files []testDAG
	for i := range maxCopies + 5 {
		f := bigDAG(i, 2, 8<<10)
		f.leaves[0] = looseBlock(1)
		f.Size = int64(len(f.leaves[0].RawData()) + len(f.leaves[1].RawData()))
		files = append(files, f)
		store(t, d, f)
	}
	check(t, d.Pin(ctx, Pin{Root: files[0].Root}))
	_, err := d.Collect(ctx, testLinks)
	check(t, err)
	whole(t, d, files[0])
	for _, f := range files[1:] {
		has(t, d, false, f.leaves[1], f.node)
	}
}

// TestCollectBeside does things while a collection marks: nothing of what was
// put, found, committed or pinned since may go.
func TestCollectBeside(t *testing.T) {
	for name, hold := range map[string]bool{"since the beginning": false, "since a hold": true} {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			d := openTuned(t, t.TempDir(), packLimit)
			pinned := mustBlock(cid.DagProtobuf, nil)
			put, found, seen, deadBlock := looseBlock(1), looseBlock(2), looseBlock(3), looseBlock(4)
			committed, asked, late, dead := dagOf(1), dagOf(5), dagOf(9), bigDAG(1, 2, 4096)
			check(t, d.PutMany(ctx, []blocks.Block{pinned, put, found, seen, deadBlock}))
			check(t, d.Pin(ctx, Pin{Root: pinned.Cid()}))
			for _, f := range []testDAG{asked, late, dead} {
				store(t, d, f)
			}
			check(t, d.Sync(ctx))
			meanwhile := func() {
				check(t, d.Put(ctx, put)) // stored already: not written, but relied upon
				if ok, err := d.Has(ctx, found.Cid()); err != nil || !ok {
					t.Errorf("Has = %v, %v", ok, err)
				}
				has(t, d, true, seen)
				store(t, d, committed)
				if _, err := d.File(ctx, asked.Root); err != nil {
					t.Error(err)
				}
				check(t, d.Pin(ctx, Pin{Root: late.Root}))
			}
			if hold {
				release := d.Hold()
				defer release()
				meanwhile()
				check(t, d.Unpin(ctx, late.Root, ""))
			}
			asks := 0
			_, err := d.Collect(ctx, func(c cid.Cid, data []byte) ([]cid.Cid, error) {
				if asks++; asks == 1 && !hold {
					meanwhile()
				}
				return testLinks(c, data)
			})
			check(t, err)
			has(t, d, true, pinned, put, found, seen)
			for _, f := range []testDAG{committed, asked, late} {
				whole(t, d, f)
			}
			has(t, d, false, deadBlock)
			has(t, d, false, dead.all()...)
		})
	}
}

// TestCollectStops holds that an error of the linker ends a collection before
// anything is lost.
func TestCollectStops(t *testing.T) {
	ctx := t.Context()
	d := openTuned(t, t.TempDir(), packLimit)
	tree, loose := mustBlock(cid.DagProtobuf, nil), looseBlock(1)
	check(t, d.PutMany(ctx, []blocks.Block{tree, loose}))
	check(t, d.Pin(ctx, Pin{Root: tree.Cid()}))
	bad := errors.New("unreadable")
	_, err := d.Collect(ctx, func(cid.Cid, []byte) ([]cid.Cid, error) { return nil, bad })
	if !errors.Is(err, bad) {
		t.Errorf("Collect = %v, want %v", err, bad)
	}
	has(t, d, true, tree, loose)
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := d.Collect(gone, testLinks); !errors.Is(err, context.Canceled) {
		t.Errorf("Collect with a dead context = %v", err)
	}
}

// TestCollectRace collects again and again while others commit, pin, read and
// unpin: whatever is pinned is whole at any time.
func TestCollectRace(t *testing.T) {
	ctx := t.Context()
	d := openTuned(t, t.TempDir(), 64<<10)
	var work, collects sync.WaitGroup
	stop := make(chan struct{})
	for w := range 4 {
		work.Go(func() {
			for i := range 15 {
				release := d.Hold()
				f := dagOf(w*31 + i)
				if i%3 == 0 { // in a pack
					if err := d.PutMany(ctx, f.all()); err != nil {
						t.Error(err)
					}
					if err := d.PutFile(ctx, f.File, nil); err != nil {
						t.Error(err)
					}
				} else {
					store(t, d, f)
				}
				pin := Pin{Root: f.Root, Name: fmt.Sprint(w)}
				if err := d.Pin(ctx, pin); err != nil {
					t.Error(err)
				}
				release()
				has(t, d, true, f.all()...)
				if _, err := d.File(ctx, f.Root); err != nil {
					t.Errorf("a pinned file: %v", err)
				}
				if i%2 == 0 {
					if err := d.Unpin(ctx, pin.Root, pin.Name); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	collects.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if _, err := d.Collect(ctx, testLinks); err != nil {
				t.Error(err)
			}
		}
	})
	work.Wait()
	close(stop)
	collects.Wait()
	for p, err := range d.Pins(ctx) {
		check(t, err)
		if _, err := d.File(ctx, p.Root); err != nil {
			t.Errorf("pinned %s: %v", p.Root, err)
		}
	}
	for f, err := range d.Verify(ctx, VerifyOptions{}) {
		t.Errorf("%+v, %v", f, err)
	}
}
