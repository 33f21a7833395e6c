package interop

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hypha-node/hypha-node/testground/rig"
)

// TestPrivateNetwork puts a node and Kubo into a private network with the key file
// that `swarm-key` made: blocks go both ways, and who has no key stays outside.
func TestPrivateNetwork(t *testing.T) {
	k := kubo(t, "v1-2025")
	repo := filepath.Join(t.TempDir(), "repo")
	hypha(t, repo, "swarm-key")
	key, err := os.ReadFile(filepath.Join(repo, "swarm.key"))
	ok(t, err)
	ok(t, os.WriteFile(filepath.Join(k.Path, "swarm.key"), key, 0o600))
	ok(t, k.Start(rig.Within(t)))
	t.Cleanup(func() {
		if err := k.Stop(); err != nil {
			t.Errorf("stop kubo: %v", err)
		}
	})
	n, err := rig.StartNode(rig.Within(t), rig.Config{Binary: binary, Repo: repo, Env: []string{"HYPHA_FORCE_PNET=1"}})
	ok(t, err)
	t.Cleanup(func() {
		if err := n.Stop(); err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	run(t, n, "connect", address(t, k))

	name, _ := random(t, 1, 3<<20)
	pin(t, k, run(t, n, "add", "-q", name))
	name, _ = random(t, 2, 3<<20)
	root, err := k.Add(rig.Within(t), name)
	ok(t, err)
	if out := run(t, n, "fetch", "--json", "ipfs://"+root); !strings.Contains(out, `"from":"peer"`) {
		t.Errorf("fetched %s", out)
	}

	outsider := start(t)
	if r, err := outsider.Run(rig.Within(t), "connect", address(t, k)); err == nil {
		t.Errorf("Kubo let an outsider in: %s", r.Stdout)
	}
}
