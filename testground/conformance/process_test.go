package conformance

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hypha-node/hypha-node/testground/rig"
)

// runner is a `job run` that the test watches.
type runner struct {
	cmd    *exec.Cmd
	lines  *bufio.Scanner
	stdout *os.File
}

// startRun starts `job run` with a shell script.
func startRun(t *testing.T, n *rig.Node, script string, args ...string) *runner {
	t.Helper()
	all := append(append([]string{"--repo", n.Repo, "job", "run"}, args...), "--", "/bin/sh", "-c", script)
	cmd := exec.CommandContext(rig.Within(t), shared.binary, all...)
	cmd.Env = append(os.Environ(), shared.env()...)
	cmd.Stderr = os.Stderr
	read, write, err := os.Pipe()
	ok(t, err)
	cmd.Stdout = write
	ok(t, cmd.Start())
	ok(t, write.Close())
	t.Cleanup(func() { read.Close() })
	return &runner{cmd: cmd, lines: bufio.NewScanner(read), stdout: read}
}

// line returns the next line that the script printed.
func (r *runner) line(t *testing.T) string {
	t.Helper()
	if !r.lines.Scan() {
		t.Fatalf("the executor's output ended: %v", r.lines.Err())
	}
	return r.lines.Text()
}

// wait waits for the command and returns its exit code.
func (r *runner) wait(t *testing.T) int {
	t.Helper()
	err := r.cmd.Wait()
	if exit, isExit := errors.AsType[*exec.ExitError](err); err != nil && !isExit {
		t.Fatal(err)
	} else if isExit {
		return exit.ExitCode()
	}
	return 0
}

// gone ends the test unless the process ends.
func gone(t *testing.T, pid int) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for ctx := rig.Within(t); ; {
		stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		if err != nil || strings.Contains(string(stat), ") Z ") {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("process %d goes on: %s", pid, stat)
		}
	}
}

// number reads a process id.
func number(t *testing.T, text string) int {
	t.Helper()
	n, err := strconv.Atoi(text)
	ok(t, err)
	return n
}

// TestJ01TermToGroup: the end of a job is SIGTERM for the executor and its
// children, and SIGKILL for those that don't end.
func TestJ01TermToGroup(t *testing.T) {
	for _, tc := range []struct {
		name, script string
		args         []string
		last         string // what the executor prints in the end
	}{
		{
			"all end", `trap 'wait $child; echo bye; exit 9' TERM
				sh -c 'echo $$; exec sleep 1000' & child=$!
				wait $child; wait $child; echo early`,
			[]string{"--grace", "2m"},
			"bye",
		},
		{
			"one does not", `trap '' TERM; sh -c 'trap "" TERM; echo $$; exec sleep 1000' & wait; wait`,
			[]string{"--grace", "10ms"},
			"",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := startRun(t, shared.nodes[0], tc.script, tc.args...)
			child := number(t, r.line(t))
			ok(t, r.cmd.Process.Signal(syscall.SIGTERM))
			rest, err := io.ReadAll(r.stdout)
			ok(t, err)
			if got := strings.TrimSpace(string(rest)); got != tc.last {
				t.Errorf("the executor said %q in the end, want %q", got, tc.last)
			}
			if code := r.wait(t); code == 0 {
				t.Error("exit code 0 of a run that was ended")
			}
			gone(t, child)
		})
	}
}

// TestJ02NothingStays: with the executor's end its socket, its directory and
// what it left running are gone; --keep keeps the directory.
func TestJ02NothingStays(t *testing.T) {
	n := shared.nodes[0]
	r := startRun(t, n, `echo "$SOCKET_PATH"; echo "$WORK_DIR"; echo x >"$WORK_DIR/f"; sleep 1000 >/dev/null 2>&1 & echo $!`)
	socket, dir, left := r.line(t), r.line(t), number(t, r.line(t))
	if code := r.wait(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	gone(t, left)
	for _, name := range []string{socket, dir} {
		if _, err := os.Lstat(name); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s stays: %v", name, err)
		}
	}
	if list := run(t, n, "job", "ls"); strings.Contains(list, filepath.Base(dir)) {
		t.Errorf("the job is listed: %s", list)
	}

	j := createJob(t, n)
	j.write(t, "f", []byte("x"))
	run(t, n, "job", "rm", j.ID)
	for _, name := range []string{j.Socket, j.WorkDir} {
		if _, err := os.Lstat(name); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("job rm: %s stays: %v", name, err)
		}
	}
	mine := t.TempDir() // a directory that the user brought outlives the job
	j = createJob(t, n, "--work-dir", mine)
	j.write(t, "f", []byte("x"))
	run(t, n, "job", "rm", j.ID)
	if _, err := os.Stat(filepath.Join(mine, "f")); err != nil {
		t.Error(err)
	}
}

// TestJ04ExitCode: the executor's exit code, and 128 plus its signal.
func TestJ04ExitCode(t *testing.T) {
	for script, want := range map[string]int{"exit 0": 0, "exit 7": 7, "kill -9 $$": 128 + 9, "kill -TERM $$": 128 + 15} {
		ctx, cancel := context.WithTimeout(rig.Within(t), patience)
		r, err := shared.nodes[0].Run(ctx, "job", "run", "--", "/bin/sh", "-c", script)
		cancel()
		if r.Code != want {
			t.Errorf("%s: exit code %d, want %d (%v)", script, r.Code, want, err)
		}
	}
}
