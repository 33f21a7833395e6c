package blockstore

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"testing"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
)

// TestMend holds that what went bad in any place is mended with what is brought, in
// its place if that can be, and that what is brought wrong, or not at all, is not.
func TestMend(t *testing.T) {
	ctx := t.Context()
	d := openTuned(t, t.TempDir(), packLimit)
	f, cut, loose := bigDAG(1, 4, 100<<10), bigDAG(2, 3, 100<<10), looseBlock(3)
	store(t, d, f)
	store(t, d.Scope("somebody"), cut)
	check(t, d.Put(ctx, loose))
	check(t, d.Sync(ctx))
	all := make(map[string]blocks.Block)
	for _, blk := range append(append(f.all(), cut.all()...), loose) {
		all[string(blk.Cid().Hash())] = blk
	}
	spoil := func(blks ...blocks.Block) {
		t.Helper()
		for _, blk := range blks {
			name, off, length, err := d.Place(blk.Cid())
			check(t, err)
			check(t, FlipBit(name, off+length/2, 3))
		}
	}
	// pass verifies once, and returns how many bad blocks there were and are left.
	pass := func(o VerifyOptions) (found, left int) {
		t.Helper()
		for f, err := range d.Verify(ctx, o) {
			check(t, err)
			if !f.CID.Defined() {
				continue // footers of a segment that was cut short
			}
			if found++; !f.Mended {
				left++
			}
		}
		return found, left
	}
	var asked []Damage
	bring := func(_ context.Context, dmg Damage) ([]byte, error) {
		asked = append(asked, dmg)
		return all[string(dmg.CID.Hash())].RawData(), nil
	}

	spoil(f.leaves[2], f.node, loose)
	lies := func(context.Context, Damage) ([]byte, error) { return []byte("wrong"), nil }
	nobody := func(context.Context, Damage) ([]byte, error) { return nil, errors.New("nobody has it") }
	for _, mend := range []func(context.Context, Damage) ([]byte, error){lies, nobody} {
		if found, left := pass(VerifyOptions{Mend: mend, Keep: true}); found != 3 || left != 3 {
			t.Errorf("%d found, %d left, want 3 and 3", found, left)
		}
	}
	if found, left := pass(VerifyOptions{Mend: bring, Keep: true}); found != 3 || left != 0 {
		t.Errorf("%d found, %d left, want 3 and 0", found, left)
	}
	whole(t, d, f) // in one piece
	has(t, d, true, loose)
	rawOf := func(blk blocks.Block) cid.Cid { return cid.NewCidV1(cid.Raw, blk.Cid().Hash()) }
	for _, want := range []Damage{
		{CID: rawOf(f.leaves[2]), Root: f.Root, Off: 200 << 10},
		{CID: rawOf(f.node), Root: f.Root, Off: -1},
		{CID: rawOf(loose), Root: rawOf(loose)},
	} {
		if !slices.ContainsFunc(asked, func(dmg Damage) bool { want.Length = dmg.Length; return dmg == want }) {
			t.Errorf("asked for %+v, want %+v among them", asked, want)
		}
	}

	leaves, err := d.LeavesOf(ctx, f.Root)
	check(t, err)
	if len(leaves) != len(f.leaves) {
		t.Fatalf("%d leaves, want %d", len(leaves), len(f.leaves))
	}
	for i, l := range leaves {
		if want := (Leaf{rawOf(f.leaves[i]), 100 << 10}); l != want {
			t.Errorf("leaf %d is %+v, want %+v", i, l, want)
		}
	}

	// A segment that was cut short is not made whole, but the file is.
	name, off, _, err := d.Place(cut.leaves[1].Cid())
	check(t, err)
	check(t, os.Truncate(name, off))
	asked = nil
	if _, left := pass(VerifyOptions{Mend: bring}); left != 0 {
		t.Errorf("%d left, want none", left)
	}
	has(t, d, true, cut.all()...)
	if got, err := d.File(ctx, cut.Root); err != nil || got != cut.File {
		t.Errorf("File = %+v, %v", got, err)
	}
	for _, dmg := range asked {
		if !dmg.Private {
			t.Errorf("asked for %+v, which is private", dmg)
		}
	}
	if a, err := d.Audience(ctx, cut.leaves[1].Cid()); err != nil || a.Public {
		t.Errorf("audience of a mended private block = %+v, %v", a, err)
	}

	// In goes: what was passed is not read again.
	var last string
	pass(VerifyOptions{Passed: func(segment string) { last = segment }})
	spoil(f.leaves[0])
	if found, _ := pass(VerifyOptions{After: last}); found != 0 || last == "" {
		t.Errorf("%d found behind %q, want none", found, last)
	}
	if found, left := pass(VerifyOptions{}); found != 1 || left != 1 {
		t.Errorf("%d found, %d left, want 1 and 1", found, left)
	}
	has(t, d, false, f.leaves[0])
}

// TestLeavesIn finds leaves that come more than once, of which the index knows one place.
func TestLeavesIn(t *testing.T) {
	a, b, end := bytes.Repeat([]byte("a"), 10), bytes.Repeat([]byte("b"), 10), []byte("end")
	content := slices.Concat(a, b, a, a, end)
	known := func(data []byte, off int64) place {
		return place{mustBlock(cid.Raw, data).Cid().Hash(), extent{seg: 1, off: off, length: int64(len(data))}}
	}
	for _, tc := range []struct {
		name   string
		places []place
		ok     bool
	}{
		{"first place known", []place{known(a, 0), known(b, 10), known(end, 40)}, true},
		{"last place known", []place{known(b, 10), known(a, 30), known(end, 40)}, true},
		{"the end comes elsewhere", []place{known(a, 20), known(b, 10)}, true},
		{"nothing known", nil, false},
	} {
		slices.SortFunc(tc.places, func(a, b place) int { return int(a.at.off - b.at.off) })
		got, err := leavesIn(io.NewSectionReader(bytes.NewReader(content), 0, int64(len(content))), tc.places)
		if !tc.ok {
			if !errors.Is(err, ErrScattered) {
				t.Errorf("%s: %v, %v", tc.name, got, err)
			}
			continue
		}
		var want []Leaf
		for _, data := range [][]byte{a, b, a, a, end} {
			want = append(want, Leaf{mustBlock(cid.Raw, data).Cid(), int64(len(data))})
		}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %v, %v", tc.name, got, err)
		}
	}
}
