package jobs

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"reflect"
	"sync"
	"time"

	"github.com/hypha-node/hypha-node/jobs/isolate"
)

// Command is an executor to run for a job.
type Command struct {
	// Args is the program and its arguments. In each, {SOCKET_PATH} {WORK_DIR}
	// {JOB_JSON} {JOB_ID} {JOB_FILE} are replaced; other braces stay.
	Args   []string
	Env    []string        // "NAME=value" each; the job's own variables are added and win
	Dir    string          // "": the work directory
	Config json.RawMessage // the job's configuration, passed on as it is; nil: {}
	Class  string          // of the executor, for JOB_JSON; "": "process"
	Name   string          // of the executor, for JOB_JSON; "": the program's

	Stdin          *os.File  // nil: nothing to read
	Stdout, Stderr io.Writer // nil: thrown away

	Grace time.Duration // between SIGTERM and SIGKILL; 0: 5 s

	Mark      string      // as NewMark returns it; "": one that nobody knows
	Isolation Isolation   // what the command asks for
	Walls     Walls       // what the node has for it
	Told      func(Built) // learns what it got, before it starts; nil: nobody
}

// defaultGrace is what the original gives executors to save their work.
const defaultGrace = 5 * time.Second

// Exit codes of a command that could not be run, as shells have them.
const (
	ExitNotExecutable = 126
	ExitNotFound      = 127
)

// Exit is how a command ended.
type Exit struct {
	Code   int    // its exit code; 128 plus the number of the signal that ended it
	Signal string // the name of that signal, "SIGTERM"; "" if there was none
}

// Run runs an executor for a job to its end and returns its exit code, 128 plus
// the number of the signal that ended it, or a shell's code and an error when it
// could not be run. It sees SOCKET_PATH, WORK_DIR, JOB_JSON (unless it is too
// large for the system: then JOB_FILE has it), JOB_FILE, HYPHA_JOB_ID and
// HYPHA_BRIDGE, has no open files but the first three, is the leader of its own
// session, and confined as c.Isolation says. Programs that call Run with an
// isolation call isolate.Enter first thing in main.
//
// When ctx ends the group gets SIGTERM, and SIGKILL after Grace. When the
// executor itself has ended, what it left running is killed.
func Run(ctx context.Context, job Job, c Command) (Exit, error) {
	mark := c.Mark
	if mark == "" {
		mark = NewMark()
	}
	return execute(ctx, job, c, mark, func(int) error { return nil })
}

// NewMark returns what marks the processes of one run: a variable of their
// environment that nobody else knows.
func NewMark() string { return "HYPHA_RUN_ID=" + rand.Text() }

// execute is Run with a given cookie. started gets the process's id as soon as
// it has one; its error ends the run.
func execute(ctx context.Context, job Job, c Command, cookie string, started func(pid int) error) (Exit, error) {
	if c.Grace <= 0 {
		c.Grace = defaultGrace
	}
	fail := func(code int, err error) (Exit, error) {
		return Exit{Code: code}, fmt.Errorf("run job %s: %w", job.ID, err)
	}
	in, err := prepare(job, c, cookie)
	if err != nil {
		return fail(ExitNotExecutable, err)
	}
	// Its end is ours to bring about, in steps: ctx must not kill it at once.
	cmd := exec.CommandContext(context.WithoutCancel(ctx), in.args[0], in.args[1:]...)
	cmd.Env, cmd.Dir = in.env, in.dir
	if c.Stdin != nil {
		cmd.Stdin = c.Stdin
	}
	keepFiles()
	walls, built, err := c.Walls.confine(ctx, job, c.Isolation, in, cmd.Path)
	if err != nil {
		return fail(ExitNotExecutable, err)
	}
	if c.Told != nil {
		c.Told(built)
	}
	out, err := connect(cmd, c.Stdout, c.Stderr)
	if err != nil {
		return fail(ExitNotExecutable, errors.Join(err, walls.release()))
	}
	if err := walls.start(ctx, cmd); err != nil {
		return fail(startCode(err), errors.Join(err, out.started(), out.wait(0), walls.release()))
	}
	err = out.started()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if serr := started(cmd.Process.Pid); serr != nil {
		err = errors.Join(err, serr)
		cancel()
	}
	tree := processTree{leader: cmd.Process.Pid, cookie: cookie}
	err = errors.Join(err, tree.end(ctx, cmd, c.Grace), out.wait(c.Grace), walls.release())
	exit := exitOf(cmd.ProcessState)
	if err != nil {
		return exit, fmt.Errorf("run job %s: %w", job.ID, err)
	}
	return exit, nil
}

