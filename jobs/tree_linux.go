package jobs

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// processTree is what an executor has started: its process group, and whoever
// inherited the variable that marks the run, in whatever group or session.
type processTree struct {
	leader int    // process id, and id of the group
	cookie string // "NAME=value" in the environment of the tree
}

// awaitExit waits until the process has ended and leaves it unreaped, so that
// its id, which is its group's id, can't be another's.
func awaitExit(cmd *exec.Cmd) error {
	for {
		err := unix.Waitid(unix.P_PID, cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// alive tells whether any process of the tree runs.
func (t processTree) alive() bool {
	found := false
	t.each(func(*os.Process) bool {
		found = true
		return false
	})
	return found
}

// kill kills every process of the tree that it finds.
func (t processTree) kill() {
	t.each(func(p *os.Process) bool {
		//nolint:errcheck // it may have ended by itself; who still runs is looked for again
		_ = p.Kill()
		return true
	})
}

// each calls f with the running processes of the tree until it returns false.
// Each is held by a pidfd before it is looked at: f can't hit another process
// that got the same id.
func (t processTree) each(f func(*os.Process) bool) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		p, err := os.FindProcess(pid)
		if err != nil {
			continue
		}
		more := !t.has(pid) || f(p)
		//nolint:errcheck // releasing a handle
		_ = p.Release()
		if !more {
			return
		}
	}
}

// has tells whether a process that is no zombie belongs to the tree.
func (t processTree) has(pid int) bool {
	dir := "/proc/" + strconv.Itoa(pid)
	stat, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return false
	}
	// proc_pid_stat(5): the name in brackets may hold anything, then: state, parent, group.
	_, rest, ok := strings.Cut(string(stat[bytes.LastIndexByte(stat, ')')+1:]), " ")
	fields := strings.Fields(rest)
	if !ok || len(fields) < 3 || fields[0] == "Z" || fields[0] == "X" {
		return false
	}
	if fields[2] == strconv.Itoa(t.leader) {
		return true
	}
	environ, err := os.ReadFile(dir + "/environ") // of other users: refused
	return err == nil && slices.Contains(strings.Split(string(environ), "\x00"), t.cookie)
}
