package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// The command of `job run` reads what is typed at the terminal that hypha-node
// was started from, and is ended by its interrupt key.
func TestJobRunTerminal(t *testing.T) {
	program, err := exec.LookPath("hypha-node")
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		script, keys string
		shows        []string
		code         int
	}{
		"typed":       {`echo ready; read line; echo "got $line"; read line || echo end`, "hello\n\x04", []string{"got hello", "end"}, 0},
		"interrupted": {`trap 'echo interrupted; exit 5' TERM; echo ready; read line`, "\x03", []string{"interrupted"}, 5},
	} {
		t.Run(name, func(t *testing.T) {
			master, tty := openTerminal(t)
			screen := &watched{}
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				b := make([]byte, 4096)
				for {
					n, err := master.Read(b)
					if err != nil {
						return // nobody has the other side open any more
					}
					_, _ = screen.Write(b[:n])
				}
			}()
			cmd := exec.CommandContext(t.Context(), program, "--repo", filepath.Join(t.TempDir(), "repo"), "job", "run", "--grace", "1m", "--", "sh", "-c", tt.script)
			cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
			cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if err := tty.Close(); err != nil {
				t.Error(err)
			}
			screen.shows(t, "ready")
			if _, err := master.WriteString(tt.keys); err != nil {
				t.Error(err)
			}
			for _, text := range tt.shows {
				screen.shows(t, text)
			}
			err := cmd.Wait()
			if got := cmd.ProcessState.ExitCode(); got != tt.code {
				t.Errorf("%v, exit code %d, want %d\n%s", err, got, tt.code, screen)
			}
			<-ended
			if err := master.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// openTerminal opens both sides of a pseudo terminal.
func openTerminal(t *testing.T) (master, tty *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip(err)
	}
	fd := int(master.Fd())
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		tty, err = os.OpenFile("/dev/pts/"+strconv.Itoa(n), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		t.Fatal(errors.Join(err, master.Close()))
	}
	return master, tty
}
