package jobs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"time"
)

// Executor is a template of commands.
type Executor struct {
	Name  string   `json:"name"`            // by which jobs ask for it
	Class string   `json:"class,omitempty"` // told to the executor; "": "process"
	Cmd   string   `json:"cmd"`             // program
	Args  []string `json:"args,omitempty"`  // with Command.Args' placeholders; a job's own follow
}

// CheckExecutors refuses templates that no job could use.
func CheckExecutors(list []Executor) error {
	seen := map[string]bool{}
	for i, e := range list {
		switch {
		case e.Name == "" || !printable(e.Name):
			return fmt.Errorf("executors[%d]: name %q: printable ASCII without spaces", i, clip(e.Name))
		case e.Cmd == "":
			return fmt.Errorf("executor %s: no cmd", e.Name)
		case seen[e.Name]:
			return fmt.Errorf("executor %s: defined twice", e.Name)
		}
		seen[e.Name] = true
	}
	return nil
}

// Apply returns the command of a job that asks for the executor.
func (e Executor) Apply(c Command) Command {
	c.Args = slices.Concat([]string{e.Cmd}, e.Args, c.Args)
	c.Class, c.Name = e.Class, e.Name
	return c
}

// executor returns the template of a name; nil for "".
func (s *Supervisor) executor(name string) (*Executor, error) {
	if name == "" {
		return nil, nil //nolint:nilnil // no template is needed
	}
	for _, e := range s.conf.Executors {
		if e.Name == name {
			return &e, nil
		}
	}
	return nil, bad("command: no executor %q in the configuration", clip(name))
}

// command returns the command of a job, ready to run.
func (s *Supervisor) command(job Job, p *Program) (Command, error) {
	c := Command{
		Args: p.Args, Dir: p.Dir, Config: p.Config, Grace: time.Duration(p.Grace),
		Env: slices.Clone(s.conf.Environ), Isolation: p.Isolation, Walls: s.conf.Walls,
	}
	for _, name := range sortedKeys(p.Env) {
		c.Env = append(c.Env, name+"="+p.Env[name])
	}
	if c.Dir != "" && !filepath.IsAbs(c.Dir) {
		c.Dir = filepath.Join(job.WorkDir, filepath.FromSlash(c.Dir))
	}
	e, err := s.executor(p.Executor)
	if err == nil && e != nil {
		c = e.Apply(c)
	}
	return c, err
}

// failure is why a command has failed, nil if it has not.
func (e Exit) failure() error {
	switch {
	case e.Signal != "":
		return fmt.Errorf("ended by %s", e.Signal)
	case e.Code != 0:
		return fmt.Errorf("exit code %d", e.Code)
	}
	return nil
}

// timedOut is the cause of a run that took too long.
type timedOut time.Duration

// Error says how long it was allowed to take.
func (t timedOut) Error() string { return "timed out after " + time.Duration(t).String() }

// runCommand runs a job's command to its end, its output into the job's logs.
// Before anything runs the record has what it will be found by after a crash.
func (s *Supervisor) runCommand(ctx, own context.Context, l *life, rec *record) (err error) {
	job := s.describe(l.id, *rec)
	c, err := s.command(job, rec.Spec.Command)
	if err != nil {
		return err
	}
	out, errs, err := s.openLogs(l)
	if err != nil {
		return fmt.Errorf("open logs: %w", err)
	}
	defer func() { err = errors.Join(err, s.closeLogs(l)) }()
	c.Stdout, c.Stderr = out, errs
	c.Told = func(b Built) {
		rec.Isolation = b.Plan.String()
		s.knowsUser(l.id, b.UID)
		if b.Lacks != "" {
			s.log.Warn("command is less isolated than it could be", slog.String("job", l.id), slog.String("isolation", rec.Isolation), slog.String("lacks", b.Lacks))
		}
	}
	cookie := NewMark()
	defer s.knows(l.id, processTree{cookie: cookie})()
	rec.Run, rec.Started = &running{Cookie: cookie}, s.now().UTC().Truncate(time.Millisecond)
	if err := s.enter(own, l.id, rec, StateRunning); err != nil {
		return err
	}
	if limit := time.Duration(rec.Spec.Command.Timeout); limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, limit, timedOut(limit))
		defer cancel()
	}
	started := false
	exit, err := execute(ctx, job, c, cookie, func(pid int) error {
		started = true
		rec.Run.PID, rec.Run.Start = pid, startOf(pid)
		s.knows(l.id, processTree{leader: pid, cookie: cookie})
		return s.put(own, l.id, *rec)
	})
	if err != nil && !started {
		return err
	}
	rec.ExitCode, rec.Signal = &exit.Code, exit.Signal
	if t, ok := errors.AsType[timedOut](context.Cause(ctx)); ok {
		return errors.Join(t, err)
	}
	if err != nil {
		s.log.Warn("end of a command", slog.String("job", l.id), slog.Any("err", err))
	}
	return exit.failure()
}

// openLogs makes the logs of a run, which readers may follow.
func (s *Supervisor) openLogs(l *life) (out, errs *logFile, err error) {
	dir := s.place.jobDir(l.id)
	if out, err = openLog(dir, Stdout, s.conf.LogSize, true, s.log); err != nil {
		return nil, nil, err
	}
	if errs, err = openLog(dir, Stderr, s.conf.LogSize, true, s.log); err != nil {
		return nil, nil, errors.Join(err, out.finish(), out.close())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	l.logs = map[Stream]*logFile{Stdout: out, Stderr: errs}
	return out, errs, nil
}

// closeLogs ends the logs of a run. From now on readers open the files.
func (s *Supervisor) closeLogs(l *life) error {
	s.mu.Lock()
	logs := l.logs
	l.logs = nil
	s.mu.Unlock()
	var errs []error
	for _, f := range logs {
		errs = append(errs, f.finish(), f.close())
	}
	return errors.Join(errs...)
}
