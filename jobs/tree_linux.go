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
	leader int    // process id, and id of the group; 0: not known
	cookie string // "NAME=value" in the environment of the tree
}

// startOf returns when a process was started, in a text that no other process of
// that id has had or will have; "" if there is none.
func startOf(pid int) string {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	fields := statOf(pid)
	if len(fields) < 20 {
		return ""
	}
	return strings.TrimSpace(string(boot)) + "/" + fields[19] // starttime, the 22nd: ticks since the boot
}

// statOf returns what proc_pid_stat(5) says of a process, from its state on; nil
// if there is none.
func statOf(pid int) []string {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return nil
	}
	// The name in brackets may hold anything, then come: state, parent, group.
	return strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
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

// member tells whether a process belongs to the tree, or to the session that
// its leader leads. While anyone is in that session nobody gets its id.
func (t processTree) member(pid int) bool {
	if t.has(pid) {
		return true
	}
	fields := statOf(pid)
	return t.leader > 0 && len(fields) > 3 && fields[3] == strconv.Itoa(t.leader)
}

// has tells whether a process that is no zombie belongs to the tree.
func (t processTree) has(pid int) bool {
	fields := statOf(pid)
	if len(fields) < 3 || fields[0] == "Z" || fields[0] == "X" {
		return false
	}
	if t.leader > 0 && fields[2] == strconv.Itoa(t.leader) {
		return true
	}
	environ, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ") // of other users: refused
	return err == nil && slices.Contains(strings.Split(string(environ), "\x00"), t.cookie)
}

// kill ends what is left of a run of an earlier process of the node: its group,
// if the first of its processes still runs, and whoever has its cookie.
func (r running) kill() error {
	t := processTree{cookie: r.Cookie}
	if r.PID > 0 && r.Start != "" && startOf(r.PID) == r.Start {
		t.leader = r.PID
	}
	return t.killAll()
}
