package trust

import (
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hypha-node/hypha-node/testground/rig"
)

// TestBitFlips flips one bit in each file of a repository, one after the other,
// and truncates each once. No wrong byte ever comes out, the repository always
// opens, verify tells of damage to content, and fetching again heals it.
func TestBitFlips(t *testing.T) {
	o, pristine := serve(t), filepath.Join(t.TempDir(), "pristine")
	type file struct {
		seed uint64
		size int64
		root string
	}
	files := []file{{1, 3 << 20, ""}, {2, 100, ""}, {3, 1 << 20, ""}, {4, 2<<20 + 5, ""}}
	n := start(t, pristine)
	for i, f := range files {
		got, err := fetch(rig.Within(t), n, o, f.seed, f.size)
		ok(t, err)
		files[i].root = got.CID
	}
	stop(t, n)

	var victims []string
	for _, sub := range []string{"index", "segments"} {
		ok(t, filepath.WalkDir(filepath.Join(pristine, sub), func(name string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			rel, err := filepath.Rel(pristine, name)
			victims = append(victims, rel)
			return err
		}))
	}
	r := rand.New(rand.NewPCG(3, 9))
	damaged := 0
	for round := range 4 * len(victims) * *rounds {
		victim := victims[round%len(victims)]
		repo := filepath.Join(t.TempDir(), "repo")
		ok(t, os.CopyFS(repo, os.DirFS(pristine)))
		ok(t, os.Chmod(repo, 0o700))
		how := damage(t, filepath.Join(repo, victim), r, round/len(victims)%4 == 3)
		if how == "" {
			continue // an empty file
		}

		bad := 0
		for _, f := range files {
			good, res, err := right(t, repo, f.root, f.seed, f.size)
			noTrace(t, res.Stderr)
			switch {
			case err == nil && !good:
				t.Errorf("%s of %s: wrong bytes with exit code 0", how, victim)
			case err != nil && res.Code != 1 && res.Code != 3:
				t.Errorf("%s of %s: exit code %d: %s", how, victim, res.Code, res.Stderr)
			case err != nil:
				bad++
			}
		}
		verify, err := hypha(rig.Within(t), repo, "verify")
		noTrace(t, verify.Stderr)
		if err != nil && verify.Code != 1 {
			t.Errorf("%s of %s: verify: exit code %d: %s", how, victim, verify.Code, verify.Stderr)
		}
		if bad > 0 {
			damaged++
		}

		n, err := rig.StartNode(rig.Within(t), rig.Config{Binary: binary, Repo: repo})
		if err != nil {
			t.Errorf("%s of %s: %v", how, victim, err)
			continue
		}
		for _, f := range files {
			if _, err := fetch(rig.Within(t), n, o, f.seed, f.size); err != nil {
				t.Errorf("%s of %s: file %d can't be fetched again: %v", how, victim, f.seed, err)
			}
		}
		stop(t, n)
		for _, f := range files {
			if good, res, err := right(t, repo, f.root, f.seed, f.size); err != nil || !good {
				t.Errorf("%s of %s: file %d is not healed: %s %v", how, victim, f.seed, res.Stderr, err)
			}
		}
		ok(t, os.RemoveAll(repo))
	}
	if damaged == 0 {
		t.Error("no flip has hit content: the test shows nothing")
	}
	t.Logf("%d files of the repository, %d rounds with lost content, all healed", len(victims), damaged)
}

// damage flips a random bit of the written part of a file, or cuts it at a
// random length, and says which; "" when there is nothing to damage.
func damage(t *testing.T, name string, r *rand.Rand, cut bool) string {
	t.Helper()
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	ok(t, err)
	defer f.Close()
	info, err := f.Stat()
	ok(t, err)
	n := written(t, f, info.Size())
	if n == 0 {
		return ""
	}
	off := r.Int64N(n)
	if cut {
		ok(t, f.Truncate(off))
		return "a cut"
	}
	var b [1]byte
	_, err = f.ReadAt(b[:], off)
	ok(t, err)
	b[0] ^= 1 << r.IntN(8)
	_, err = f.WriteAt(b[:], off)
	ok(t, err)
	return "a flip"
}

// written returns the length of a file without the zeros at its end: databases
// preallocate.
func written(t *testing.T, f *os.File, size int64) int64 {
	t.Helper()
	buf := make([]byte, 1<<20)
	var last int64
	for off := int64(0); off < size; {
		n, err := f.ReadAt(buf, off)
		if n == 0 && err == io.EOF {
			break
		}
		if err != io.EOF {
			ok(t, err)
		}
		if end := len(strings.TrimRight(string(buf[:n]), "\x00")); end > 0 {
			last = off + int64(end)
		}
		off += int64(n)
	}
	return last
}

// TestIndexLost removes the index: rebuilt from the segments, everything is
// there again, by the command and by a daemon that finds it gone.
func TestIndexLost(t *testing.T) {
	o, repo := serve(t), filepath.Join(t.TempDir(), "repo")
	n := start(t, repo)
	var roots []rig.Fetched
	for seed := range uint64(3) {
		f, err := fetch(rig.Within(t), n, o, seed, 2<<20+int64(seed))
		ok(t, err)
		roots = append(roots, f)
	}
	stop(t, n)
	for _, how := range []string{"verify --rebuild", "daemon"} {
		ok(t, os.RemoveAll(filepath.Join(repo, "index")))
		if how == "daemon" {
			stop(t, start(t, repo))
		} else {
			r, err := hypha(rig.Within(t), repo, "verify", "--rebuild")
			if err != nil {
				t.Fatalf("%v %s", err, r.Stdout)
			}
		}
		for seed, f := range roots {
			if good, res, err := right(t, repo, f.CID, uint64(seed), f.Size); err != nil || !good {
				t.Errorf("%s: file %d: %v %s", how, seed, err, res.Stderr)
			}
		}
	}
}
