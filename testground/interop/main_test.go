package interop

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hypha-node/hypha-node/testground/rig"
)

// size is how big the big files are, in bytes. CI gives it to the tests whose names
// begin with TestBig, and runs the others once.
var size = flag.Int64("size", 64<<20, "bytes of the big files")

// big returns the size of a big file.
func big(t *testing.T) int64 {
	t.Helper()
	if !strings.HasPrefix(t.Name(), "TestBig") {
		t.Fatal("a test of big files is called TestBig…")
	}
	return *size
}

// binary is the command under test, built once by TestMain.
var binary string

func TestMain(m *testing.M) {
	flag.Parse()
	dir, err := os.MkdirTemp("", "interop")
	if err == nil {
		binary, err = rig.Build(context.Background(), dir)
	}
	code := 1
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	} else {
		code = m.Run()
	}
	if err := os.RemoveAll(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(code)
}

// ok ends the test on an error.
func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// hypha runs the command without a daemon and returns its output without the
// last line end.
func hypha(t *testing.T, repo string, args ...string) string {
	t.Helper()
	r, err := rig.Program{Path: binary, Args: append([]string{"--repo", repo}, args...)}.Run(rig.Within(t))
	ok(t, err)
	return strings.TrimSpace(r.Stdout)
}

// start starts a node that the test's end stops.
func start(t *testing.T, env ...string) *rig.Node {
	t.Helper()
	n, err := rig.StartNode(rig.Within(t), rig.Config{Binary: binary, Repo: filepath.Join(t.TempDir(), "repo"), Env: env})
	ok(t, err)
	t.Cleanup(func() {
		if err := n.Stop(); err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	return n
}

// run runs a command against a node.
func run(t *testing.T, n *rig.Node, args ...string) string {
	t.Helper()
	r, err := n.Run(rig.Within(t), args...)
	ok(t, err)
	return strings.TrimSpace(r.Stdout)
}

// kubo returns a Kubo repository, or skips the test.
func kubo(t *testing.T, profile string) *rig.Kubo {
	t.Helper()
	name, err := rig.FindKubo()
	if err != nil {
		t.Skipf("no Kubo: %v", err)
	}
	k, err := rig.NewKubo(rig.Within(t), name, filepath.Join(t.TempDir(), "kubo"), profile)
	ok(t, err)
	return k
}

// startKubo returns a running Kubo that the test's end stops.
func startKubo(t *testing.T) *rig.Kubo {
	t.Helper()
	k := kubo(t, "v1-2025")
	ok(t, k.Start(rig.Within(t)))
	t.Cleanup(func() {
		if err := k.Stop(); err != nil {
			t.Errorf("stop kubo: %v", err)
		}
	})
	return k
}

// address returns the multiaddr of a node or of Kubo.
func address(t *testing.T, n interface {
	Address(ctx context.Context) (string, error)
},
) string {
	t.Helper()
	a, err := n.Address(rig.Within(t))
	ok(t, err)
	return a
}

// random writes a file of n random bytes and returns its name and sha256 in hex.
func random(t *testing.T, seed uint64, n int64) (name, sum string) {
	t.Helper()
	name = filepath.Join(t.TempDir(), fmt.Sprintf("random-%d", seed))
	sum, err := rig.WriteRandom(name, seed, n)
	ok(t, err)
	return name, sum
}

// same ends the test unless the file has that sha256.
func same(t *testing.T, name, sum string) {
	t.Helper()
	got, err := rig.HashFile(name)
	ok(t, err)
	if got != sum {
		t.Fatalf("%s: sha256 %s, want %s", name, got, sum)
	}
}

// sameTree ends the test unless both trees are equal.
func sameTree(t *testing.T, a, b string) {
	t.Helper()
	n, err := rig.SameTree(a, b)
	ok(t, err)
	t.Logf("%d entries are equal", n)
}
