package conformance

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hypha-node/hypha-node/testground/rig"
)

// shown is what `job show` says of a job.
type shown struct {
	ID       string `json:"id"`
	State    string `json:"state"`
	WorkDir  string `json:"work_dir"`
	Socket   string `json:"socket"`
	ExitCode *int   `json:"exit_code"`
	Signal   string `json:"signal"`
	Error    string `json:"error"`
}

// submit has a node run a shell script as a job.
func submit(t *testing.T, n *rig.Node, script string, args ...string) (id string) {
	t.Helper()
	all := append(append([]string{"job", "submit", "--json"}, args...), "--", "/bin/sh", "-c", script)
	var s shown
	ok(t, json.Unmarshal([]byte(run(t, n, all...)), &s))
	return s.ID
}

// show describes a job.
func show(t *testing.T, n *rig.Node, id string) (s shown) {
	t.Helper()
	ok(t, json.Unmarshal([]byte(run(t, n, "job", "show", "--json", id)), &s))
	return s
}

// TestJ03Output: both outputs of a job are kept, apart, and can be followed; of
// much output the end is kept.
func TestJ03Output(t *testing.T) {
	n := shared.nodes[0]
	id := submit(t, n, `echo out-1; echo err-1 >&2; echo out-2`)
	if got := run(t, n, "job", "logs", "-f", id); got != "out-1\nout-2" {
		t.Errorf("output %q", got)
	}
	if got := run(t, n, "job", "logs", "--stderr", id); got != "err-1" {
		t.Errorf("standard error %q", got)
	}
	run(t, n, "job", "rm", id)
	const lines = 400_000 // of 64 bytes: more than is kept
	id = submit(t, n, fmt.Sprintf(`i=0; yes %s | head -n %d; echo last`, strings.Repeat("x", 63), lines))
	run(t, n, "job", "wait", id)
	got := run(t, n, "job", "logs", id)
	if !strings.HasSuffix(got, "\nlast") || len(got) < 1<<20 || len(got) >= lines*64 {
		t.Errorf("%d bytes are kept of %d, the end is %q", len(got), lines*64, got[max(0, len(got)-20):])
	}
	run(t, n, "job", "rm", id)
}

// TestJ04Recorded: how a submitted job ended is in its record.
func TestJ04Recorded(t *testing.T) {
	n := shared.nodes[0]
	for _, tc := range []struct {
		script, state, signal string
		code                  int
	}{{"exit 0", "finished", "", 0}, {"exit 7", "failed", "", 7}, {"kill -9 $$", "failed", "SIGKILL", 128 + 9}} {
		id := submit(t, n, tc.script)
		r, err := n.Run(rig.Within(t), "job", "wait", id)
		if r.Code != tc.code {
			t.Errorf("%s: wait exits with %d, want %d (%v)", tc.script, r.Code, tc.code, err)
		}
		s := show(t, n, id)
		if s.State != tc.state || s.ExitCode == nil || *s.ExitCode != tc.code || s.Signal != tc.signal {
			t.Errorf("%s: %+v", tc.script, s)
		}
		run(t, n, "job", "rm", id)
	}
}

// TestJ05Restart: after a crash of the node, jobs that somebody attached to go
// on under the same id, directory and socket; commands that ran have failed and
// nothing of them is left; those that waited go on.
func TestJ05Restart(t *testing.T) {
	repo := filepath.Join(shortDir(t), "r")
	n := start(t, repo, nil)
	attached := createJob(t, n)
	attached.write(t, "f", []byte("mine"))
	running := submit(t, n, `sleep 1000 & echo $$ $!; wait`)
	waiting := submit(t, n, `echo went on`, "--after", createJob(t, n, "--id", "first").ID)
	var pids [2]int
	for pids[1] == 0 { // the log is a file: its line comes when it is written
		_, err := fmt.Sscan(run(t, n, "job", "logs", running), &pids[0], &pids[1])
		if err != nil && rig.Within(t).Err() != nil {
			t.Fatal(err)
		}
	}
	before := show(t, n, running)
	ok(t, n.Kill())

	n = start(t, repo, nil)
	again := &job{Job: attached.Job, node: n, http: overSocket(t, attached.Socket)}
	var info rig.Job
	again.get(t, "/job").into(t, 200, &info)
	if info.ID != attached.ID || info.WorkDir != attached.WorkDir || info.Socket != attached.Socket || string(again.read(t, "f")) != "mine" {
		t.Errorf("the attached job is %+v, was %+v", info, attached.Job)
	}
	if s := show(t, n, running); s.State != "failed" || !strings.Contains(s.Error, "restarted") {
		t.Errorf("the running job is %+v", s)
	}
	for _, pid := range pids {
		gone(t, pid)
	}
	if _, err := os.Lstat(before.Socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("socket %s stays: %v", before.Socket, err)
	}
	if s := show(t, n, waiting); s.State != "waiting" {
		t.Errorf("the waiting job is %+v", s)
	}
}
