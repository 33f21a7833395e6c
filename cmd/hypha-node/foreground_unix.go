//go:build unix

package main

import (
	"os"

	"github.com/vbauerster/mpb/v8/cwriter"
	"golang.org/x/sys/unix"
)

// commandInput returns what the command of a job reads: the standard input, a
// terminal too, since the command leads a session of its own and is not stopped
// for reading what is not its controlling terminal. For the same reason it must
// not read a terminal that this process is in the background of: it would take
// what is typed for others.
func commandInput(stdin *os.File) *os.File {
	if !cwriter.IsTerminal(int(stdin.Fd())) {
		return stdin
	}
	group, err := unix.IoctlGetInt(int(stdin.Fd()), unix.TIOCGPGRP)
	if err == nil && group != unix.Getpgrp() {
		return nil
	}
	return stdin
}
