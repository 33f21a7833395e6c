package blockstore

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
)

// seenBy fails unless a scope sees all of the blocks, or none.
func seenBy(t *testing.T, d *Disk, scope string, want bool, blks ...blocks.Block) {
	t.Helper()
	for _, blk := range blks {
		if got, err := d.Scope(scope).Has(t.Context(), blk.Cid()); got != want || err != nil {
			t.Errorf("%q has %s: %v, %v, want %v", scope, blk.Cid(), got, err, want)
		}
	}
}

// scopedRepo makes a repository with private and public content, and closes it.
// check tells whether another Disk shows it to the same scopes.
func scopedRepo(t *testing.T, dir string) (check func(d *Disk)) {
	t.Helper()
	d := openTuned(t, dir, packLimit)
	s, ctx := d.Scope("a"), t.Context()
	private, opened, public := bigDAG(1, 5, 3000), bigDAG(2, 5, 3000), bigDAG(3, 5, 3000)
	store(t, s, private)
	store(t, s, opened)
	store(t, d, opened)
	store(t, d, public)
	store(t, s, public)
	half := bigDAG(3, 8, 3000) // begins like the public one
	store(t, s, half)
	mine, ours, all := looseBlock(1), looseBlock(2), looseBlock(3)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(s.PutMany(ctx, []blocks.Block{mine, ours, all}))
	must(d.Admit(ctx, ours.Cid(), "b"))
	must(d.Put(ctx, all))
	must(d.Close())
	return func(d *Disk) {
		t.Helper()
		for scope, sees := range map[string]bool{"a": true, "b": false, "": false} {
			seenBy(t, d, scope, sees, private.all()...)
			seenBy(t, d, scope, sees, half.leaves[5:]...)
			seenBy(t, d, scope, sees, half.node)
			seenBy(t, d, scope, scope == "b", ours)
			seenBy(t, d, scope, false, mine)
			seenBy(t, d, scope, true, opened.all()...)
			seenBy(t, d, scope, true, public.all()...)
			seenBy(t, d, scope, true, half.leaves[:5]...)
			seenBy(t, d, scope, true, all)
		}
		has(t, d, true, append(private.all(), mine, ours)...)
	}
}

// TestScopeRebuild: an index that is built again shows the same to the same,
// whether the old one can be read or not, and after collections.
func TestScopeRebuild(t *testing.T) {
	origin := t.TempDir()
	check := scopedRepo(t, origin)
	check(openTuned(t, copyRepo(t, origin), packLimit))
	for name, lose := range map[string]func(dir string) error{
		"asked for":     func(dir string) error { _, err := Rebuild(t.Context(), dir, Options{Reserve: -1}); return err },
		"index removed": func(dir string) error { return os.RemoveAll(filepath.Join(dir, indexDir)) },
		"marked":        func(dir string) error { return os.WriteFile(filepath.Join(dir, damageFile), nil, 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := copyRepo(t, origin)
			if err := lose(dir); err != nil {
				t.Fatal(err)
			}
			d := openTuned(t, dir, packLimit)
			check(d) // what no pin covered is pinned now
			if _, err := d.Collect(t.Context(), testLinks); err != nil {
				t.Fatal(err)
			}
			check(d)
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
			check(openTuned(t, dir, packLimit))
		})
	}
}

// TestScopeCollect: what is collected and comes again is for those for whom it
// comes; what two files share is seen by those of the one that is left; packs that
// are moved keep what is private.
func TestScopeCollect(t *testing.T) {
	d := openTuned(t, t.TempDir(), 8<<10)
	s, ctx := d.Scope("a"), t.Context()
	f, longer := bigDAG(1, 5, 3000), bigDAG(1, 8, 3000)
	store(t, d, f)
	store(t, s, longer)
	check(t, d.Pin(ctx, Pin{Root: longer.Root}))
	var kept []blocks.Block
	for n := range 40 {
		blk := looseBlock(n)
		check(t, s.Put(ctx, blk))
		if n%8 == 0 {
			check(t, d.Pin(ctx, Pin{Root: blk.Cid()}))
			kept = append(kept, blk)
		}
	}
	_, err := d.Collect(ctx, testLinks)
	check(t, err)
	has(t, d, false, f.node)
	has(t, d, true, kept...)
	seenBy(t, d, "", true, longer.leaves[:5]...) // they were public
	seenBy(t, d, "", false, longer.leaves[5:]...)
	seenBy(t, d, "", false, kept...)
	seenBy(t, d, "a", true, longer.all()...)
	check(t, d.Unpin(ctx, longer.Root, ""))
	_, err = d.Collect(ctx, testLinks)
	check(t, err)
	has(t, d, false, longer.all()...)
	store(t, d.Scope("b"), longer)
	seenBy(t, d, "b", true, longer.all()...)
	seenBy(t, d, "a", false, longer.all()...)
	seenBy(t, d, "", false, longer.all()...)
}

// TestScopeVersion1: a repository of version 1, which had audiences of roots and no
// marks, shows what was fetched with a credential to nobody else, and all else as
// before; so does its index when it is built again.
func TestScopeVersion1(t *testing.T) {
	origin, ctx := t.TempDir(), t.Context()
	d := openTuned(t, origin, packLimit)
	public, private := bigDAG(1, 5, 3000), bigDAG(1, 8, 3000) // which share leaves
	loose := looseBlock(1)
	store(t, d, public)
	for _, root := range []cid.Cid{private.Root, loose.Cid()} {
		a, err := Audience{Scopes: []string{"a"}}.alias(root)
		check(t, err)
		check(t, d.PutAlias(ctx, scopeKey(root), a))
	}
	commitV1(t, d, private)
	check(t, d.PutMany(ctx, []blocks.Block{loose}))
	check(t, d.Sync(ctx))
	check(t, d.index.write([]indexOp{{key: metaScoped()}}))
	seenBy(t, d, "", true, private.leaves...) // as version 1 served them
	check(t, d.Close())
	check(t, os.WriteFile(filepath.Join(origin, versionFile), bytes.Repeat([]byte(versionLine(1)), 3), 0o600))
	for _, rebuild := range []bool{false, true} {
		t.Run(fmt.Sprint("rebuild ", rebuild), func(t *testing.T) {
			dir := copyRepo(t, origin)
			if rebuild {
				check(t, os.RemoveAll(filepath.Join(dir, indexDir)))
			}
			for range 2 {
				d := openTuned(t, dir, packLimit)
				for scope, sees := range map[string]bool{"a": true, "b": false, "": false} {
					seenBy(t, d, scope, true, public.all()...)
					seenBy(t, d, scope, sees, private.leaves[5:]...)
					seenBy(t, d, scope, sees, private.node, loose)
				}
				check(t, d.Close())
			}
			text, err := os.ReadFile(filepath.Join(dir, versionFile))
			if v, ok := parseVersion(text); err != nil || !ok || v != repoVersion {
				t.Errorf("version %d, %v", v, err)
			}
		})
	}
}

// commitV1 records a file as version 1 did, which knew of no scopes.
func commitV1(t *testing.T, d *Disk, f testDAG) {
	t.Helper()
	w, err := d.newFile(t.Context(), f.Size, nil)
	check(t, err)
	var off int64
	for _, leaf := range f.leaves {
		check(t, w.WriteLeaf(off, leaf.Cid(), leaf.RawData()))
		off += int64(len(leaf.RawData()))
	}
	check(t, w.PutNode(f.node))
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writes.Wait()
	names, err := namedBy(f.File, nil)
	check(t, errors.Join(err, w.commitSegment(t.Context(), f.File, names)))
	w.spent = true
}
