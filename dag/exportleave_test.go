package dag

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
)

// TestRefusedTreeLeavesNothing: what is wrong with a tree is known before
// anything of it is written.
func TestRefusedTreeLeavesNothing(t *testing.T) {
	for _, c := range []struct {
		name     string
		tree     tree
		symlinks bool
		want     error
	}{
		{name: "symlink that was not asked for", tree: tree{"a": "1", "z/y/l": "->../../a"}, want: ErrSymlink},
		{name: "symlink to the top", tree: tree{"d/l": "->.."}, symlinks: true},
		{name: "leaves by one", tree: tree{"a": "1", "d/l": "->../../a"}, symlinks: true, want: ErrSymlink},
		{name: "leaves from the top", tree: tree{"a": "1", "l": "->../a"}, symlinks: true, want: ErrSymlink},
		{name: "absolute", tree: tree{"a": "1", "d/e/l": "->/etc"}, symlinks: true, want: ErrSymlink},
		{name: "up behind a name", tree: tree{"a/b": "1", "l": "->a/../a/b"}, symlinks: true, want: ErrSymlink},
		// The directories x/d and d are one, but only x/d/l stays inside.
		{name: "leaves from one of two places", tree: tree{"a": "1", "d/l": "->../../a", "x/d/l": "->../../a"}, symlinks: true, want: ErrSymlink},
		{name: "stays in both places", tree: tree{"y/d/l": "->../../a", "x/d/l": "->../../a"}, symlinks: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStore(t)
			e, err := ImportTree(t.Context(), s, openRoot(t, c.tree.write(t)), ".", TreeOptions{})
			if err != nil {
				t.Fatal(err)
			}
			before := tree{"there/": "", "full/file": "1"}
			dir := before.write(t)
			for _, name := range []string{".", "new", "new/deep/er", "there", "there/new", "full/new"} {
				_, err := Export(t.Context(), s, e.Cid, openRoot(t, dir), name, ExportOptions{Symlinks: c.symlinks})
				if !errors.Is(err, c.want) {
					t.Errorf("to %q: %v, want %v", name, err, c.want)
				}
				if c.want == nil {
					break
				}
				if diff := cmp.Diff(before, readTree(t, dir)); diff != "" {
					t.Errorf("to %q something was left: %s", name, diff)
				}
			}
		})
	}
}

// TestFailedExportLeavesNoEmptyDirectory, wherever it fails.
func TestFailedExportLeavesNoEmptyDirectory(t *testing.T) {
	s := newStore(t)
	want := tree{"a/b/file": string(content(3 << 20)), "a/c/d/e/": ""}
	e, err := ImportTree(t.Context(), s, openRoot(t, want.write(t)), ".", TreeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	f := mustImport(t, s, content(3<<20), ImportOptions{})
	before := tree{"there/": ""}
	for name, root := range map[string]cid.Cid{"file": f.Root, "tree": e.Cid} {
		t.Run(name, func(t *testing.T) {
			dir := before.write(t)
			leaf := V1_2025().leaf(content(3 << 20)[1<<20 : 2<<20])
			if err := s.DeleteBlock(t.Context(), leaf.Cid()); err != nil {
				t.Fatal(err)
			}
			for _, to := range []string{"new", "new/deep/er", "there/new"} {
				_, err := Export(t.Context(), s, root, openRoot(t, dir), to, ExportOptions{DirMode: 0o750})
				if !ipld.IsNotFound(err) {
					t.Errorf("to %q: %v, want not found", to, err)
				}
				if diff := cmp.Diff(before, readTree(t, dir)); diff != "" {
					t.Errorf("to %q something was left: %s", to, diff)
				}
			}
			if err := s.Put(t.Context(), leaf); err != nil {
				t.Fatal(err)
			}
			if _, err := Export(t.Context(), s, root, openRoot(t, dir), filepath.Join("new", "x"), ExportOptions{}); err != nil {
				t.Errorf("of what is whole: %v", err)
			}
		})
	}
}
