package jobs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hypha-node/hypha-node/bridge"
	"github.com/hypha-node/hypha-node/bridge/bridgetest"
)

// testJob returns a job that has a work directory and no bridge.
func testJob(t *testing.T) Job {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "work")
	if err := os.Mkdir(dir, dirMode); err != nil {
		t.Fatal(err)
	}
	return Job{ID: "job-1", WorkDir: dir, Socket: filepath.Join(filepath.Dir(dir), "b.sock")}
}

// run is Run, for the exit code alone.
func run(ctx context.Context, job Job, c Command) (int, error) {
	exit, err := Run(ctx, job, c)
	return exit.Code, err
}

// sh runs a shell script and returns its exit code and output.
func sh(t *testing.T, job Job, script string, args ...string) (int, string) {
	t.Helper()
	var out bytes.Buffer
	code, err := run(t.Context(), job, Command{
		Args: append([]string{"/bin/sh", "-c", script, "sh"}, args...), Env: []string{"PATH=/usr/bin:/bin", "JOB_FILE=overridden"},
		Stdout: &out, Stderr: &out,
	})
	if err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	return code, out.String()
}

func TestRunEnvironment(t *testing.T) {
	job := testJob(t)
	file := filepath.Join(job.WorkDir, bridge.Private, "job.json")
	code, out := sh(t, job, `printf '%s\n' "$SOCKET_PATH" "$WORK_DIR" "$JOB_FILE" "$HYPHA_JOB_ID" "$HYPHA_BRIDGE" "$(pwd -P)" "$JOB_JSON" "$@"; cat "$JOB_FILE"`,
		"a{SOCKET_PATH}b{WORK_DIR}", "{JOB_ID}{JOB_FILE}", "{job_id} {UNKNOWN} {{x}} {", "{JOB_JSON}")
	real, err := filepath.EvalSymlinks(job.WorkDir)
	if err != nil {
		t.Fatal(err)
	}
	const text = `{"job_id":"job-1","executor":{"class":"process","name":"sh","descriptor":{"name":"sh"},"config":{}},"config":{}}`
	want := strings.Join([]string{
		job.Socket, job.WorkDir, file, "job-1", "unix://" + job.Socket, real, text,
		"a" + job.Socket + "b" + job.WorkDir, "job-1" + file, "{job_id} {UNKNOWN} {{x}} {", text, text,
	}, "\n")
	if code != 0 || out != want {
		t.Errorf("exit code %d, output\n%s\nwant\n%s", code, out, want)
	}
	if info, err := os.Lstat(file); err != nil || info.Mode() != fileMode {
		t.Errorf("job file: %v, %v; want 0600", info.Mode(), err)
	}
}

// What the configuration says is data: placeholders in it stay.
func TestRunConfig(t *testing.T) {
	job := testJob(t)
	var out bytes.Buffer
	code, err := run(t.Context(), job, Command{
		Args: []string{"/bin/sh", "-c", `printf '%s' "$1"`, "sh", "{JOB_JSON}"}, Stdout: &out,
		Config: json.RawMessage(`{"model":"{WORK_DIR}", "n":12345678901234567890.5}`),
	})
	if code != 0 || err != nil {
		t.Fatal(code, err)
	}
	const want = `{"job_id":"job-1","executor":{"class":"process","name":"sh","descriptor":{"name":"sh"},"config":{"model":"{WORK_DIR}","n":12345678901234567890.5}},` +
		`"config":{"model":"{WORK_DIR}","n":12345678901234567890.5}}`
	if out.String() != want {
		t.Errorf("got %s\nwant %s", &out, want)
	}
	if code, err := run(t.Context(), job, Command{Args: []string{"/bin/true"}, Config: json.RawMessage(`{`)}); err == nil || code == 0 {
		t.Errorf("a broken configuration: %d, %v", code, err)
	}
}

// A configuration that is too large for an environment is in the file.
func TestRunLargeConfig(t *testing.T) {
	job := testJob(t)
	conf, err := json.Marshal(strings.Repeat("x", 200<<10))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	code, err := run(t.Context(), job, Command{
		Args: []string{"/bin/sh", "-c", `printf '%s ' "${JOB_JSON-unset}"; wc -c < "$JOB_FILE"`}, Env: []string{"PATH=/usr/bin:/bin"},
		Config: conf, Stdout: &out,
	})
	if code != 0 || err != nil {
		t.Fatal(code, err)
	}
	fields := strings.Fields(out.String())
	if len(fields) != 2 || fields[0] != "unset" {
		t.Fatalf("output %q", out.String())
	}
	if n, err := strconv.Atoi(fields[1]); err != nil || n < 400<<10 {
		t.Errorf("job file has %s bytes", fields[1])
	}
	_, err = run(t.Context(), job, Command{Args: []string{"/bin/true", "{JOB_JSON}"}, Config: conf})
	if err == nil || !strings.Contains(err.Error(), "{JOB_FILE}") {
		t.Errorf("%v does not say what to do", err)
	}
}

