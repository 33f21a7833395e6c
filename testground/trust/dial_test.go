package trust

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/hypha-node/hypha-node/testground/rig"
)

// TestDialsNobody runs daemons in a network namespace whose default route leads
// nowhere, and reads from the kernel's counters whether they have tried to connect
// to anybody or sent anything. A daemon that was told of nobody has not.
func TestDialsNobody(t *testing.T) {
	if !inNamespace(t, "--net") {
		return
	}
	for _, args := range []string{
		"link set lo up", "link add hypha0 type veth peer name hypha1", "addr add 10.41.0.1/24 dev hypha0",
		"link set hypha1 up", "link set hypha0 up", "route add default via 10.41.0.2",
	} {
		out, err := exec.CommandContext(rig.Within(t), "ip", strings.Fields(args)...).CombinedOutput()
		if err != nil {
			t.Fatalf("ip %s: %v: %s", args, err, out)
		}
	}
	const absent = "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy"
	daemon := func(args ...string) {
		t.Helper()
		// What a daemon listens on that is told nothing; its ports are free here.
		n, err := rig.StartNode(rig.Within(t), rig.Config{
			Binary: binary, Repo: filepath.Join(t.TempDir(), "repo"), Listen: "/ip4/0.0.0.0/tcp/4101",
			Args: append([]string{"--listen", "/ip4/0.0.0.0/udp/4101/quic-v1", "--listen", "/ip6/::/tcp/4101", "--listen", "/ip6/::/udp/4101/quic-v1"}, args...),
		})
		ok(t, err)
		defer stop(t, n)
		name := filepath.Join(t.TempDir(), "file")
		ok(t, os.WriteFile(name, []byte("content that is announced"), 0o600))
		_, err = n.Run(rig.Within(t), "add", name)
		ok(t, err)
		if r, err := n.Run(rig.Within(t), "fetch", "ipfs://"+absent); err == nil || !strings.Contains(r.Stderr, absent) {
			t.Errorf("content that nobody has: %v, %q", err, r.Stderr)
		}
	}
	daemon()
	for what, n := range sent(t) {
		if n != 0 {
			t.Errorf("%s: %d", what, n)
		}
	}
	// The counters count: this one is told of somebody, who is not there.
	daemon("--peer", "/ip4/203.0.113.1/tcp/4101/p2p/12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp")
	if sent(t)["Tcp ActiveOpens"] == 0 {
		t.Error("a dial was not counted")
	}
}

// sent returns the namespace's counters of connections begun and packets sent.
func sent(t *testing.T) map[string]int64 {
	t.Helper()
	text, err := os.ReadFile("/proc/self/net/snmp")
	ok(t, err)
	all := map[string]int64{}
	var head []string
	for line := range bytes.Lines(text) {
		fields := strings.Fields(string(line))
		if len(head) == 0 || head[0] != fields[0] {
			head = fields
			continue
		}
		for i, name := range head[1:] {
			key := strings.TrimSuffix(head[0], ":") + " " + name
			if key == "Tcp ActiveOpens" || key == "Udp OutDatagrams" {
				all[key], err = strconv.ParseInt(fields[i+1], 10, 64)
				ok(t, err)
			}
		}
	}
	text, err = os.ReadFile("/proc/self/net/snmp6")
	ok(t, err)
	for line := range bytes.Lines(text) {
		if f := strings.Fields(string(line)); f[0] == "Udp6OutDatagrams" {
			all[f[0]], err = strconv.ParseInt(f[1], 10, 64)
			ok(t, err)
		}
	}
	if len(all) != 3 {
		t.Fatalf("counters are %v", all)
	}
	return all
}