// startCode is the exit code for a command that could not be started.
func startCode(err error) int {
	if _, ours := errors.AsType[*isolate.Error](err); ours {
		return ExitNotExecutable
	}
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		return ExitNotFound
	}
	return ExitNotExecutable
}

// tick is how often ends are looked for that the system does not announce.
const tick = 20 * time.Millisecond

// end waits for the executor and sees to it that nothing of it is left.
func (t processTree) end(ctx context.Context, cmd *exec.Cmd, grace time.Duration) error {
	exited := make(chan error, 1)
	go func() { exited <- awaitExit(cmd) }()
	var err error
	select {
	case err = <-exited:
	case <-ctx.Done():
		err = t.terminate(exited, grace)
	}
	err = errors.Join(err, t.killAll())
	if cmd.ProcessState == nil { // it is dead, but not reaped: until here its id was nobody else's
		if werr := cmd.Wait(); cmd.ProcessState == nil {
			err = errors.Join(err, werr)
		}
	}
	return err
}

// terminate asks the group to end and gives all of it grace; then the leader is
// killed. It returns when the leader has ended.
func (t processTree) terminate(exited <-chan error, grace time.Duration) error {
	late := time.NewTimer(grace)
	defer late.Stop()
	look := time.NewTicker(tick)
	defer look.Stop()
	err := t.signal(terminateSignal)
	leader := exited
	for {
		select {
		case lerr := <-leader:
			err = errors.Join(err, lerr)
			leader = nil // its children may still be saving their work
		case <-look.C:
			if leader == nil && !t.alive() {
				return err
			}
		case <-late.C:
			err = errors.Join(err, t.signal(killSignal))
			if leader != nil {
				err = errors.Join(err, <-leader)
			}
			return err
		}
	}
}

// killAll kills what is left, until nothing is: a process may be born while the
// list is read.
func (t processTree) killAll() error {
	look := time.NewTicker(tick)
	defer look.Stop()
	const rounds = 250 // 5 s at most
	for range rounds {
		if !t.alive() {
			return nil
		}
		t.kill()
		<-look.C
	}
	return errors.New("processes of the executor can't be killed")
}

// output copies what the executor writes to writers that are no files.
type output struct {
	pumps sync.WaitGroup
	read  []*os.File // our ends of the pipes
	write []*os.File // the executor's ends, ours until it has started

	mu  sync.Mutex
	err error
}

// connect gives cmd its standard output and error. (The pipes are ours, not
// exec's, so that waiting for the process is not waiting for its children.)
func connect(cmd *exec.Cmd, stdout, stderr io.Writer) (*output, error) {
	out := &output{}
	w, err := out.pipe(stdout)
	if err != nil {
		return nil, err
	}
	if w != nil {
		cmd.Stdout = w
	}
	if stderr != nil && reflect.TypeOf(stderr).Comparable() && stderr == stdout {
		cmd.Stderr = cmd.Stdout
		return out, nil
	}
	w, err = out.pipe(stderr)
	if err != nil {
		return nil, errors.Join(err, out.started(), out.wait(0))
	}
	if w != nil {
		cmd.Stderr = w
	}
	return out, nil
}

// pipe returns the file that writes to w, nil if w is nil.
func (o *output) pipe(w io.Writer) (*os.File, error) {
	if w == nil {
		return nil, nil
	}
	if f, ok := w.(*os.File); ok {
		return f, nil
	}
	r, pw, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	o.read, o.write = append(o.read, r), append(o.write, pw)
	o.pumps.Go(func() {
		_, err := io.Copy(w, r)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			err = nil // somebody outside the tree still holds the pipe
		}
		// A writer that fails ends the pipe, as a closed terminal does.
		err = errors.Join(err, r.Close())
		o.mu.Lock()
		defer o.mu.Unlock()
		o.err = errors.Join(o.err, err)
	})
	return pw, nil
}

// started closes the executor's ends of the pipes.
func (o *output) started() error {
	var errs []error
	for _, f := range o.write {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

// wait waits until everything that was written is copied, most at most.
func (o *output) wait(most time.Duration) error {
	for _, r := range o.read {
		//nolint:errcheck // it fails for a pipe that has ended, and then there is nothing to wait for
		_ = r.SetReadDeadline(time.Now().Add(most))
	}
	o.pumps.Wait()
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.err
}
