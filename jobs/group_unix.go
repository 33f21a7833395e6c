//go:build unix

package jobs

import (
	"errors"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	terminateSignal = syscall.SIGTERM
	killSignal      = syscall.SIGKILL
)

// keepFiles sees to it that no file but the first three gets into a new process.
// Those that this program opens don't; those that it was started with may.
func keepFiles() {
	entries, err := os.ReadDir("/dev/fd")
	if err != nil {
		return // no such listing here: what we opened is safe all the same
	}
	for _, e := range entries {
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd > 2 {
			syscall.CloseOnExec(fd)
		}
	}
}

// signal sends sig to the group; one that is gone needs none.
func (t processTree) signal(sig syscall.Signal) error {
	err := syscall.Kill(-t.leader, sig)
	if errors.Is(err, syscall.ESRCH) || errors.Is(err, syscall.EPERM) { // EPERM: macOS, when only zombies are left
		return nil
	}
	return err
}

// exitOf returns how a process ended, as a shell has it.
func exitOf(state *os.ProcessState) Exit {
	if state == nil {
		return Exit{Code: ExitNotExecutable}
	}
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return Exit{Code: 128 + int(status.Signal()), Signal: unix.SignalName(status.Signal())}
	}
	return Exit{Code: state.ExitCode()}
}