func TestRunExitCodes(t *testing.T) {
	job := testJob(t)
	for script, want := range map[string]int{
		"exit 0": 0, "exit 7": 7, "exit 255": 255, "kill -TERM $$": 128 + 15, "kill -KILL $$": 128 + 9, "exec /bin/false": 1,
	} {
		if code, out := sh(t, job, script); code != want {
			t.Errorf("%s: exit code %d, want %d (%s)", script, code, want, out)
		}
	}
	plain := filepath.Join(job.WorkDir, "plain")
	if err := os.WriteFile(plain, []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		args []string
		want int
	}{
		"nothing":         {nil, ExitNotExecutable},
		"empty":           {[]string{""}, ExitNotExecutable},
		"no such program": {[]string{"hypha-no-such-program"}, ExitNotFound},
		"no such file":    {[]string{"/no/such/file"}, ExitNotFound},
		"not executable":  {[]string{plain}, ExitNotExecutable},
		"directory":       {[]string{job.WorkDir}, ExitNotExecutable},
	} {
		code, err := run(t.Context(), job, Command{Args: tt.args, Stdout: io.Discard})
		if code != tt.want || err == nil {
			t.Errorf("%s: exit code %d, %v; want %d and an error", name, code, err, tt.want)
		}
	}
}

func TestRunStreams(t *testing.T) {
	job := testJob(t)
	var out, errs bytes.Buffer
	in, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.WriteString("from stdin"); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	code, err := run(t.Context(), job, Command{
		Args: []string{"/bin/sh", "-c", "cat; head -c 3000000 /dev/zero; echo err >&2"}, Env: []string{"PATH=/usr/bin:/bin"},
		Stdin: in, Stdout: &out, Stderr: &errs,
	})
	if code != 0 || err != nil || out.Len() != 3_000_010 || errs.String() != "err\n" {
		t.Errorf("%d %v, %d bytes out, %q", code, err, out.Len(), errs.String())
	}
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	// A reader that has had enough ends the writer, as with a shell's pipe.
	code, err = run(t.Context(), job, Command{
		Args: []string{"/bin/sh", "-c", "while echo y; do :; done"}, Stdout: &shortWriter{left: 1000},
	})
	if err == nil || !errors.Is(err, errFull) {
		t.Errorf("%d, %v; want the writer's error", code, err)
	}
}

var errFull = errors.New("full")

// shortWriter fails after so many bytes.
type shortWriter struct{ left int }

func (w *shortWriter) Write(p []byte) (int, error) {
	if w.left -= len(p); w.left < 0 {
		return 0, errFull
	}
	return len(p), nil
}

// waitFile waits until a script has written a file and returns its words.
func waitFile(t *testing.T, name string) []string {
	t.Helper()
	var words []string
	bridgetest.Until(t, "file "+filepath.Base(name), func() bool {
		data, err := os.ReadFile(name)
		words = strings.Fields(string(data))
		return err == nil && strings.HasSuffix(string(data), ".\n")
	})
	return words[:len(words)-1]
}

// gone tells whether no process runs under an id; a zombie does not run.
func gone(t *testing.T, pid string) bool {
	t.Helper()
	n, err := strconv.Atoi(pid)
	if err != nil {
		t.Fatal(err)
	}
	if errors.Is(syscall.Kill(n, 0), syscall.ESRCH) {
		return true
	}
	stat, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return errors.Is(err, os.ErrNotExist) && runtime.GOOS == "linux"
	}
	return strings.Contains(string(stat), ") Z ")
}

