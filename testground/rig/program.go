package rig

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// tail is how much of a program's standard error is kept for messages, in bytes.
const tail = 16 << 10

// Program is one program to run to its end.
type Program struct {
	Path   string
	Args   []string
	Env    []string // added to the environment, "K=V"
	Dir    string
	Stdin  io.Reader
	Stdout io.Writer // nil: kept in Result.Stdout
}

// Result is what a finished program left behind.
type Result struct {
	Stdout string        // "" when it went elsewhere
	Stderr string        // its last 16 KiB
	Code   int           // exit code; -1 when a signal ended it
	Wall   time.Duration // from start to end
	CPU    time.Duration // user and system time, children that it waited for included
	Anon   int64         // largest RssAnon seen, bytes; 0 where /proc does not tell
}

// Run runs the program and measures it. An exit code other than 0 is an error
// that carries the end of standard error; the result is valid all the same.
func (p Program) Run(ctx context.Context) (Result, error) {
	cmd := exec.CommandContext(ctx, p.Path, p.Args...)
	cmd.Dir, cmd.Stdin = p.Dir, p.Stdin
	cmd.Env = append(os.Environ(), p.Env...)
	cmd.WaitDelay = 10 * time.Second
	var stdout bytes.Buffer
	stderr := &tailWriter{limit: tail}
	cmd.Stdout, cmd.Stderr = p.Stdout, stderr
	if p.Stdout == nil {
		cmd.Stdout = &stdout
	}
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		return Result{Code: -1}, err
	}
	peak := WatchAnon(cmd.Process.Pid)
	err := cmd.Wait()
	r := Result{
		Stdout: stdout.String(),
		Stderr: stderr.String(),
		Code:   cmd.ProcessState.ExitCode(),
		Wall:   time.Since(begin),
		CPU:    cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(),
		Anon:   peak(),
	}
	if err != nil {
		return r, fmt.Errorf("%s: %w: %s", p, err, strings.TrimSpace(r.Stderr))
	}
	return r, nil
}

// String returns the command line, for messages.
func (p Program) String() string {
	return strings.Join(append([]string{p.Path}, p.Args...), " ")
}

// tailWriter keeps the last limit bytes that were written to it.
type tailWriter struct {
	limit int
	kept  []byte
}

func (t *tailWriter) Write(b []byte) (int, error) {
	t.kept = append(t.kept, b...)
	if over := len(t.kept) - t.limit; over > 0 {
		t.kept = append(t.kept[:0], t.kept[over:]...)
	}
	return len(b), nil
}

func (t *tailWriter) String() string { return string(t.kept) }

// daemon is a program that runs until it is told to end.
type daemon struct {
	cmd    *exec.Cmd
	stderr *tailWriter
	done   chan struct{} // closed when the process has been waited for
	err    error         // of Wait; read after done
}

// startDaemon starts a program that stop or kill will end, not ctx: a cancelled
// caller still wants it to end in order. The goroutine that waits for it ends
// with the process.
func startDaemon(ctx context.Context, p Program) (*daemon, error) {
	cmd := exec.CommandContext(context.WithoutCancel(ctx), p.Path, p.Args...)
	cmd.Env, cmd.Dir, cmd.Stdout = append(os.Environ(), p.Env...), p.Dir, p.Stdout
	cmd.WaitDelay = 10 * time.Second
	d := &daemon{cmd: cmd, stderr: &tailWriter{limit: tail}, done: make(chan struct{})}
	cmd.Stderr = d.stderr
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		d.err = cmd.Wait()
		close(d.done)
	}()
	return d, nil
}

// stop asks with SIGTERM and waits; what does not end within 30 s is killed, and
// that is an error.
func (d *daemon) stop() error {
	if err := d.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	patience := time.NewTimer(30 * time.Second)
	defer patience.Stop()
	select {
	case <-d.done:
	case <-patience.C:
		return errors.Join(fmt.Errorf("%s did not end within 30 s of SIGTERM: %s", d.cmd.Path, d.stderr), d.kill())
	}
	if d.err != nil {
		return fmt.Errorf("%s: %w: %s", d.cmd.Path, d.err, d.stderr)
	}
	return nil
}

// kill sends SIGKILL and waits.
func (d *daemon) kill() error {
	err := d.cmd.Process.Kill()
	<-d.done
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}
