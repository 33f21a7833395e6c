//go:build unix && !linux

package jobs

import (
	"errors"
	"os/exec"
	"syscall"
)

// processTree is what an executor has started, as far as it stayed in its group.
type processTree struct {
	leader int    // process id, and id of the group
	cookie string // marks the run; not looked for on this system
}

// awaitExit waits until the process has ended. How it ended is in its state.
func awaitExit(cmd *exec.Cmd) error {
	if err := cmd.Wait(); cmd.ProcessState == nil {
		return err
	}
	return nil
}

// alive tells whether the group has members.
func (t processTree) alive() bool {
	return !errors.Is(syscall.Kill(-t.leader, 0), syscall.ESRCH)
}

// kill kills the group.
func (t processTree) kill() {
	//nolint:errcheck // who still runs is looked for again
	_ = syscall.Kill(-t.leader, syscall.SIGKILL)
}

// startOf is not known on this system.
func startOf(int) string { return "" }

// kill can't tell on this system whether an id is still that of the run: what is
// left of it is left alone.
func (running) kill() error { return nil }

// member tells whether a process belongs to the group.
func (t processTree) member(pid int) bool {
	group, err := syscall.Getpgid(pid)
	return t.leader > 0 && err == nil && group == t.leader
}
