package isolate

import (
	"bytes"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// world is a repository with two jobs, and things of the user outside of it.
type world struct {
	dir, repo, work, temp, socket string
	other                         string // another job's file
	home                          string // a file of the user's
}

// newWorld makes a world.
func newWorld(t *testing.T) world {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "hypha-iso-") //nolint:usetesting // t.TempDir is too long for a socket
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
	w := world{dir: dir, repo: dir + "/repo"}
	w.work, w.temp, w.socket = w.repo+"/jobs/a/work", dir+"/t", w.repo+"/jobs/a/s"
	w.other, w.home = w.repo+"/jobs/b/work/secret", dir+"/home/secret"
	for _, d := range []string{w.work, w.temp, filepath.Dir(w.other), filepath.Dir(w.home), dir + "/read"} {
		must(t, os.MkdirAll(d, 0o700))
	}
	for _, f := range []string{w.other, w.home, w.repo + "/config", w.work + "/mine", dir + "/read/given"} {
		must(t, os.WriteFile(f, []byte("secret of "+f), 0o600))
	}
	l, err := new(net.ListenConfig).Listen(t.Context(), "unix", w.socket)
	must(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, err = c.Write([]byte("bridge"))
			if err = errors.Join(err, c.Close()); err != nil {
				t.Error(err)
			}
		}
	}()
	t.Cleanup(func() { must(t, l.Close()); <-done })
	return w
}

// spec is what the job of w may have.
func (w world) spec(p Plan, uid int) Spec {
	s := Spec{Plan: p, WorkDir: w.work, TempDir: w.temp, Socket: w.socket, ReadOnly: []string{w.dir + "/read"}, Hidden: []string{w.repo}}
	if p.UID {
		s.UID, s.GID = uid, uid
	}
	return s
}

// result is how a command ended.
type result struct {
	code int
	out  string
}

// run runs a command to its end.
func run(t *testing.T, s Spec, args ...string) result {
	t.Helper()
	r, err := tryRun(t, s, args...)
	must(t, err)
	return r
}

func tryRun(t *testing.T, s Spec, args ...string) (result, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.Dir = &out, &out, s.WorkDir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=/root", "TMPDIR=/nowhere", "PROBE=1"}
	if err := Start(t.Context(), cmd, s); err != nil {
		return result{}, err
	}
	var ee *exec.ExitError
	if err := cmd.Wait(); err != nil && !errors.As(err, &ee) {
		return result{}, err
	}
	return result{code: cmd.ProcessState.ExitCode(), out: out.String()}, nil
}

// plans returns every combination of walls that this process can build, and
// says which not.
func plans(t *testing.T) map[string]Plan {
	t.Helper()
	r := Probe(t.Context(), "")
	all := map[string]Plan{}
	for _, p := range []Plan{{Landlock: true}, {View: true}, {View: true, Landlock: true}, {UID: true, View: true}, {UID: true, View: true, Landlock: true}} {
		f := r.Namespace
		if p.UID {
			f = r.UID
		}
		if !p.View {
			f = r.Landlock
		}
		if !f.OK || p.Landlock && !r.Landlock.OK {
			t.Logf("%v can't be tested here: %s", p, f.Reason)
			continue
		}
		all[p.String()] = p
	}
	return all
}

const jobUID = 61234
