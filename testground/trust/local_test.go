package trust

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hypha-node/hypha-node/testground/rig"
)

// TestLocalNetwork has nodes find each other by multicast, in a network namespace of
// their own: those of one network and no others.
func TestLocalNetwork(t *testing.T) {
	if !inNamespace(t, "--net") {
		return
	}
	for _, args := range []string{"link set lo up", "link set lo multicast on", "route add 224.0.0.0/4 dev lo"} {
		out, err := exec.CommandContext(rig.Within(t), "ip", strings.Fields(args)...).CombinedOutput()
		if err != nil {
			t.Fatalf("ip %s: %v: %s", args, err, out)
		}
	}
	open := []*rig.Node{member(t, nil, "--mdns"), member(t, nil, "--mdns")}
	key := filepath.Join(t.TempDir(), "key")
	ok(t, os.Mkdir(key, 0o700))
	_, err := hypha(rig.Within(t), key, "swarm-key")
	ok(t, err)
	text, err := os.ReadFile(filepath.Join(key, "swarm.key"))
	ok(t, err)
	private := []*rig.Node{member(t, text, "--mdns"), member(t, text, "--mdns")}
	silent := member(t, nil)
	for _, pair := range [][]*rig.Node{open, private} {
		for i, n := range pair {
			for ctx := rig.Within(t); ; {
				if got := met(t, n); len(got) > 0 {
					if want := id(t, pair[1-i]); !slices.Equal(got, []string{want}) {
						t.Errorf("met %q, want %s alone", got, want)
					}
					break
				}
				select {
				case <-time.After(50 * time.Millisecond):
				case <-ctx.Done():
					t.Fatalf("nobody was found: %s", n.Log())
				}
			}
		}
	}
	if got := met(t, silent); len(got) != 0 {
		t.Errorf("who was not told to look has met %q", got)
	}
}

// member starts a node, in a private network if there is a key.
func member(t *testing.T, key []byte, args ...string) *rig.Node {
	t.Helper()
	repo := filepath.Join(t.TempDir(), "repo")
	ok(t, os.Mkdir(repo, 0o700))
	if key != nil {
		ok(t, os.WriteFile(filepath.Join(repo, "swarm.key"), key, 0o600))
	}
	n := start(t, repo, args...)
	t.Cleanup(func() { stop(t, n) })
	return n
}

// met returns the ids of the connected peers.
func met(t *testing.T, n *rig.Node) (ids []string) {
	t.Helper()
	r, err := n.Run(rig.Within(t), "peers", "--json")
	ok(t, err)
	for line := range strings.Lines(r.Stdout) {
		var p struct {
			ID string `json:"peer_id"`
		}
		ok(t, json.Unmarshal([]byte(line), &p))
		ids = append(ids, p.ID)
	}
	return ids
}

// id returns a node's id.
func id(t *testing.T, n *rig.Node) string {
	t.Helper()
	a, err := n.Address(rig.Within(t))
	ok(t, err)
	return a[strings.LastIndex(a, "/")+1:]
}