func TestRunCancel(t *testing.T) {
	tests := []struct {
		name, script string
		grace        time.Duration
		want         int
	}{
		{"polite", `trap 'echo bye > bye; exit 3' TERM; echo "$$ ." > pids; while :; do sleep 0.01; done`, time.Minute, 3},
		{"default", `echo "$$ ." > pids; while :; do sleep 0.01; done`, time.Minute, 128 + 15},
		{"stubborn", `trap '' TERM; echo "$$ ." > pids; while :; do sleep 0.01; done`, 50 * time.Millisecond, 128 + 9},
		{"stubborn child", `(trap '' TERM; while :; do sleep 0.01; done) & echo "$$ $! ." > pids; wait`, 50 * time.Millisecond, 128 + 15},
		{"children", `sleep 1000 & a=$!; (sleep 1000 & sleep 1000) & echo "$$ $a $! ." > pids; wait`, time.Minute, 128 + 15},
		// The leader goes at once, its child still saves: it gets its time.
		{"saving child", `(trap 'sleep 0.2; echo saved > saved; exit' TERM; echo "$$ ." > pids; while :; do sleep 0.01; done) & wait`, time.Minute, 128 + 15},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			job := testJob(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			type end struct {
				code int
				err  error
			}
			done := make(chan end, 1)
			go func() {
				code, err := run(ctx, job, Command{
					Args: []string{"/bin/sh", "-c", tt.script}, Env: []string{"PATH=/usr/bin:/bin"}, Grace: tt.grace,
				})
				done <- end{code, err}
			}()
			pids := waitFile(t, filepath.Join(job.WorkDir, "pids"))
			cancel()
			if got := <-done; got.code != tt.want || got.err != nil {
				t.Errorf("exit code %d, %v; want %d", got.code, got.err, tt.want)
			}
			for _, pid := range pids {
				if !gone(t, pid) {
					t.Errorf("process %s is alive", pid)
				}
			}
			if tt.name == "saving child" {
				if _, err := os.Stat(filepath.Join(job.WorkDir, "saved")); err != nil {
					t.Errorf("the child could not save: %v", err)
				}
			}
		})
	}
}

// What an executor leaves running when it ends is killed, whatever it hid in.
func TestRunKillsLeftovers(t *testing.T) {
	job := testJob(t)
	script := `trap '' TERM; sleep 1000 & echo "$! ." > pids; exit 5`
	if runtime.GOOS == "linux" { // a daemon of its own session, orphaned twice, holding our output
		script = `setsid sh -c 'sh -c "echo \$\$ . > hidden; exec sleep 1000" & :' & sleep 1000 & echo "$! ." > pids
			while [ ! -s hidden ]; do sleep 0.01; done; exit 5`
	}
	var out bytes.Buffer
	code, err := run(t.Context(), job, Command{
		Args: []string{"/bin/sh", "-c", script}, Env: []string{"PATH=/usr/bin:/bin"}, Stdout: &out, Stderr: &out,
	})
	if code != 5 || err != nil {
		t.Fatalf("exit code %d, %v; want 5\n%s", code, err, &out)
	}
	pids := waitFile(t, filepath.Join(job.WorkDir, "pids"))
	if runtime.GOOS == "linux" {
		pids = append(pids, waitFile(t, filepath.Join(job.WorkDir, "hidden"))...)
	}
	for _, pid := range pids {
		if !gone(t, pid) {
			t.Errorf("process %s is alive", pid)
		}
	}
}

func TestRunGivesThreeFiles(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs /proc to list a process' files")
	}
	held, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	code, out := sh(t, testJob(t), "ls /proc/$$/fd")
	if code != 0 || strings.Join(strings.Fields(out), " ") != "0 1 2" {
		t.Errorf("exit code %d, open files %q", code, out)
	}
}

func TestRunOwnGroup(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("reads /proc")
	}
	code, out := sh(t, testJob(t), `set -- $(cat /proc/$$/stat); test "$5" = "$$" && echo leader`)
	if code != 0 || out != "leader\n" {
		t.Errorf("%d %q", code, out)
	}
}

// JOB_FILE must not be written through what an executor put in its place.
func TestJobFileStaysInside(t *testing.T) {
	job := testJob(t)
	victim := filepath.Join(t.TempDir(), "victim")
	if err := os.WriteFile(victim, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(job.WorkDir, bridge.Private), dirMode); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(victim, filepath.Join(job.WorkDir, jobFile)); err != nil {
		t.Fatal(err)
	}
	if code, out := sh(t, job, ":"); code != 0 {
		t.Fatal(code, out)
	}
	if got, err := os.ReadFile(victim); err != nil || string(got) != "mine" {
		t.Errorf("victim %q, %v", got, err)
	}
	if err := os.RemoveAll(filepath.Join(job.WorkDir, bridge.Private)); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Dir(victim), filepath.Join(job.WorkDir, bridge.Private)); err != nil {
		t.Fatal(err)
	}
	if code, err := run(t.Context(), job, Command{Args: []string{"/bin/true"}}); err == nil {
		t.Errorf("ran with exit code %d over a private directory that is a symlink", code)
	}
	if entries, err := os.ReadDir(filepath.Dir(victim)); err != nil || len(entries) != 1 {
		t.Errorf("%v, %v", entries, err)
	}
}
