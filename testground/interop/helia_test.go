package interop

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hypha-node/hypha-node/testground/rig"
)

// TestHelia exchanges files of both profiles and sharded directories with npm's
// Helia, both ways, over bitswap: the second implementation of it that we meet. The
// CIDs are those that we give.
func TestHelia(t *testing.T) {
	node, modules := findIPFS(t)
	if own, err := filepath.Glob(filepath.Join(modules, "node-linux-*", "bin", "node")); err == nil && len(own) == 1 {
		node = own[0] // Helia's dependencies need Node 22.19
	}
	n, repo := start(t), filepath.Join(t.TempDir(), "other")
	v1, sum1 := random(t, 1, 5<<20+7)
	v0, sum0 := random(t, 2, 3<<20+7)
	empty, _ := random(t, 0, 0)
	many, last := filepath.Join(t.TempDir(), "many"), ""
	ok(t, os.Mkdir(many, 0o700))
	for i := range 3000 { // over 256 KiB of names and links: sharded
		last = fmt.Sprintf("%s %05d", strings.Repeat("x", 60), i)
		ok(t, os.WriteFile(filepath.Join(many, last), fmt.Appendf(nil, "%d\n", i), 0o600))
	}
	sumLast, err := rig.HashFile(filepath.Join(many, last))
	ok(t, err)
	ours, err := json.Marshal(map[string]string{
		"v1": run(t, n, "add", "-q", v1), "v0": run(t, n, "add", "-q", "--profile", "v0-2015", v0),
		"empty": run(t, n, "add", "-q", empty), "many": run(t, n, "add", "-q", many),
	})
	ok(t, err)

	out := t.TempDir()
	r, err := rig.Program{Path: node, Args: []string{
		filepath.Join("testdata", "helia.mjs"), modules, address(t, n), string(ours), n.Binary, n.Repo, out,
	}}.Run(rig.Within(t))
	ok(t, err)
	var got struct {
		Theirs map[string]string   // what Helia read of ours
		Ours   map[string][]string // root, and sha256 of a file, of what it added
		Peers  int
	}
	ok(t, json.Unmarshal([]byte(r.Stdout), &got))
	if got.Peers != 1 {
		t.Errorf("Helia has %d peers", got.Peers)
	}
	want := map[string]string{
		"v1": sum1, "v0": sum0, "many": "3000 " + last + " " + sumLast,
		"empty": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
	}
	if diff := cmp.Diff(want, got.Theirs); diff != "" {
		t.Error(diff)
	}
	for _, name := range []string{"v1", "v0"} {
		same(t, filepath.Join(out, name), got.Ours[name][1])
		if root := hypha(t, repo, "add", "--hash-only", "-q", "--profile", name+map[string]string{"v1": "-2025", "v0": "-2015"}[name], filepath.Join(out, name)); root != got.Ours[name][0] {
			t.Errorf("%s: Helia's root %s, ours %s", name, got.Ours[name][0], root)
		}
	}
	for i := range 40 {
		text, err := os.ReadFile(filepath.Join(out, "tree", fmt.Sprint(i%4), fmt.Sprintf("file %d", i)))
		if err != nil || string(text) != fmt.Sprintf("content %d", i) {
			t.Errorf("file %d of Helia's tree: %q, %v", i, text, err)
		}
	}
}
