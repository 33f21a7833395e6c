package isolate

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestLimits sets them, and never raises one.
func TestLimits(t *testing.T) {
	w := newWorld(t)
	for name, p := range map[string]Plan{"alone": {}, "confined": {Landlock: true}} {
		t.Run(name, func(t *testing.T) {
			if f := Probe(t.Context(), "").Landlock; p.Landlock && !f.OK {
				t.Skip(f.Reason)
			}
			s := w.spec(p, 0)
			s.Limits = Limits{OpenFiles: 64, AddressSpace: 1 << 30, Processes: 4000, FileSize: 1 << 20}
			r := run(t, s, "/bin/bash", "-c", "ulimit -Hn; ulimit -Hv; ulimit -Hu; ulimit -Hf; ulimit -Hc; ulimit -n 65 && echo raised")
			if !strings.HasPrefix(r.out, "64\n1048576\n4000\n1024\n0\n") || strings.Contains(r.out, "raised") {
				t.Errorf("%q", r.out)
			}
			if r := run(t, s, "/bin/sh", "-c", "head -c 2000000 /dev/zero > big"); r.code == 0 {
				t.Error("a file larger than the limit")
			}
		})
	}
}

// TestMark: descendants stay marked whatever they do, others are not.
func TestMark(t *testing.T) {
	if got, err := Confined(os.Getpid()); err != nil || got {
		t.Errorf("this process: %v, %v", got, err)
	}
	free := exec.CommandContext(t.Context(), "/bin/cat")
	in, err := free.StdinPipe()
	must(t, err)
	must(t, free.Start())
	if got, err := Confined(free.Process.Pid); err != nil || got {
		t.Errorf("a child: %v, %v", got, err)
	}
	must(t, in.Close())
	must(t, free.Wait())
	for name, p := range plans(t) {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			cmd := exec.CommandContext(t.Context(), "/bin/sh", "-c", `ulimit -R unlimited 2>/dev/null; setsid env -i /bin/sh -c 'echo $$; cat' & wait`)
			cmd.Dir = w.work
			in, err := os.Open(os.DevNull)
			must(t, err)
			defer in.Close()
			r, hold, err := os.Pipe()
			must(t, err)
			cmd.Stdin = r
			out, err := cmd.StdoutPipe()
			must(t, err)
			cmd.Args[2] = `exec 9<&0; ulimit -R unlimited 2>/dev/null; setsid env -i /bin/sh -c 'echo $$; cat <&9' & wait`
			must(t, Start(t.Context(), cmd, w.spec(p, jobUID)))
			must(t, r.Close())
			var line [32]byte
			n, err := out.Read(line[:])
			must(t, err)
			pid, err := strconv.Atoi(strings.TrimSpace(string(line[:n])))
			must(t, err)
			for _, pid := range []int{cmd.Process.Pid, pid} {
				if got, err := Confined(pid); err != nil || !got {
					t.Errorf("process %d: %v, %v", pid, got, err)
				}
			}
			if sid, err := unix.Getsid(pid); err != nil || sid == cmd.Process.Pid {
				t.Errorf("the descendant did not leave the session: %d, %v", sid, err)
			}
			must(t, hold.Close())
			must(t, cmd.Wait())
		})
	}
}

// TestStartFails: the command never runs with less than was asked for.
func TestStartFails(t *testing.T) {
	w := newWorld(t)
	base := w.spec(Plan{Landlock: true}, 0)
	with := func(change func(*Spec)) Spec {
		s := base
		change(&s)
		return s
	}
	for _, tc := range []struct {
		name string
		spec Spec
		args []string
		want error // nil: an *Error
	}{
		{"no such program", base, []string{w.work + "/nothing"}, fs.ErrNotExist},
		{"a program that may not be executed", base, []string{w.work + "/mine"}, fs.ErrPermission},
		{"a program outside", base, []string{w.home}, fs.ErrPermission},
		{"no such program in PATH", base, []string{"hypha-no-such-program"}, exec.ErrNotFound},
		{"a readable path that is missing", with(func(s *Spec) { s.ReadOnly = []string{"/nowhere"} }), []string{"/bin/true"}, fs.ErrNotExist},
		{"a writable path that is missing", with(func(s *Spec) { s.ReadWrite = []string{"/nowhere"} }), []string{"/bin/true"}, fs.ErrNotExist},
		{"a relative path", with(func(s *Spec) { s.ReadOnly = []string{"etc"} }), []string{"/bin/true"}, nil},
		{"no work directory", with(func(s *Spec) { s.WorkDir = "" }), []string{"/bin/true"}, nil},
		{"a writable path above the repository", with(func(s *Spec) { s.ReadWrite = []string{w.dir} }), []string{"/bin/true"}, nil},
		{"a hidden network without a view", with(func(s *Spec) { s.HideNetwork = true }), []string{"/bin/true"}, nil},
		{"another path without a view", with(func(s *Spec) { s.WorkAt = []string{"/x"} }), []string{"/bin/true"}, nil},
		{"a user without a view", with(func(s *Spec) { s.Plan.UID = true }), []string{"/bin/true"}, nil},
		{"root as the job's user", with(func(s *Spec) { s.Plan = Plan{UID: true, View: true} }), []string{"/bin/true"}, nil},
		{"ports without landlock", Spec{TCP: &Ports{}}, []string{"/bin/true"}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if base.Plan = (Plan{Landlock: true}); tc.spec.Plan.Landlock && !Probe(t.Context(), "").Landlock.OK {
				t.Skip("no Landlock here")
			}
			r, err := tryRun(t, tc.spec, tc.args...)
			if e := (*Error)(nil); tc.want != nil && !errors.Is(err, tc.want) || tc.want == nil && !errors.As(err, &e) {
				t.Errorf("%+v, %v", r, err)
			}
		})
	}
}

// TestRootless runs the other tests as a user without any power.
func TestRootless(t *testing.T) {
	if os.Geteuid() != 0 {
		return // then all tests are such
	}
	dir, err := os.MkdirTemp("/tmp", "hypha-rootless-") //nolint:usetesting // t.TempDir is root's alone
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
	must(t, os.Chmod(dir, 0o755))
	program, err := os.ReadFile("/proc/self/exe")
	must(t, err)
	must(t, os.WriteFile(dir+"/test", program, 0o755))
	cmd := exec.CommandContext(t.Context(), dir+"/test", "-test.v", "-test.run=^(TestWalls|TestPrivileges|TestView|TestTCP|TestLimits|TestMark|TestStartFails)$")
	cmd.Dir, cmd.Env = dir, []string{"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=/nonexistent"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestWalls") {
		t.Errorf("%v:\n%s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "can't be tested here") || strings.Contains(line, "SKIP") {
			t.Log(strings.TrimSpace(line))
		}
	}
}

// TestEnterAlone: the verb is of no use without an order.
func TestEnterAlone(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", Verb)
	if err := cmd.Run(); cmd.ProcessState.ExitCode() != 126 {
		t.Errorf("%v", err)
	}
}

// TestStartCancelled: a start that has begun is finished, so that the command can
// be ended in order.
func TestStartCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	w := newWorld(t)
	s := w.spec(Plan{}, 0)
	s.Limits.OpenFiles = 64
	cmd := exec.CommandContext(t.Context(), "/bin/sh", "-c", "exit 7")
	must(t, Start(ctx, cmd, s))
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 7 {
		t.Error(err)
	}
}
