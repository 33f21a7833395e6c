package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/hypha-node/hypha-node/api/control"
	"github.com/hypha-node/hypha-node/internal/humanize"
	"github.com/hypha-node/hypha-node/jobs"
)

// jobCmd is `job`.
type jobCmd struct {
	Run    jobRunCmd    `cmd:"" help:"Create a job, run a command in its work directory, remove the job."`
	Submit jobSubmitCmd `cmd:"" help:"Have the daemon run a command as a job; print the job."`
	Create jobCreateCmd `cmd:"" help:"Create a job; the daemon serves its bridge."`
	Ls     jobLsCmd     `cmd:"" help:"List all jobs."`
	Show   jobShowCmd   `cmd:"" help:"Describe a job."`
	Logs   jobLogsCmd   `cmd:"" help:"Print what a submitted job's command writes."`
	Wait   jobWaitCmd   `cmd:"" help:"Wait until a job has ended; exit with its exit code."`
	Stop   jobStopCmd   `cmd:"" help:"End jobs; they stay listed."`
	Rm     jobRmCmd     `cmd:"" help:"End jobs and remove their directories and sockets."`
}

// jobCreateCmd is `job create`.
type jobCreateCmd struct{ jobFlags }

// Run creates the job.
func (c *jobCreateCmd) Run(ctx context.Context, a *app) error {
	req, err := c.spec(a.stdin)
	if err != nil {
		return err
	}
	if req.Command != nil {
		return errUsage("the spec has a command: `job submit -f` and `job run -f` run it")
	}
	return a.needDaemon(ctx, "job create", func(cl *control.Client) error {
		j, err := cl.JobCreate(ctx, req)
		if err != nil {
			return err
		}
		return a.showJob(j)
	})
}

// jobSubmitCmd is `job submit`.
type jobSubmitCmd struct {
	jobFlags
	commandFlags
}

// Run submits the job.
func (c *jobSubmitCmd) Run(ctx context.Context, a *app) error {
	req, err := c.spec(a.stdin)
	if err != nil {
		return err
	}
	p, err := c.program(req)
	if err != nil {
		return err
	}
	req.Command = &p
	return a.needDaemon(ctx, "job submit", func(cl *control.Client) error {
		j, err := cl.JobCreate(ctx, req)
		if err != nil {
			return err
		}
		return a.out.print(j, "%s", j.ID)
	})
}

// showJob prints one job.
func (a *app) showJob(j jobs.Job) error {
	if a.cli.JSON {
		return a.out.print(j, "")
	}
	rows := [][2]string{
		{"id", j.ID},
		{"state", string(j.State)},
		{"socket", humanize.Escape(j.Socket)},
		{"work directory", humanize.Escape(j.WorkDir)},
		{"created", moment(j.Created)},
		{"scope", humanize.Escape(j.Scope)},
		{"channel", humanize.Escape(j.Channel)},
		{"peers", humanize.Escape(strings.Join(j.Peers, " "))},
		{"secret", map[bool]string{true: "yes"}[j.HasSecret]},
		{"controller", humanize.Escape(j.Controller)},
		{"after", strings.Join(j.After, " ")},
		{"executor", humanize.Escape(j.Executor)},
		{"command", humanize.Escape(strings.Join(j.Args, " "))},
		{"isolation", j.Isolation},
		{"started", moment(j.Started)},
		{"ended", moment(j.Ended)},
		{"exit", exitText(j)},
		{"error", humanize.Escape(j.Error)},
	}
	for _, o := range j.Outputs {
		rows = append(rows, [2]string{"output", fmt.Sprintf("%s  %s  %s", humanize.Escape(o.Path), humanize.Bytes(o.Size), o.CID)})
	}
	return a.out.table(rows)
}

// moment returns a time for people, "" for none.
func moment(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Local().Format(time.DateTime)
}

// exitText says how a job's command has ended, "" if it has not.
func exitText(j jobs.Job) string {
	switch {
	case j.ExitCode == nil:
		return ""
	case j.Signal != "":
		return j.Signal
	}
	return "code " + strconv.Itoa(*j.ExitCode)
}

