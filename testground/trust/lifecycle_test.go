package trust

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hypha-node/hypha-node/testground/rig"
)

// TestSecondDaemon starts a second daemon, and a command that needs the
// repository for itself, on a repository that is in use: a sentence that names
// the holder, and nothing happens to the first.
func TestSecondDaemon(t *testing.T) {
	repo := filepath.Join(t.TempDir(), "repo")
	n := start(t, repo)
	second, err := hypha(rig.Within(t), repo, "daemon", "--listen", "/ip4/127.0.0.1/tcp/0")
	want := fmt.Sprintf("in use by daemon, pid %d", n.PID())
	if err == nil || second.Code != 1 || !strings.Contains(second.Stderr, want) {
		t.Errorf("second daemon: exit code %d, %q; want 1 and %q", second.Code, second.Stderr, want)
	}
	noTrace(t, second.Stderr)
	if _, err := n.Address(rig.Within(t)); err != nil {
		t.Errorf("the first daemon: %v", err)
	}
	stop(t, n)
}

// TestTerm ends a daemon with SIGTERM while a job fetches: exit code 0, no
// socket stays, and the next daemon has the same identity.
func TestTerm(t *testing.T) {
	repo, o := filepath.Join(t.TempDir(), "repo"), serve(t)
	n := start(t, repo)
	identity, err := n.Address(rig.Within(t))
	ok(t, err)
	job, err := n.CreateJob(rig.Within(t))
	ok(t, err)
	hit := o.after(1 << 20)
	done := make(chan error, 1)
	go func() {
		_, err := job.Fetch(rig.Within(t), rig.URI(o.url(1, 64<<20)))
		done <- err
	}()
	<-hit
	stop(t, n)
	<-done
	for _, root := range []string{repo, filepath.Dir(job.Socket)} {
		ok(t, ignoreMissing(filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
			if err == nil && d.Type()&fs.ModeSocket != 0 {
				t.Errorf("socket %s stays", name)
			}
			return err
		})))
	}
	if names := unfinished(t, job.WorkDir, "file-", 64<<20); len(names) > 0 {
		t.Errorf("after SIGTERM the work directory holds %q", names)
	}
	n = start(t, repo)
	again, err := n.Address(rig.Within(t))
	ok(t, err)
	if filepath.Base(again) != filepath.Base(identity) {
		t.Errorf("peer id was %s, is %s", identity, again)
	}
	stop(t, n)
}

// TestStaleSocket starts a daemon where a killed one left its sockets.
func TestStaleSocket(t *testing.T) {
	repo := filepath.Join(t.TempDir(), "repo")
	n := start(t, repo)
	job, err := n.CreateJob(rig.Within(t))
	ok(t, err)
	ok(t, n.Kill())
	if _, err := os.Lstat(job.Socket); err != nil {
		t.Fatalf("the kill removed the socket: %v", err) // then this test shows nothing
	}
	if r, err := hypha(rig.Within(t), repo, "job", "ls"); err != nil {
		t.Errorf("a command beside stale sockets: %v %s", err, r.Stderr)
	}
	n = start(t, repo)
	if _, err := n.CreateJob(rig.Within(t)); err != nil {
		t.Error(err)
	}
	stop(t, n)
}

// TestPermissions looks at every file, directory and socket of the repository
// and of a job while work goes on, under a umask that hides nothing: nobody but
// the owner may do anything, at any moment.
func TestPermissions(t *testing.T) {
	old := syscall.Umask(0)
	defer syscall.Umask(old)
	parent, o := t.TempDir(), serve(t)
	ok(t, os.Chmod(parent, 0o755))
	repo := filepath.Join(parent, "repo")
	n := start(t, repo)
	defer stop(t, n)
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		for seed := range uint64(4) {
			if _, err := fetch(rig.Within(t), n, o, seed, 8<<20); err != nil {
				t.Error(err)
			}
		}
		if _, err := n.Run(rig.Within(t), "add", "-q", os.Args[0]); err != nil {
			t.Error(err)
		}
	}()
	seen := map[string]bool{}
	look := func(root string) {
		ok(t, ignoreMissing(filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
			if err != nil {
				return ignoreMissing(err)
			}
			info, err := d.Info()
			if err != nil {
				return ignoreMissing(err)
			}
			if info.Mode().Perm()&0o077 != 0 && info.Mode()&fs.ModeSymlink == 0 && !seen[name] {
				t.Errorf("%s is %v", name, info.Mode())
			}
			seen[name] = true
			return nil
		})))
	}
	job, err := n.CreateJob(rig.Within(t))
	ok(t, err)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for working := true; working; {
		select {
		case <-finished:
			working = false
		case <-tick.C:
		}
		look(repo)
		look(job.WorkDir)
		look(filepath.Dir(job.Socket))
	}
	conn, err := new(net.Dialer).DialContext(rig.Within(t), "unix", job.Socket)
	ok(t, err)
	ok(t, conn.Close())
	t.Logf("looked at %d names", len(seen))
}

// ignoreMissing drops the error of a file that went away meanwhile.
func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
