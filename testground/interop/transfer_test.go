package interop

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hypha-node/hypha-node/testground/rig"
)

// pin has Kubo get and keep a root, in as many runs as it takes. On loopback its
// session gives a peer up for good that leaves 16 wants without an answer for
// 50 ms each, as a busy machine may; the next run goes on with what is there.
func pin(t *testing.T, k *rig.Kubo, root string) {
	t.Helper()
	for ctx := rig.Within(t); ; {
		attempt, cancel := context.WithTimeout(ctx, time.Minute)
		_, err := k.Run(attempt, "pin", "add", "--progress=false", root)
		late := attempt.Err() != nil
		cancel()
		if err == nil {
			return
		}
		if !late || ctx.Err() != nil {
			t.Fatal(err)
		}
		t.Log("Kubo waits for a peer that it gave up; once more")
	}
}

// TestBigTransfer moves a file between our node and Kubo, both ways: pinned,
// streamed and written out.
func TestBigTransfer(t *testing.T) {
	k, n := startKubo(t), start(t)
	run(t, n, "connect", address(t, k))

	t.Run("from us to Kubo", func(t *testing.T) {
		name, sum := random(t, 1, big(t))
		root := run(t, n, "add", "-q", name)
		pin(t, k, root)
		hash := sha256.New()
		cat := k.Program("cat", root)
		cat.Stdout = hash
		_, err := cat.Run(rig.Within(t))
		ok(t, err)
		if got := hex.EncodeToString(hash.Sum(nil)); got != sum {
			t.Errorf("Kubo's cat: sha256 %s, want %s", got, sum)
		}
	})
	t.Run("an empty file from us to Kubo", func(t *testing.T) {
		name, _ := random(t, 0, 0)
		root := run(t, n, "add", "-q", name)
		pin(t, k, root)
		got, err := k.Run(rig.Within(t), "cat", root)
		if err != nil || got.Stdout != "" {
			t.Errorf("%q, %v", got.Stdout, err)
		}
	})
	t.Run("an old profile from us to Kubo", func(t *testing.T) {
		name, sum := random(t, 4, 3<<20+1)
		root := run(t, n, "add", "-q", "--profile", "v0-2015", name)
		if !strings.HasPrefix(root, "Qm") {
			t.Fatalf("our root %s is no CIDv0", root)
		}
		pin(t, k, root)
		out := filepath.Join(t.TempDir(), "out")
		_, err := k.Run(rig.Within(t), "get", "--progress=false", "-o", out, root)
		ok(t, err)
		same(t, out, sum)
	})
	t.Run("a sharded directory from us to Kubo", func(t *testing.T) {
		dir := sharded(t, "ours")
		root := run(t, n, "add", "-q", dir)
		pin(t, k, root)
		out := filepath.Join(t.TempDir(), "out")
		_, err := k.Run(rig.Within(t), "get", "--progress=false", "-o", out, root)
		ok(t, err)
		sameTree(t, dir, out)
	})
	t.Run("from Kubo to us", func(t *testing.T) {
		name, sum := random(t, 2, big(t))
		root, err := k.Add(rig.Within(t), name)
		ok(t, err)
		out := filepath.Join(t.TempDir(), "out")
		run(t, n, "get", root, "-o", out)
		same(t, out, sum)
		if again := run(t, n, "add", "--hash-only", "-q", out); again != root {
			t.Errorf("what arrived is %s, Kubo sent %s", again, root)
		}
	})
	t.Run("an old profile from Kubo to us", func(t *testing.T) {
		name, sum := random(t, 3, 3<<20+1)
		root, err := k.Add(rig.Within(t), name, "--cid-version=0", "--raw-leaves=false", "--chunker=size-262144")
		ok(t, err)
		if !strings.HasPrefix(root, "Qm") {
			t.Fatalf("Kubo's root %s is no CIDv0", root)
		}
		hash := sha256.New()
		cat := n.Program("cat", root)
		cat.Stdout = hash
		_, err = cat.Run(rig.Within(t))
		ok(t, err)
		if got := hex.EncodeToString(hash.Sum(nil)); got != sum {
			t.Errorf("cat: sha256 %s, want %s", got, sum)
		}
	})
	t.Run("a sharded directory from Kubo to us", func(t *testing.T) {
		dir := sharded(t, "theirs")
		root, err := k.Add(rig.Within(t), dir)
		ok(t, err)
		out := filepath.Join(t.TempDir(), "out")
		run(t, n, "get", root, "-o", out)
		sameTree(t, dir, out)
	})
}

