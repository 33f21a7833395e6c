package trust

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/hypha-node/hypha-node/testground/rig"
)

const namespaceVariable = "HYPHA_TRUST_NAMESPACE"

// inNamespace tells whether the test runs where it may mount. If not, it runs
// the test again in a mount namespace of its own, so that nothing that it mounts
// outlives it or is seen by others, and takes over its result. more are flags of
// unshare, for more namespaces.
func inNamespace(t *testing.T, more ...string) bool {
	t.Helper()
	if os.Getenv(namespaceVariable) != "" {
		return true
	}
	if runtime.GOOS != "linux" {
		t.Skip("needs mount namespaces of Linux")
	}
	if os.Getuid() != 0 {
		t.Skip("needs root to mount a small file system")
	}
	unshare, err := exec.LookPath("unshare")
	if err != nil {
		t.Skipf("needs unshare of util-linux: %v", err)
	}
	enter := append([]string{"--mount", "--propagation", "private"}, more...)
	probe := rig.Program{Path: unshare, Args: slices.Concat(enter, []string{"mount", "-t", "tmpfs", "tmpfs", t.TempDir()})}
	if _, err := probe.Run(rig.Within(t)); err != nil {
		t.Skipf("this machine lets nobody mount: %v", err)
	}
	r, err := rig.Program{
		Path: unshare,
		Args: slices.Concat(enter, []string{os.Args[0], "-test.run=^" + t.Name() + "$", "-test.v", "-test.timeout=9m"}),
		Env:  []string{namespaceVariable + "=1", rig.BinaryVariable + "=" + binary},
	}.Run(rig.Within(t))
	t.Log(r.Stdout)
	if err != nil {
		t.Error(err)
	}
	if !strings.Contains(r.Stdout, "--- PASS: "+t.Name()) {
		t.Error("the test did not pass in its namespace")
	}
	return false
}

// image makes a file with an ext4 file system of n bytes.
func image(t *testing.T, n int64) string {
	t.Helper()
	mkfs, err := exec.LookPath("mkfs.ext4")
	if errors.Is(err, exec.ErrNotFound) {
		mkfs = "/usr/sbin/mkfs.ext4" // not on every PATH
	}
	name := filepath.Join(t.TempDir(), "image")
	f, err := os.Create(name)
	ok(t, err)
	ok(t, f.Truncate(n))
	ok(t, f.Close())
	_, err = rig.Program{Path: mkfs, Args: []string{"-q", "-F", "-m", "0", name}}.Run(rig.Within(t))
	ok(t, err)
	return name
}

// mount mounts an image, or a tmpfs when it is named so, and returns where. The
// test's end unmounts it.
func mount(t *testing.T, args ...string) string {
	t.Helper()
	dir := t.TempDir()
	_, err := rig.Program{Path: "mount", Args: append(args, dir)}.Run(rig.Within(t))
	ok(t, err)
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil { //nolint:noctx // the test's context has ended by now
			t.Errorf("umount: %v %s", err, out)
		}
	})
	return dir
}
