package interop

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hypha-node/hypha-node/testground/rig"
)

// TestCIDs compares our roots with Kubo's, in both profiles, for every shape
// whose DAG is built differently.
func TestCIDs(t *testing.T) {
	const mib = 1 << 20
	dir := t.TempDir()
	var names []string
	file := func(name string, n int64) {
		t.Helper()
		path := filepath.Join(dir, name)
		_, err := rig.WriteRandom(path, uint64(len(names)), n)
		ok(t, err)
		names = append(names, path)
	}
	for _, n := range []int64{0, 1, 262143, 262144, 262145, mib - 1, mib, mib + 1, 2 * mib, 45*mib + 7} {
		file(fmt.Sprintf("%d-bytes", n), n)
	}
	names = append(names, sparse(t, filepath.Join(dir, "one-level"), 1024*mib), sparse(t, filepath.Join(dir, "two-levels"), 1024*mib+1))
	for _, tree := range []struct {
		name    string
		entries int
	}{{"empty-directory", 0}, {"directory", 12}, {"hamt", 7000}} {
		path := filepath.Join(dir, tree.name)
		ok(t, os.Mkdir(path, 0o700))
		for i := range tree.entries {
			ok(t, os.WriteFile(filepath.Join(path, fmt.Sprintf("entry number %05d.txt", i)), fmt.Appendf(nil, "%d\n", i), 0o600))
		}
		names = append(names, path)
	}
	for seed := range uint64(40) {
		path := filepath.Join(dir, fmt.Sprintf("random-%02d", seed))
		randomTree(t, path, rand.New(rand.NewPCG(seed, 4)), 0)
		names = append(names, path)
	}
	for _, profile := range []string{"v1-2025", "v0-2015"} {
		t.Run(profile, func(t *testing.T) {
			k := kubo(t, profile)
			repo := filepath.Join(t.TempDir(), "repo")
			for _, name := range names {
				t.Run(filepath.Base(name), func(t *testing.T) {
					want, err := k.Add(rig.Within(t), name, "--only-hash")
					ok(t, err)
					if got := hypha(t, repo, "add", "--hash-only", "--profile", profile, "-q", name); got != want {
						t.Errorf("%s, Kubo says %s", got, want)
					}
				})
			}
		})
	}
}

// sparse writes a file that costs no disk: a few bytes here and there.
func sparse(t *testing.T, name string, n int64) string {
	t.Helper()
	f, err := os.Create(name)
	ok(t, err)
	for off := int64(1000); off < n; off += 300 << 20 {
		_, err := f.WriteAt([]byte("not everything is zero"), off)
		ok(t, err)
	}
	ok(t, f.Truncate(n))
	ok(t, f.Close())
	return name
}

// randomTree makes a file or a directory of files, symlinks and directories.
func randomTree(t *testing.T, path string, r *rand.Rand, depth int) {
	t.Helper()
	kind := r.IntN(10)
	switch {
	case depth > 0 && kind == 0:
		ok(t, os.Symlink(strings.Repeat("../", r.IntN(3))+"some/where", path))
	case depth < 4 && kind < 5:
		ok(t, os.Mkdir(path, 0o700))
		for i := range r.IntN(9) {
			name := []string{"a", "B", "ä", "名前", "with space", "Z.tar.gz", "~", "10", "9", ".hidden"}[r.IntN(10)] + fmt.Sprint(i)
			randomTree(t, filepath.Join(path, name), r, depth+1)
		}
	default:
		n := r.Int64N(3000)
		if r.IntN(4) == 0 {
			n = r.Int64N(3 << 20)
		}
		f, err := os.Create(path)
		ok(t, err)
		_, err = io.Copy(f, rig.Random(r.Uint64(), n))
		ok(t, err)
		ok(t, f.Close())
	}
}