// sharded makes a directory of so many entries that its DAG is sharded.
func sharded(t *testing.T, whose string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "sharded")
	ok(t, os.Mkdir(dir, 0o700))
	for i := range 2500 {
		ok(t, os.WriteFile(filepath.Join(dir, fmt.Sprintf("%s%05d.txt", strings.Repeat("long ", 16), i)), fmt.Appendf(nil, "%s %d\n", whose, i), 0o600))
	}
	return dir
}

// TestToolchain takes the Go toolchain's own tree, some 15,000 files, through
// add, get, two of our nodes and Kubo: equal CIDs, equal bytes.
func TestToolchain(t *testing.T) {
	out, err := exec.CommandContext(rig.Within(t), "go", "env", "GOROOT").Output()
	ok(t, err)
	goroot, err := filepath.EvalSymlinks(string(bytes.TrimSpace(out)))
	ok(t, err)
	tree := filepath.Join(t.TempDir(), "go")
	ok(t, os.CopyFS(tree, os.DirFS(goroot)))
	// Symlinks of every kind, whatever this release's tree has of them.
	ok(t, os.Symlink("bin/go", filepath.Join(tree, "zz-to-a-file")))
	ok(t, os.Symlink("src/cmd", filepath.Join(tree, "zz-to-a-directory")))
	ok(t, os.Symlink("nowhere", filepath.Join(tree, "zz-to-nothing")))

	a := start(t)
	root := run(t, a, "add", "-r", "--hidden", "-q", tree)
	got := filepath.Join(t.TempDir(), "got")
	run(t, a, "get", root, "-o", got, "--symlinks")
	sameTree(t, tree, got)
	ok(t, os.RemoveAll(got))

	t.Run("second node", func(t *testing.T) {
		b := start(t)
		run(t, b, "connect", address(t, a))
		run(t, b, "get", root, "-o", got, "--symlinks")
		sameTree(t, tree, got)
	})
	t.Run("Kubo", func(t *testing.T) {
		k := startKubo(t)
		want, err := k.Add(rig.Within(t), tree, "-H", "--only-hash")
		ok(t, err)
		if root != want {
			t.Errorf("our root %s, Kubo's %s", root, want)
		}
		_, err = k.Run(rig.Within(t), "swarm", "connect", address(t, a))
		ok(t, err)
		pin(t, k, root)
		got := filepath.Join(t.TempDir(), "got")
		_, err = k.Run(rig.Within(t), "get", "--progress=false", "-o", got, root)
		ok(t, err)
		sameTree(t, tree, got)
	})
}

// TestNobodyHasIt asks for content that does not exist: an error that names the
// CID and exit code 3, at once with no peers, after --timeout with some.
func TestNobodyHasIt(t *testing.T) {
	const nobody = "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy"
	alone, a, b := start(t), start(t), start(t)
	run(t, a, "connect", address(t, b))
	for name, n := range map[string]*rig.Node{"no peers": alone, "a peer": a} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(rig.Within(t))
			defer cancel()
			r, err := n.Run(ctx, "cat", nobody, "--timeout", "2s")
			if err == nil || r.Code != 3 || !strings.Contains(r.Stderr, nobody) {
				t.Errorf("exit code %d, %q; want 3 and the CID", r.Code, r.Stderr)
			}
		})
	}
}
