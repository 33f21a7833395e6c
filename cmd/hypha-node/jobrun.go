package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/hypha-node/hypha-node/api/control"
	"github.com/hypha-node/hypha-node/internal/humanize"
	"github.com/hypha-node/hypha-node/jobs"
)

// jobRunCmd is `job run`.
type jobRunCmd struct {
	jobFlags
	commandFlags
	network
}

// Run runs the command and exits with its exit code.
func (c *jobRunCmd) Run(ctx context.Context, a *app) error {
	req, err := c.spec(a.stdin)
	if err != nil {
		return err
	}
	p, err := c.program(req)
	if err != nil {
		return err
	}
	command, err := a.command(p)
	if err != nil {
		return err
	}
	command.Mark = jobs.NewMark()
	req.Command, req.Held, req.Mark = nil, true, command.Mark // this process runs it
	return a.whileServed(ctx, func(ctx context.Context, cl *control.Client) error {
		j, err := cl.JobCreate(ctx, req)
		if err != nil {
			return err
		}
		h := hold(ctx, cl, j.ID)
		defer h.let()
		if err := h.begun(ctx); err != nil {
			return errors.Join(err, cl.JobRemove(context.WithoutCancel(ctx), j.ID))
		}
		return a.runJob(ctx, cl, j, command, time.Duration(p.Timeout))
	})
}

// command returns the command of a program that this process runs.
func (a *app) command(p jobs.Program) (jobs.Command, error) {
	c := jobs.Command{Args: p.Args, Env: os.Environ(), Config: p.Config, Grace: time.Duration(p.Grace), Dir: p.Dir}
	for name, value := range p.Env {
		c.Env = append(c.Env, name+"="+value)
	}
	s, err := a.settings()
	if err != nil {
		return c, err
	}
	c.Isolation, c.Walls, c.Told = p.Isolation, a.walls(s), a.warnIsolation
	if p.Executor == "" {
		return c, nil
	}
	i := slices.IndexFunc(s.executors, func(e jobs.Executor) bool { return e.Name == p.Executor })
	if i < 0 {
		return c, &failure{
			code: exitUsage, err: fmt.Errorf("no executor %q", p.Executor),
			hint: "executors are tables [[executors]] of " + a.configPath(),
		}
	}
	return s.executors[i].Apply(c), nil
}

// runJob stages a job, runs the command, and ends the job. What is to be kept
// of it stays.
func (a *app) runJob(ctx context.Context, cl *control.Client, j jobs.Job, c jobs.Command, limit time.Duration) error {
	if c.Dir != "" && !filepath.IsAbs(c.Dir) {
		c.Dir = filepath.Join(j.WorkDir, filepath.FromSlash(c.Dir))
	}
	end := control.JobEnd{ID: j.ID}
	exit, err := a.stageAndRun(ctx, cl, j, c, limit)
	end.ExitCode, end.Signal = exit.Code, exit.Signal
	if err != nil {
		end.Failure = err.Error()
		if err = because(ctx, err); exit.Code != 0 {
			err = &failure{code: exit.Code, err: err}
		}
	} else if exit.Code != 0 {
		err = &failure{code: exit.Code, err: fmt.Errorf("exit code %d", exit.Code), quiet: true}
	}
	return a.endJob(ctx, cl, end, err)
}

// endJob ends a job of this process, err being how it went, and removes it
// unless it is to be kept. The job is ended in order whatever has ended ctx.
func (a *app) endJob(ctx context.Context, cl *control.Client, end control.JobEnd, err error) error {
	own := context.WithoutCancel(ctx)
	done, ferr := cl.JobFinish(own, end)
	if ferr != nil {
		return errors.Join(err, ferr)
	}
	for _, o := range done.Outputs {
		fmt.Fprintf(a.stderr, "output: %s  %s  %s\n", humanize.Escape(o.Path), humanize.Bytes(o.Size), o.CID)
	}
	if err == nil && done.State == jobs.StateFailed {
		err = errors.New(done.Error)
	}
	if done.Keep.Keeps(done.State) {
		fmt.Fprintf(a.stderr, "hint: job %s is kept in %s; `hypha-node job rm %s` removes it\n", done.ID, humanize.Escape(done.WorkDir), done.ID)
		return err
	}
	return errors.Join(err, cl.JobDismiss(own, done.ID)) // only its outputs tell what it did
}

// stageAndRun fetches what the command needs and runs it.
func (a *app) stageAndRun(ctx context.Context, cl *control.Client, j jobs.Job, c jobs.Command, limit time.Duration) (jobs.Exit, error) {
	if err := each(a, cl.JobStage(ctx, j.ID), func(jobs.Job) error { return nil }); err != nil {
		return jobs.Exit{}, err
	}
	c.Stdin, c.Stdout, c.Stderr = commandInput(a.stdin), a.stdout, a.stderr
	if limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, limit, fmt.Errorf("timed out after %v", limit))
		defer cancel()
	}
	exit, err := jobs.Run(ctx, j, c)
	if err == nil && limit > 0 && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		err = context.Cause(ctx)
	}
	return exit, err
}

// whileServed calls do with a client of the daemon or, without one, of a node
// of this process that serves sockets meanwhile: a job's command needs its
// bridge, and may run further commands.
func (a *app) whileServed(ctx context.Context, do func(context.Context, *control.Client) error) error {
	if cl := a.daemon(ctx); cl != nil {
		defer cl.Close()
		return do(ctx, cl)
	}
	n, err := a.openNode(ctx)
	if err != nil {
		return err
	}
	// The node outlives the signal that ends the job: it has to remove the job.
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	ready, served := make(chan struct{}), make(chan error, 1)
	go func() {
		served <- a.serve(life, n, func(control.Identity) error { close(ready); return nil })
	}()
	select {
	case <-ready:
	case err := <-served:
		return err
	}
	err = do(ctx, control.NewLocal(n.Handler()))
	end()
	return errors.Join(err, <-served)
}
