package trust

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hypha-node/hypha-node/testground/rig"
)

// TestScrub flips a byte of what a daemon has stored, time and again. The daemon
// finds it by itself and mends it in its place: from the origin, from a peer when the
// origin is gone; and so does `verify --repair`. When nobody has it, both say so.
func TestScrub(t *testing.T) {
	const size = 5<<20 + 77
	o, dir := serve(t), t.TempDir()
	repo := filepath.Join(dir, "a")
	often := []string{"--scrub", "1GiB", "--scrub-every", "300ms", "--log-level", "info"}
	a := start(t, repo, often...)
	got, err := fetch(rig.Within(t), a, o, 1, size)
	ok(t, err)

	flip(t, repo, 1<<20+5)
	awaitMended(t, a, 1)
	if log := a.Log(); !strings.Contains(log, "from=origin") || !strings.Contains(log, "mended=true") {
		t.Errorf("the log does not tell of the origin: %s", log)
	}

	_, err = fetch(rig.Within(t), a, o, 2, 4000) // into a pack
	ok(t, err)
	flipContent(t, repo, 2, 4000)
	awaitMended(t, a, 2)

	b := start(t, filepath.Join(dir, "b"))
	addr, err := a.Address(rig.Within(t))
	ok(t, err)
	for _, args := range [][]string{{"connect", addr}, {"pin", "add", got.CID}} {
		if r, err := b.Run(rig.Within(t), args...); err != nil {
			t.Fatalf("%s: %v %s", args, err, r.Stderr)
		}
	}
	o.gone.Store(true)
	flip(t, repo, 3<<20)
	awaitMended(t, a, 3)
	if log := a.Log(); !strings.Contains(log, "from=peer") {
		t.Errorf("the log does not tell of the peer: %s", log)
	}
	stop(t, a)
	if good, r, err := right(t, repo, got.CID, 1, size); err != nil || !good {
		t.Errorf("the content is not as it was: %v %s", err, r.Stderr)
	}

	// On request, with a scrub that does not do it before.
	a = start(t, repo, "--scrub", "off")
	addr, err = a.Address(rig.Within(t))
	ok(t, err)
	if r, err := b.Run(rig.Within(t), "connect", addr); err != nil {
		t.Fatalf("connect: %v %s", err, r.Stderr)
	}
	flip(t, repo, 2<<20+9)
	r, err := a.Run(rig.Within(t), "verify", "--repair")
	if err != nil || !strings.Contains(r.Stdout, "1 damaged blocks were mended") {
		t.Errorf("verify --repair: %v %q %s", err, r.Stdout, r.Stderr)
	}
	stop(t, b)
	flip(t, repo, 7)
	if r, err := a.Run(rig.Within(t), "verify", "--repair"); r.Code != 1 || !strings.Contains(r.Stderr, "hint: ") {
		t.Errorf("verify --repair with nobody to ask: %v %q %s", err, r.Stdout, r.Stderr)
	}
	stop(t, a)
}

// flip changes a byte of the only file segment of a repository.
func flip(t *testing.T, repo string, off int64) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(repo, "segments", "*.file"))
	ok(t, err)
	if len(names) != 1 {
		t.Fatalf("file segments %q, want one", names)
	}
	flipIn(t, names[0], off)
}

// flipContent changes a byte of a small content where it lies in a pack.
func flipContent(t *testing.T, repo string, seed uint64, size int64) {
	t.Helper()
	content, err := io.ReadAll(rig.Random(seed, size))
	ok(t, err)
	names, err := filepath.Glob(filepath.Join(repo, "segments", "*.pack"))
	ok(t, err)
	for _, name := range names {
		all, err := os.ReadFile(name)
		ok(t, err)
		if off := bytes.Index(all, content); off >= 0 {
			flipIn(t, name, int64(off)+size/2)
			return
		}
	}
	t.Fatalf("the content is in none of %q", names)
}

// flipIn changes a byte of a file.
func flipIn(t *testing.T, name string, off int64) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	ok(t, err)
	defer f.Close()
	var b [1]byte
	_, err = f.ReadAt(b[:], off)
	ok(t, err)
	b[0] ^= 0x40
	_, err = f.WriteAt(b[:], off)
	ok(t, err)
}

// awaitMended returns when a daemon has mended so many blocks in all.
func awaitMended(t *testing.T, n *rig.Node, want int64) {
	t.Helper()
	ctx := rig.Within(t)
	for {
		r, err := n.Run(ctx, "status", "--json")
		ok(t, err)
		var st struct {
			Scrub struct{ Passes, Damaged, Mended int64 }
		}
		ok(t, json.Unmarshal([]byte(r.Stdout), &st))
		if st.Scrub.Mended >= want {
			return
		}
	}
}
