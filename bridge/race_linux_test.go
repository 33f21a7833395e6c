package bridge_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/hypha-node/hypha-node/bridge"
	"github.com/hypha-node/hypha-node/bridge/bridgetest"
	"github.com/hypha-node/hypha-node/connectors"
)

// An executor swaps directories for symlinks while files are written: nothing
// lands outside, ever.
func TestSymlinkRace(t *testing.T) {
	for name, swapped := range map[string][]string{
		"first directory": {"race"},
		"last directory":  {"race/d"},
		"temporary":       {bridge.Private + "/tmp"},
		"all":             {"race", "race/d", bridge.Private + "/tmp", bridge.Private},
	} {
		t.Run(name, func(t *testing.T) {
			const rounds = 600
			w := bridgetest.New(t, bridgetest.Options{First: connectors.Set{&listing{names: []string{"d/x"}}}})
			tr := newTrap(t)
			job := w.OpenIn(t, "race", tr.dir)
			stop := make(chan struct{})
			var attackers sync.WaitGroup
			var exchanges []func()
			for _, path := range swapped {
				exchanges = append(exchanges, tr.swapper(t, path)) // all of them before the first runs
			}
			for _, exchange := range exchanges {
				attackers.Go(func() {
					for {
						select {
						case <-stop:
							return
						default:
							exchange()
						}
					}
				})
			}
			written := 0
			for range rounds {
				if _, err := job.Fetch(t.Context(), fetchListing("race")); err == nil {
					written++
				}
			}
			close(stop)
			attackers.Wait()
			tr.check(t, name, nil)
			t.Logf("%d of %d fetches were written, none outside", written, rounds)
		})
	}
}

// swapper returns a function that exchanges a directory of the work directory
// and a symlink that leads out.
func (tr *trap) swapper(t *testing.T, name string) func() {
	t.Helper()
	path, link := filepath.Join(tr.dir, name), filepath.Join(tr.dir, "swap-"+filepath.Base(name))
	if err := os.MkdirAll(path, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(tr.outside, link); err != nil {
		t.Fatal(err)
	}
	return func() {
		// What lies above may be swapped at this moment.
		err := unix.Renameat2(unix.AT_FDCWD, path, unix.AT_FDCWD, link, unix.RENAME_EXCHANGE)
		if err != nil && !errors.Is(err, unix.ENOENT) {
			t.Error(err)
		}
	}
}

// Whatever the umask, files are 0600 and directories 0700. The umask belongs to
// the process, so another one runs the test.
func TestUmask(t *testing.T) {
	if mask := os.Getenv("HYPHA_TEST_UMASK"); mask != "" {
		n, err := strconv.ParseUint(mask, 8, 32)
		if err != nil {
			t.Fatal(err)
		}
		w := bridgetest.New(t, bridgetest.Options{First: connectors.Set{&listing{names: []string{"a/b/c", "d"}}}})
		dir := t.TempDir()
		old := syscall.Umask(int(n))
		job := w.OpenIn(t, "umask", dir)
		first, err := job.Fetch(t.Context(), fetchListing("o"))
		if err != nil {
			t.Fatal(err)
		}
		second, err := job.Fetch(t.Context(), fetchListing("p")) // from the store
		if err != nil {
			t.Fatal(err)
		}
		syscall.Umask(old)
		tr := &trap{dir: dir, before: snapshot(t, filepath.Dir(dir), dir)}
		tr.check(t, mask, append(first, second...))
		return
	}
	for _, mask := range []string{"000", "022", "077", "0277"} {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestUmask$", "-test.count=1")
		cmd.Env = append(os.Environ(), "HYPHA_TEST_UMASK="+mask)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("umask %s: %v\n%s", mask, err, out)
		}
	}
}