// jobLsCmd is `job ls`.
type jobLsCmd struct{}

// Run lists the jobs.
func (*jobLsCmd) Run(ctx context.Context, a *app) error {
	return a.withNode(ctx, func(cl *control.Client) error {
		return each(a, cl.Jobs(ctx), func(j jobs.Job) error {
			state := string(j.State)
			if how := exitText(j); how != "" {
				state += " (" + how + ")"
			}
			return a.out.print(j, "%s  %s  %s  %s", j.ID, state, moment(j.Created), humanize.Escape(j.WorkDir))
		})
	})
}

// jobShowCmd is `job show`.
type jobShowCmd struct {
	ID string `arg:"" name:"id"`
}

// Run describes the job.
func (c *jobShowCmd) Run(ctx context.Context, a *app) error {
	return a.withNode(ctx, func(cl *control.Client) error {
		j, err := cl.JobShow(ctx, c.ID)
		if err != nil {
			return err
		}
		return a.showJob(j)
	})
}

// jobLogsCmd is `job logs`.
type jobLogsCmd struct {
	ID     string `arg:"" name:"id"`
	Follow bool   `short:"f" help:"Go on until the job has ended."`
	Stderr bool   `help:"Print the standard error instead of the standard output."`
}

// Run prints the log.
func (c *jobLogsCmd) Run(ctx context.Context, a *app) error {
	r := control.LogsRequest{ID: c.ID, Stream: jobs.Stdout, Follow: c.Follow}
	if c.Stderr {
		r.Stream = jobs.Stderr
	}
	print := func(cl *control.Client) error { return cl.JobLogs(ctx, r, a.stdout) }
	if c.Follow {
		return a.needDaemon(ctx, "job logs -f", print)
	}
	return a.withNode(ctx, print)
}

// jobWaitCmd is `job wait`.
type jobWaitCmd struct {
	ID string `arg:"" name:"id"`
}

// Run waits, and exits as the job's command has.
func (c *jobWaitCmd) Run(ctx context.Context, a *app) error {
	return a.needDaemon(ctx, "job wait", func(cl *control.Client) error {
		var last jobs.Job
		for ev, err := range cl.JobWatch(ctx, c.ID) {
			if err != nil {
				return err
			}
			if ev.Item != nil {
				last = *ev.Item
			}
		}
		if err := a.showJob(last); err != nil {
			return err
		}
		return ended(last)
	})
}

// ended returns the failure that a job's end is, nil if it has finished.
func ended(j jobs.Job) error {
	if j.State == jobs.StateFinished {
		return nil
	}
	code := exitFailed
	if j.ExitCode != nil && *j.ExitCode != 0 {
		code = *j.ExitCode
	}
	return &failure{code: code, err: errors.New(j.Error), quiet: true}
}

// jobStopCmd is `job stop`.
type jobStopCmd struct {
	IDs []string `arg:"" name:"id"`
}

// Run stops the jobs.
func (c *jobStopCmd) Run(ctx context.Context, a *app) error {
	return a.withNode(ctx, func(cl *control.Client) error {
		for _, id := range c.IDs {
			j, err := cl.JobStop(ctx, id)
			if err != nil {
				return err
			}
			if err := a.out.print(j, "%s %s", j.State, j.ID); err != nil {
				return err
			}
		}
		return nil
	})
}

// jobRmCmd is `job rm`.
type jobRmCmd struct {
	KeepOutputs bool     `help:"Leave the job's outputs pinned."`
	IDs         []string `arg:"" name:"id"`
}

// Run removes the jobs.
func (c *jobRmCmd) Run(ctx context.Context, a *app) error {
	return a.withNode(ctx, func(cl *control.Client) error {
		remove := cl.JobRemove
		if c.KeepOutputs {
			remove = cl.JobDismiss
		}
		for _, id := range c.IDs {
			if err := remove(ctx, id); err != nil {
				return err
			}
			if err := a.out.print(jobs.Job{ID: id}, "removed %s", humanize.Escape(id)); err != nil {
				return err
			}
		}
		return nil
	})
}
