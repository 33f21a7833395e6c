package conformance

import (
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/hypha-node/hypha-node/testground/rig"
)

// python returns the name of a Python, or skips the test.
func python(t *testing.T) string {
	t.Helper()
	name, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("python3 is not installed")
	}
	return name
}

// clientDir is where the Python client is.
func clientDir(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs(filepath.Join("..", "..", "clients", "python"))
	ok(t, err)
	return dir
}

// TestPythonClientUnits runs the client's own tests.
func TestPythonClientUnits(t *testing.T) {
	r, err := rig.Program{
		Path: python(t), Args: []string{"-B", "-W", "error::ResourceWarning", "-m", "unittest", "discover", "-s", "tests"}, Dir: clientDir(t),
	}.Run(rig.Within(t))
	if err != nil {
		t.Errorf("%v\n%s", err, r.Stderr)
	}
}
