package main

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/hypha-node/hypha-node/api/control"
	"github.com/hypha-node/hypha-node/jobs"
)

// bridgeCmd is `bridge`.
type bridgeCmd struct {
	jobFlags
	Grace   time.Duration `placeholder:"TIME" help:"Between SIGTERM and SIGKILL for the command. Default: 5s."`
	Command []string      `arg:"" optional:"" passthrough:"" help:"Run this command with the job's environment, after --. Default: none; the job lasts until SIGTERM, the end of the standard input if that is a pipe, or the end of the calling process."`
}

// attached is what `bridge` prints.
type attached struct {
	ID      string `json:"id"`
	Socket  string `json:"socket"`
	WorkDir string `json:"work_dir"`
}

// Run makes the job, keeps it, and removes it.
func (c *bridgeCmd) Run(ctx context.Context, a *app) error {
	parent := os.Getppid() // before anything that takes time
	req, err := c.spec(a.stdin)
	if err != nil {
		return err
	}
	run := commandFlags{Command: c.Command, Grace: c.Grace}
	if req.Command == nil && len(c.Command) == 0 {
		return c.attach(ctx, a, req, parent)
	}
	p, err := run.program(req)
	if err != nil {
		return err
	}
	command, err := a.command(p)
	if err != nil {
		return err
	}
	req.Mark = jobs.NewMark()
	command.Mark = req.Mark
	return c.held(ctx, a, req, func(ctx context.Context, cl *control.Client, j jobs.Job, _ *holder) error {
		return a.runJob(ctx, cl, j, command, time.Duration(p.Timeout))
	})
}

// held calls do with a new job that is held meanwhile.
func (c *bridgeCmd) held(ctx context.Context, a *app, req control.JobRequest, do func(context.Context, *control.Client, jobs.Job, *holder) error) error {
	req.Command, req.Held = nil, true
	return a.needDaemon(ctx, "bridge", func(cl *control.Client) error {
		j, err := cl.JobCreate(ctx, req)
		if err != nil {
			return err
		}
		h := hold(ctx, cl, j.ID)
		defer h.let()
		if err := h.begun(ctx); err != nil {
			return errors.Join(err, cl.JobRemove(context.WithoutCancel(ctx), j.ID))
		}
		return do(ctx, cl, j, h)
	})
}

// attach keeps a job for a process that somebody else runs.
func (c *bridgeCmd) attach(ctx context.Context, a *app, req control.JobRequest, parent int) error {
	return c.held(ctx, a, req, func(ctx context.Context, cl *control.Client, j jobs.Job, h *holder) error {
		end := control.JobEnd{ID: j.ID}
		err := each(a, cl.JobStage(ctx, j.ID), func(jobs.Job) error { return nil })
		if err == nil {
			a.out.json = true // what it prints is for programs
			err = a.out.print(attached{ID: j.ID, Socket: j.Socket, WorkDir: j.WorkDir}, "")
		}
		if err != nil {
			end.Failure = err.Error()
			return a.endJob(ctx, cl, end, because(ctx, err))
		}
		if err := a.awaitOwner(ctx, parent, h); err != nil {
			return err // there is no job any more
		}
		return a.endJob(ctx, cl, end, nil)
	})
}

// parentLook is how often it is looked whether the calling process is there.
const parentLook = time.Second

// awaitOwner returns nil when whoever wanted the job wants it no more, an error
// when the job has ended by itself.
func (a *app) awaitOwner(ctx context.Context, parent int, h *holder) error {
	closed := make(chan struct{})
	if isPipe(a.stdin) {
		go func() { // ends with the pipe or, at the latest, with the process
			defer close(closed)
			_, _ = io.Copy(io.Discard, a.stdin) //nolint:errcheck // its end is what counts
		}()
	}
	look := time.NewTicker(parentLook)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-closed:
			return nil
		case <-h.over:
			return h.err
		case <-look.C:
			if os.Getppid() != parent {
				return nil
			}
		}
	}
}

// isPipe tells whether a file is a pipe or a socket: those have an end that
// means something. /dev/null, which background processes get, has none.
func isPipe(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&(fs.ModeNamedPipe|fs.ModeSocket) != 0
}
