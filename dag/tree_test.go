package dag

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/boxo/ipld/unixfs"
	uio "github.com/ipfs/boxo/ipld/unixfs/io"
	blocks "github.com/ipfs/go-block-format"
	ipld "github.com/ipfs/go-ipld-format"
)

// tree is files by path; a value that begins with "->" is a symlink, and a path
// that ends with "/" an empty directory.
type tree map[string]string

// write makes the tree below a new directory.
func (tr tree) write(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	for _, p := range slices.Sorted(maps.Keys(tr)) {
		full := filepath.Join(dir, filepath.FromSlash(p))
		parent := filepath.Dir(full)
		if strings.HasSuffix(p, "/") {
			parent = full
		}
		if err := os.MkdirAll(parent, 0o700); err != nil {
			t.Fatal(err)
		}
		var err error
		if target, ok := strings.CutPrefix(tr[p], "->"); ok {
			err = os.Symlink(target, full)
		} else if !strings.HasSuffix(p, "/") {
			err = os.WriteFile(full, []byte(tr[p]), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// readTree reads what is below a directory.
func readTree(t testing.TB, dir string) tree {
	t.Helper()
	tr := tree{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == dir {
			return err
		}
		rel, err := filepath.Rel(dir, p)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		switch {
		case d.Type()&fs.ModeSymlink != 0:
			target, err := os.Readlink(p)
			tr[rel] = "->" + target
			return err
		case d.IsDir():
			entries, err := os.ReadDir(p)
			if len(entries) == 0 {
				tr[rel+"/"] = ""
			}
			return err
		}
		b, err := os.ReadFile(p)
		tr[rel] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func openRoot(t testing.TB, dir string) *os.Root {
	t.Helper()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root
}

// boxoTree is what boxo makes of a directory on disk, hidden files included.
func boxoTree(t testing.TB, serv ipld.DAGService, dir string, p Profile) ipld.Node {
	t.Helper()
	b := boxoProfile(p)
	d, err := uio.NewDirectory(serv, uio.WithCidBuilder(b.CidBuilder()), uio.WithMaxHAMTFanout(b.HAMTShardWidth), uio.WithSizeEstimationMode(b.HAMTSizeEstimation))
	if err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		full := filepath.Join(dir, e.Name())
		var n ipld.Node
		switch {
		case e.IsDir():
			n = boxoTree(t, serv, full, p)
		case e.Type()&fs.ModeSymlink != 0:
			target, err := os.Readlink(full)
			if err != nil {
				t.Fatal(err)
			}
			data, err := unixfs.SymlinkData(target)
			if err != nil {
				t.Fatal(err)
			}
			pn := merkledag.NodeWithData(data)
			if err := pn.SetCidBuilder(b.CidBuilder()); err != nil {
				t.Fatal(err)
			}
			n = pn
		default:
			content, err := os.ReadFile(full)
			if err != nil {
				t.Fatal(err)
			}
			n, err = boxoFile(bytes.NewReader(content), p, serv)
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := d.AddChild(t.Context(), e.Name(), n); err != nil {
			t.Fatal(err)
		}
	}
	n, err := d.GetNode()
	if err != nil {
		t.Fatal(err)
	}
	if err := serv.Add(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	return n
}

// many is a directory of n small files with names of 250 bytes: it takes 900 of
// them to shard it.
func many(n int) tree {
	tr := tree{}
	for i := range n {
		tr[fmt.Sprintf("d/%0250d", i)] = fmt.Sprint("content ", i)
	}
	return tr
}

func trees() map[string]tree {
	return map[string]tree{
		"empty":   {},
		"files":   {"a": "1", "b": "", "c/d": "x", "c/e/f": "y", "z": string(content(3<<20 + 5)), "leaf": string(content(1 << 20))},
		"odd":     {"ä": "1", "日本": "2", " ": "3", "a b": "4", "a'\"b": "5", "-x": "6", "a.": "7", strings.Repeat("n", 255): "8"},
		"links":   {"a": "1", "d/up": "->../a", "d/self": "->.", "l": "->d", "dangling": "->nowhere", "deep/er/x": "->../../d/up"},
		"dirs":    {"a/": "", "b/c/d/": "", "b/x": "1"},
		"hidden":  {".a": "1", "b/.c": "2", "b/c": "3", ".d/e": "4"},
		"sharded": many(1000),
		"order":   {"a": "1", "a-b": "2", "a/b": "3", "aa": "4", "B": "5"},
	}
}

func TestImportTreeGivesBoxosCIDs(t *testing.T) {
	for name, tr := range trees() {
		if name == "order" {
			delete(tr, "a")
		}
		for _, p := range []Profile{V1_2025(), V0_2015()} {
			t.Run(name+"/"+p.String(), func(t *testing.T) {
				t.Parallel()
				dir := tr.write(t)
				s, theirs := newStore(t), newStore(t)
				var told []Entry
				e, err := ImportTree(t.Context(), s, openRoot(t, dir), ".", TreeOptions{
					ImportOptions: ImportOptions{Profile: p}, Hidden: true,
					OnEntry: func(e Entry) { told = append(told, e) },
				})
				if err != nil {
					t.Fatal(err)
				}
				want := boxoTree(t, dagService(theirs), dir, p)
				if e.Cid != want.Cid() {
					t.Fatalf("root %s, want %s", e.Cid, want.Cid())
				}
				for c, err := range theirs.Keys(t.Context()) {
					if err != nil {
						t.Fatal(err)
					}
					if ok, err := s.Has(t.Context(), c); err != nil || !ok {
						t.Errorf("block %s is not stored: %v", c, err)
					}
				}
				checkEntries(t, s, e, told)
				exported := t.TempDir()
				if _, err := Export(t.Context(), s, e.Cid, openRoot(t, exported), "out", ExportOptions{Symlinks: true}); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(readTree(t, dir), readTree(t, filepath.Join(exported, "out"))); diff != "" {
					t.Errorf("exported tree differs: %s", diff)
				}
				hashed, err := ImportTree(t.Context(), nil, openRoot(t, dir), ".", TreeOptions{
					ImportOptions: ImportOptions{Profile: p, HashOnly: true}, Hidden: true,
				})
				if err != nil || hashed.Cid != e.Cid {
					t.Errorf("HashOnly: %v, %v", hashed, err)
				}
			})
		}
	}
}

// checkEntries compares what OnEntry was told with what Walk finds.
func checkEntries(t *testing.T, s Getter, root Entry, told []Entry) {
	t.Helper()
	byPath := map[string]Entry{}
	for _, e := range told {
		for p := range byPath {
			if e.Type != TypeDir && strings.HasPrefix(e.Path, p+"/") {
				t.Errorf("OnEntry was told %q before %q", p, e.Path)
			}
		}
		byPath[e.Path] = e
	}
	if byPath[""] != root {
		t.Errorf("OnEntry was told the root %v, want %v", byPath[""], root)
	}
	n := 0
	for e, err := range Walk(t.Context(), s, root.Cid, Limits{}) {
		if err != nil {
			t.Fatal(err)
		}
		n++
		got := byPath[e.Path]
		if got.Cid != e.Cid || got.Type != e.Type || got.Target != e.Target || e.Type == TypeFile && got.Size != e.Size {
			t.Errorf("%q: OnEntry %v, Walk %v", e.Path, got, e)
		}
		if c, err := Resolve(t.Context(), s, root.Cid, e.Path); err != nil || c != e.Cid {
			t.Errorf("Resolve(%q) = %v, %v; want %v", e.Path, c, err, e.Cid)
		}
		info, err := Stat(t.Context(), s, e.Cid)
		if err != nil || info.Type != e.Type || e.Type == TypeFile && info.Size != e.Size {
			t.Errorf("Stat(%q) = %v, %v", e.Path, info, err)
		}
	}
	if n != len(told) {
		t.Errorf("Walk found %d entries, OnEntry was told %d", n, len(told))
	}
}

func TestImportTreeSingle(t *testing.T) {
	dir := tree{"f": "hello world", "d/.h": "x", "l": "->f"}.write(t)
	s := newStore(t)
	for name, want := range map[string]Type{"f": TypeFile, "l": TypeSymlink, "d": TypeDir, "d/.h": TypeFile} {
		e, err := ImportTree(t.Context(), s, openRoot(t, dir), name, TreeOptions{})
		if err != nil || e.Type != want || e.Path != "" {
			t.Errorf("%s: %v, %v", name, e, err)
		}
		if name == "d" {
			for e, err := range List(t.Context(), s, e.Cid) {
				t.Errorf("hidden file taken in: %v, %v", e, err)
			}
		}
	}
	for _, name := range []string{"missing", "../x", "", "/"} {
		if e, err := ImportTree(t.Context(), s, openRoot(t, dir), name, TreeOptions{}); err == nil {
			t.Errorf("%q: %v", name, e)
		}
	}
}

func TestImportTreeRefuses(t *testing.T) {
	fifo := func(t *testing.T) string {
		dir := tree{"a": "1"}.write(t)
		if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	for name, c := range map[string]struct {
		dir  func(t *testing.T) string
		o    TreeOptions
		name string
		want error
	}{
		"FIFO":       {dir: fifo, want: ErrSpecial},
		"root FIFO":  {dir: fifo, name: "pipe", want: ErrSpecial},
		"device":     {dir: func(*testing.T) string { return "/dev" }, name: "null", want: ErrSpecial},
		"limit":      {dir: func(t *testing.T) string { return many(100).write(t) }, o: TreeOptions{ImportOptions: ImportOptions{Limit: 500}}, want: ErrTooLarge},
		"store full": {dir: func(t *testing.T) string { return many(1000).write(t) }, want: errors.ErrUnsupported},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			if name == "store full" {
				s.SetLimit(1000)
				c.want = nil
			}
			e, err := ImportTree(t.Context(), s, openRoot(t, c.dir(t)), max(c.name, "."), c.o)
			if err == nil || c.want != nil && !errors.Is(err, c.want) {
				t.Errorf("ImportTree = %v, %v; want %v", e, err, c.want)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if e, err := ImportTree(ctx, newStore(t), openRoot(t, many(10).write(t)), ".", TreeOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v, %v", e, err)
	}
}

// TestImportTreeThreshold holds the sizes at which a directory is sharded.
func TestImportTreeThreshold(t *testing.T) {
	for _, p := range []Profile{V1_2025(), V0_2015()} {
		serv := dagService(newStore(t))
		b := boxoProfile(p)
		file, err := boxoFile(strings.NewReader("x"), p, serv)
		if err != nil {
			t.Fatal(err)
		}
		size, err := file.Size()
		if err != nil {
			t.Fatal(err)
		}
		kinds := map[bool]bool{}
		for last := 1; last <= 200; last += 9 {
			d, err := uio.NewDirectory(serv, uio.WithCidBuilder(b.CidBuilder()), uio.WithMaxHAMTFanout(b.HAMTShardWidth), uio.WithSizeEstimationMode(b.HAMTSizeEstimation))
			if err != nil {
				t.Fatal(err)
			}
			var links []link
			n := 1065
			if p.v0 {
				n = 1120
			}
			for i := range n + 1 {
				name := fmt.Sprintf("%04d", i) + strings.Repeat("n", 196)
				if i == n {
					name = name[:last]
				}
				if err := d.AddChild(t.Context(), name, file); err != nil {
					t.Fatal(err)
				}
				links = append(links, link{cid: file.Cid(), name: name, size: size})
			}
			slices.SortFunc(links, func(a, b link) int { return strings.Compare(a.name, b.name) })
			got, err := p.encodeDir(links, func(blocks.Block) error { return nil })
			if err != nil {
				t.Fatal(err)
			}
			want, err := d.GetNode()
			if err != nil {
				t.Fatal(err)
			}
			if got.cid != want.Cid() {
				t.Errorf("%s, last name of %d bytes: %s, want %s", p, last, got.cid, want.Cid())
			}
			kinds[len(want.Links()) == n+1] = true
		}
		if len(kinds) != 2 {
			t.Errorf("%s: the threshold was not crossed", p)
		}
	}
}
