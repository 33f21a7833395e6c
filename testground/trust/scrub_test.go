package trust

import (
	"bytes"
	"encoding/json"
	"fmt"
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
	flipNode(t, a, repo, got.CID) // with nobody to ask
	r, err = a.Run(rig.Within(t), "verify", "--repair")
	if err != nil || !strings.Contains(r.Stdout, "1 damaged blocks were mended") || !strings.Contains(a.Log(), "from=leaves") {
		t.Errorf("verify --repair of an inner node: %v %q %s", err, r.Stdout, r.Stderr)
	}
	flip(t, repo, 7)
	if r, err := a.Run(rig.Within(t), "verify", "--repair"); r.Code != 1 || !strings.Contains(r.Stderr, "hint: ") {
		t.Errorf("verify --repair with nobody to ask: %v %q %s", err, r.Stdout, r.Stderr)
	}
	stop(t, a)
}

// TestScrubPrivate flips a byte of what came with credentials: from S3, which the daemon
// has the keys of, it is mended; with a header that a job sent it stays, and the log says
// why.
func TestScrubPrivate(t *testing.T) {
	const size = 3<<20 + 5
	o, repo := serve(t), filepath.Join(t.TempDir(), "a")
	ok(t, os.Mkdir(repo, 0o700))
	ok(t, os.WriteFile(filepath.Join(repo, "config.toml"), fmt.Appendf(nil, "[s3.default]\nendpoint = %q\naccess_key = \"AK\"\nsecret_key = \"SK\"\n", o.URL), 0o600))
	a := start(t, repo, "--scrub", "off", "--log-level", "info")
	for _, tc := range []struct {
		seed   uint64
		ref    string
		mended bool
		log    string
	}{
		{301, fmt.Sprintf(`{"type":"s3","bucket":"301","key":"%d/x/y"}`, size), true, "from=origin"},
		{302, fmt.Sprintf(`{"type":"uri","value":%q,"headers":{"Authorization":"Bearer x"}}`, o.url(302, size)), false, "it is private, fetch it with its credential again"},
	} {
		job, err := a.CreateJob(rig.Within(t))
		ok(t, err)
		if _, err := job.Fetch(rig.Within(t), json.RawMessage(tc.ref)); err != nil {
			t.Fatalf("%s: %v", tc.ref, err)
		}
		flipContent(t, repo, tc.seed, 100)
		r, err := a.Run(rig.Within(t), "verify", "--repair")
		if mended := err == nil && strings.Contains(r.Stdout, "1 damaged blocks were mended"); mended != tc.mended || !strings.Contains(a.Log(), tc.log) {
			t.Errorf("%s: verify --repair: %v %q %s", tc.ref, err, r.Stdout, r.Stderr)
		}
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

// flipContent changes a byte of a content where it lies, in its first size bytes.
func flipContent(t *testing.T, repo string, seed uint64, size int64) {
	t.Helper()
	content, err := io.ReadAll(rig.Random(seed, size))
	ok(t, err)
	flipBytes(t, repo, content)
}

// flipNode changes a byte of an inner node where it lies.
func flipNode(t *testing.T, n *rig.Node, repo, node string) {
	t.Helper()
	r, err := n.Run(rig.Within(t), "block", "get", node)
	ok(t, err)
	flipBytes(t, repo, []byte(r.Stdout))
}

// flipBytes changes a byte in the middle of some where they lie.
func flipBytes(t *testing.T, repo string, content []byte) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(repo, "segments", "*"))
	ok(t, err)
	for _, name := range names {
		all, err := os.ReadFile(name)
		ok(t, err)
		if off := bytes.Index(all, content); off >= 0 {
			flipIn(t, name, int64(off+len(content)/2))
			return
		}
	}
	t.Fatalf("the bytes are in none of %q", names)
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
