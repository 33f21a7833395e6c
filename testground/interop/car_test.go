package interop

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hypha-node/hypha-node/testground/rig"
)

// ipfsModules is where CI keeps the packages of npm that speak IPFS.
const ipfsModules = "ipfs-js-3.1.0-7.1.0-7.1.15-8.0.5-26.10.0/node_modules"

// findIPFS returns node and the packages, or skips the test.
func findIPFS(t *testing.T) (node, modules string) {
	t.Helper()
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skipf("no node: %v", err)
	}
	if modules, err = rig.Find("HYPHA_IPFS_MODULES", "", ipfsModules); err != nil {
		t.Skipf("no ipfs-car: %v", err)
	}
	return node, modules
}

// carTree makes a tree with a file of several leaves, a sharded directory and small
// files, and returns its directory and root in a new repository.
func carTree(t *testing.T) (dir, repo, root string) {
	t.Helper()
	dir, repo = filepath.Join(t.TempDir(), "tree"), filepath.Join(t.TempDir(), "repo")
	ok(t, os.MkdirAll(dir, 0o700))
	r := rand.New(rand.NewPCG(1, 2))
	randomTree(t, filepath.Join(dir, "tree"), r, 0)
	ok(t, os.MkdirAll(filepath.Join(dir, "many"), 0o700))
	for i := range 2000 {
		ok(t, os.WriteFile(filepath.Join(dir, "many", strings.Repeat("x", 60)+string(rune('a'+i%26))+strings.Repeat("y", i/26)), []byte{byte(i)}, 0o600))
	}
	_, err := rig.WriteRandom(filepath.Join(dir, "big"), 1, 20<<20+7)
	ok(t, err)
	return dir, repo, hypha(t, repo, "add", "-q", dir)
}

// TestCARKubo moves a tree to Kubo and back as a CAR, in both versions.
func TestCARKubo(t *testing.T) {
	dir, repo, root := carTree(t)
	for _, version := range []string{"1", "2"} {
		t.Run("v"+version, func(t *testing.T) {
			k := kubo(t, "v1-2025")
			name := filepath.Join(t.TempDir(), "ours.car")
			hypha(t, repo, "dag", "export", "--car-version", version, root, "-o", name)
			r, err := k.Run(rig.Within(t), "dag", "import", "--stats", name)
			ok(t, err)
			if !strings.Contains(r.Stdout, root) || !strings.Contains(r.Stdout, "success") {
				t.Fatalf("Kubo says %q", r.Stdout)
			}
			out := filepath.Join(t.TempDir(), "out")
			_, err = k.Run(rig.Within(t), "get", "-o", out, root)
			ok(t, err)
			sameTree(t, dir, out)

			theirs := filepath.Join(t.TempDir(), "theirs.car")
			_, err = rig.Program{Path: "/bin/sh", Args: []string{"-c", `exec "$0" dag export --progress=false "$1" >"$2"`, k.Binary, root, theirs}, Env: k.Program().Env}.Run(rig.Within(t))
			ok(t, err)
			if version == "1" { // the same blocks in the same order
				a, err := rig.HashFile(name)
				ok(t, err)
				same(t, theirs, a)
			}
			other := filepath.Join(t.TempDir(), "other")
			if got := hypha(t, other, "dag", "import", theirs); !strings.HasPrefix(got, root) {
				t.Fatalf("%q", got)
			}
			back := filepath.Join(t.TempDir(), "back")
			hypha(t, other, "get", root, "-o", back)
			sameTree(t, dir, back)
		})
	}
}

// TestCARKuboCBOR moves blocks of other codecs.
func TestCARKuboCBOR(t *testing.T) {
	k := kubo(t, "v1-2025")
	dir := t.TempDir()
	leaf := filepath.Join(dir, "leaf")
	ok(t, os.WriteFile(leaf, []byte("a leaf"), 0o600))
	below, err := k.Add(rig.Within(t), leaf)
	ok(t, err)
	for _, codec := range []string{"dag-cbor", "dag-json"} {
		text := filepath.Join(dir, codec+".json")
		ok(t, os.WriteFile(text, []byte(`{"n":[1,-7,2.5,null,{"/":{"bytes":"AQID"}}],"to":{"/":"`+below+`"}}`), 0o600))
		r, err := k.Run(rig.Within(t), "dag", "put", "--store-codec", codec, text)
		ok(t, err)
		root, name := strings.TrimSpace(r.Stdout), filepath.Join(dir, codec+".car")
		_, err = rig.Program{Path: "/bin/sh", Args: []string{"-c", `exec "$0" dag export --progress=false "$1" >"$2"`, k.Binary, root, name}, Env: k.Program().Env}.Run(rig.Within(t))
		ok(t, err)
		repo := filepath.Join(t.TempDir(), "repo")
		hypha(t, repo, "dag", "import", name)
		hypha(t, repo, "gc")
		again := filepath.Join(dir, codec+"-again.car")
		hypha(t, repo, "dag", "export", root, "-o", again)
		sum, err := rig.HashFile(name)
		ok(t, err)
		same(t, again, sum)
	}
}

// TestCARJavaScript moves a tree to npm's ipfs-car and back.
func TestCARJavaScript(t *testing.T) {
	node, modules := findIPFS(t)
	dir, repo, root := carTree(t)
	js := func(args ...string) string {
		t.Helper()
		r, err := rig.Program{Path: node, Args: append([]string{filepath.Join(modules, "ipfs-car", "bin.js")}, args...)}.Run(rig.Within(t))
		ok(t, err)
		return strings.TrimSpace(r.Stdout)
	}
	ours := filepath.Join(t.TempDir(), "ours.car")
	hypha(t, repo, "dag", "export", root, "-o", ours)
	if got := js("roots", ours); got != root {
		t.Fatalf("ipfs-car says the root is %q, not %s", got, root)
	}
	out := filepath.Join(t.TempDir(), "out")
	js("unpack", ours, "--output", out)
	sameTree(t, dir, out)

	theirs := filepath.Join(t.TempDir(), "theirs.car")
	packed := js("pack", dir, "--no-wrap", "--output", theirs)
	other := filepath.Join(t.TempDir(), "other")
	if got := hypha(t, other, "dag", "import", theirs); !strings.HasPrefix(got, packed) || packed == "" {
		t.Fatalf("%q, ipfs-car says %q", got, packed)
	}
	back := filepath.Join(t.TempDir(), "back")
	hypha(t, other, "get", packed, "-o", back)
	sameTree(t, dir, back)
}
