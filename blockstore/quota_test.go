package blockstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"

	"github.com/hypha-node/hypha-node/internal/diskspace"
)

// openQuota opens a store with a storage maximum of n bytes beside its index.
func openQuota(t testing.TB, dir string, n int64) *Disk {
	t.Helper()
	ctx := context.Background()
	d, err := Open(ctx, dir, Options{Reserve: -1}) // for the index
	check(t, err)
	check(t, d.Close())
	index, err := diskspace.Used(filepath.Join(dir, indexDir))
	check(t, err)
	d, err = Open(ctx, dir, Options{Reserve: -1, StorageMax: index + n, Links: testLinks})
	check(t, err)
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// within fails if a store takes more than its maximum.
func within(t testing.TB, d *Disk) {
	t.Helper()
	var n int64
	for _, sub := range []string{indexDir, segmentsDir} {
		one, err := diskspace.Used(filepath.Join(d.dir, sub))
		check(t, err)
		n += one
	}
	const grain = 1 << 20 // of the index, which grows by tables
	if n > d.quota.max+grain {
		t.Errorf("%d bytes in use, the maximum is %d", n, d.quota.max)
	}
	const entries = 64 << 10 // what the directories themselves take
	guess := d.quota.used()
	if err := d.quota.measure(d); err != nil || n-d.quota.used() > entries || d.quota.used() > n {
		t.Errorf("measured %d bytes (%v), there are %d", d.quota.used(), err, n)
	}
	if off := guess - d.quota.used(); off > grain || off < -grain {
		t.Errorf("counted %d bytes, measured %d", guess, d.quota.used())
	}
}

// gone fails unless a file is gone with all its blocks.
func gone(t testing.TB, d *Disk, f testDAG) {
	t.Helper()
	if _, err := d.File(context.Background(), f.Root); !isNotFound(err) {
		t.Errorf("file %s is there still: %v", f.Root, err)
	}
	has(t, d, false, f.all()...)
}

func TestQuota(t *testing.T) {
	ctx := t.Context()
	d := openQuota(t, t.TempDir(), 32<<20)
	pinned := bigDAG(0, 6, 1<<20)
	store(t, d, pinned)
	check(t, d.Pin(ctx, Pin{Root: pinned.Root}))
	var files []testDAG
	for i := range 4 {
		files = append(files, bigDAG(1+i, 6, 1<<20))
		store(t, d, files[i])
	}
	has(t, d, true, files[1].node, files[0].leaves[3]) // now the third is the oldest
	// That survives a restart.
	check(t, d.Close())
	d, err := Open(ctx, d.dir, Options{Reserve: -1, StorageMax: d.quota.max, Links: testLinks})
	check(t, err)
	defer d.Close()
	last := bigDAG(9, 6, 1<<20)
	store(t, d, last)
	within(t, d)
	whole(t, d, pinned)
	whole(t, d, last)
	whole(t, d, files[0])
	gone(t, d, files[2])
	if s, err := d.Stat(ctx); err != nil || s.Quota.Max != d.quota.max || s.Quota.Evicted < 6<<20 || s.Quota.Runs != 1 {
		t.Errorf("Stat = %+v, %v", s.Quota, err)
	}
	for i := range 12 { // many times around
		f := bigDAG(20+i, 6, 1<<20)
		store(t, d, f)
		whole(t, d, f)
		within(t, d)
	}
	whole(t, d, pinned)
}

// TestQuotaPinned refuses what does not fit before it is written, and takes nothing
// for it in vain.
func TestQuotaPinned(t *testing.T) {
	ctx := t.Context()
	d := openQuota(t, t.TempDir(), 16<<20)
	pinned, cached := bigDAG(0, 10, 1<<20), bigDAG(1, 4, 1<<20)
	store(t, d, pinned)
	check(t, d.Pin(ctx, Pin{Root: pinned.Root}))
	store(t, d, cached)
	refused := func(size int64) {
		t.Helper()
		if w, err := d.NewFile(ctx, size); !errors.Is(err, ErrQuota) || !errors.Is(err, ErrNoSpace) {
			t.Errorf("NewFile(%d) = %v, %v, want ErrQuota", size, w, err)
		}
		whole(t, d, cached)
	}
	for range 2 {
		refused(7 << 20)
		refused(1 << 40)
	}
	// Of unknown size, it ends in the middle; loose blocks are refused as well.
	w, err := d.NewFile(ctx, -1)
	check(t, err)
	big := bigDAG(2, 40, 1<<20)
	for i, leaf := range big.leaves {
		if err = w.WriteLeaf(int64(i)<<20, leaf.Cid(), leaf.RawData()); err != nil {
			break
		}
	}
	if !errors.Is(err, ErrQuota) {
		t.Errorf("writing 40 MiB of unknown size: %v, want ErrQuota", err)
	}
	check(t, w.Abort())
	err = nil
	for i := range 40 {
		if err = d.Put(ctx, big.leaves[i]); err != nil {
			break
		}
		check(t, d.Pin(ctx, Pin{Root: big.leaves[i].Cid()}))
	}
	if !errors.Is(err, ErrQuota) {
		t.Errorf("putting 40 MiB: %v, want ErrQuota", err)
	}
	within(t, d)
	whole(t, d, pinned)
	// What is unpinned makes room at once.
	check(t, d.Unpin(ctx, pinned.Root, ""))
	store(t, d, bigDAG(3, 7, 1<<20))
	gone(t, d, pinned)
	within(t, d)
}

// TestQuotaPacks evicts small files one by one, those that were used last.
func TestQuotaPacks(t *testing.T) {
	ctx := t.Context()
	d := openQuota(t, t.TempDir(), 16<<20)
	var all []blocks.Block
	for i := range 120 {
		all = append(all, mustBlock(cid.Raw, bytes.Repeat(fmt.Appendf(nil, "%d.", i), 64<<10)[:128<<10]))
		check(t, d.Put(ctx, all[i]))
		if i == 110 { // the first ones are used again
			check(t, d.Sync(ctx))
			has(t, d, true, all[:20]...)
		}
	}
	more := bigDAG(1, 4, 1<<20)
	store(t, d, more)
	within(t, d)
	has(t, d, true, all[:20]...)
	has(t, d, true, all[110:]...)
	has(t, d, false, all[20:30]...)
	whole(t, d, more)
}

// TestQuotaHolds takes nothing that somebody relies on, and no more because others
// come and go.
func TestQuotaHolds(t *testing.T) {
	ctx := t.Context()
	d := openQuota(t, t.TempDir(), 16<<20)
	old := d.Hold()
	held := bigDAG(0, 5, 1<<20)
	store(t, d, held)
	next := d.Hold() // there is never a moment without one
	store(t, d, bigDAG(1, 5, 1<<20))
	if w, err := d.NewFile(ctx, 7<<20); !errors.Is(err, ErrQuota) {
		t.Errorf("NewFile = %v, %v, want ErrQuota: all is held", w, err)
	}
	whole(t, d, held)
	last := d.Hold()
	defer last()
	old()
	next()
	store(t, d, bigDAG(2, 7, 1<<20))
	within(t, d)
}

// TestTend goes below the high water by itself.
func TestTend(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	d := openQuota(t, t.TempDir(), 64<<20)
	ended := make(chan error, 1)
	go func() { ended <- d.Tend(ctx) }()
	for i := range 9 {
		store(t, d, bigDAG(i, 7, 1<<20))
	}
	for d.quota.runs.Load() == 0 && t.Context().Err() == nil {
		if err := d.Sync(ctx); err != nil { // takes its time, and needs no clock
			t.Fatal(err)
		}
	}
	cancel()
	check(t, <-ended)
	check(t, d.Tend(ctx)) // also when that is over before it begins
	if n := d.quota.used(); n > d.quota.max/100*highWater {
		t.Errorf("%d bytes of %d in use", n, d.quota.max)
	}
}

// TestPinEnds holds that a pin keeps content until it ends and no longer, with Tend
// and without, and across a restart.
func TestPinEnds(t *testing.T) {
	ctx := t.Context()
	d := openTuned(t, t.TempDir(), packLimit)
	kept, dead, old := bigDAG(1, 2, 1<<20), bigDAG(2, 2, 1<<20), bigDAG(3, 2, 1<<20)
	store(t, d, kept)
	store(t, d, dead)
	store(t, d, old)
	check(t, d.Pin(ctx, Pin{Root: old.Root, Name: "old", Expires: time.Date(2999, 1, 1, 0, 0, 0, 0, time.UTC)})) // beyond what nanoseconds count
	past, future := time.Now(), time.Now().Add(24*time.Hour)
	check(t, d.Pin(ctx, Pin{Root: kept.Root, Name: "a", Expires: future, Owner: "me"}))
	check(t, d.Pin(ctx, Pin{Root: dead.Root, Name: "a", Expires: past}))
	check(t, d.Close())
	d = openTuned(t, d.dir, packLimit)
	got, err := d.Collect(ctx, testLinks)
	check(t, err)
	if got.Files != 1 {
		t.Errorf("Collect = %+v, want one file", got)
	}
	whole(t, d, kept)
	whole(t, d, old)
	gone(t, d, dead)
	// Tend takes them out of the index by itself.
	run, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- d.Tend(run) }()
	check(t, d.Pin(ctx, Pin{Root: kept.Root, Name: "b", Expires: time.Now().Add(time.Millisecond)}))
	for absent := false; !absent && ctx.Err() == nil; {
		check(t, d.Sync(ctx))
		err := d.index.get(pinKey(kept.Root, "b"), func([]byte) error { return nil })
		if absent = errors.Is(err, errAbsent); !absent {
			check(t, err)
		}
	}
	cancel()
	check(t, <-ended)
	var names []string
	for p, err := range d.Pins(ctx) {
		check(t, err)
		names = append(names, p.Name+" of "+p.Owner)
	}
	slices.Sort(names)
	if !slices.Equal(names, []string{"a of me", "old of "}) {
		t.Errorf("pins %q", names)
	}
	check(t, d.Close())
	// The index can be lost.
	check(t, os.RemoveAll(filepath.Join(d.dir, indexDir)))
	d = openTuned(t, d.dir, packLimit)
	for p, err := range d.Pins(ctx) {
		if check(t, err); p.Root == kept.Root && p.Name == "a" && (!p.Expires.Equal(future) || p.Owner != "me") {
			t.Errorf("pin %+v, want it to end at %v", p, future)
		}
	}
	whole(t, d, kept)
}
