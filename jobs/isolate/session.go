//go:build unix

package isolate

import (
	"os"
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

// groupOf returns the group of a file, -1 if there is none.
func groupOf(path string) int {
	info, err := os.Stat(path)
	if err != nil {
		return -1
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(st.Gid)
	}
	return -1
}
