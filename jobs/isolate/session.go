//go:build unix

package isolate

import (
	"os/exec"
	"syscall"
)

// ownSession has cmd lead a new session, and with it a new process group.
func ownSession(cmd *exec.Cmd) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setsid, cmd.SysProcAttr.Setpgid = true, false
}
