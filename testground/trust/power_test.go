package trust

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hypha-node/hypha-node/testground/rig"
)

// shutdownIoctl stops a mounted ext4 or XFS on the spot, as a power cut does:
// _IOR('X', 125, u32), with the argument 2 not even the journal is flushed.
const shutdownIoctl, withoutFlush = 0x8004587D, 2

// TestPowerCut cuts the power under a daemon that takes in files: what had been
// acknowledged is there and right after the journal's recovery.
func TestPowerCut(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	r := rand.New(rand.NewPCG(4, 9))
	acknowledged := 0
	for range 4 * *rounds {
		acknowledged += powerCut(t, r)
	}
	if acknowledged == 0 {
		t.Error("nothing was acknowledged before a cut: the test shows nothing")
	}
	t.Logf("%d cuts, %d acknowledged files, all there", 4**rounds, acknowledged)
}

// powerCut runs one round on a fresh file system and returns how many files had
// been acknowledged.
func powerCut(t *testing.T, r *rand.Rand) int {
	t.Helper()
	img, dir, files := image(t, 700<<20), t.TempDir(), t.TempDir()
	call := func(path string, args ...string) {
		t.Helper()
		_, err := rig.Program{Path: path, Args: args}.Run(rig.Within(t))
		ok(t, err)
	}
	call("mount", "-o", "loop", img, dir)
	repo := filepath.Join(dir, "repo")
	n := start(t, repo, "--reserve", "0")

	acknowledged := map[string]string{} // root => sha256
	kill, stopped := 2+r.IntN(8), false
	for i := 0; !stopped; i++ {
		name := filepath.Join(files, fmt.Sprint(i))
		sum, err := rig.WriteRandom(name, uint64(i), 1+r.Int64N(8<<20))
		ok(t, err)
		adding := make(chan rig.Result, 1)
		go func() {
			res, err := n.Run(rig.Within(t), "add", "-q", name)
			if err != nil {
				res.Stdout = ""
			}
			adding <- res
		}()
		var res rig.Result
		if i == kill {
			spin(r.IntN(1 << 24))
			freeze(t, n.PID())
			cut(t, dir)
			ok(t, n.Kill())
			stopped = true
			res = <-adding
		} else {
			res = <-adding
		}
		if res.Stdout != "" {
			acknowledged[strings.TrimSpace(res.Stdout)] = sum
		}
	}
	umount(t, dir)
	call("mount", "-o", "loop", img, dir)
	defer umount(t, dir)
	for root, want := range acknowledged {
		if got, res, err := catSum(rig.Within(t), repo, root); err != nil || got != want {
			t.Errorf("acknowledged %s: sha256 %s, want %s: %v %s", root, got, want, err, res.Stderr)
		}
	}
	if res, err := hypha(rig.Within(t), repo, "verify"); err != nil {
		t.Errorf("verify: %v %s", err, res.Stdout)
	}
	return len(acknowledged)
}

// freeze stops every thread of a process and returns when all of them stand
// still: no acknowledgement may leave after the cut.
func freeze(t *testing.T, pid int) {
	t.Helper()
	ok(t, syscall.Kill(pid, syscall.SIGSTOP))
	eventually(t, "all threads stand still", func() bool {
		stats, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
		ok(t, err)
		for _, name := range stats {
			text, err := os.ReadFile(name)
			if err != nil {
				return false
			}
			rest := string(text[strings.LastIndexByte(string(text), ')')+1:])
			if !strings.HasPrefix(rest, " T") {
				return false
			}
		}
		return len(stats) > 0
	})
}

// cut takes the power from the file system that is mounted at dir.
func cut(t *testing.T, dir string) {
	t.Helper()
	f, err := os.Open(dir)
	ok(t, err)
	defer f.Close()
	ok(t, unix.IoctlSetPointerInt(int(f.Fd()), shutdownIoctl, withoutFlush))
}

// umount unmounts, as soon as nobody holds the file system any more.
func umount(t *testing.T, dir string) {
	t.Helper()
	eventually(t, "unmounted", func() bool { return syscall.Unmount(dir, 0) == nil })
}

// eventually waits until something is so, for a minute at most.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); !is(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("never became so: %s", what)
		}
	}
}
