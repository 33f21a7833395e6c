package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/vbauerster/mpb/v8/cwriter"

	"github.com/hypha-node/hypha-node/api/control"
	"github.com/hypha-node/hypha-node/bridge"
	"github.com/hypha-node/hypha-node/internal/humanize"
	"github.com/hypha-node/hypha-node/internal/safename"
	"github.com/hypha-node/hypha-node/jobs"
)

// jobCmd is `job`.
type jobCmd struct {
	Run    jobRunCmd    `cmd:"" help:"Create a job, run a command in its work directory, remove the job."`
	Create jobCreateCmd `cmd:"" help:"Create a job; the daemon serves its bridge."`
	Ls     jobLsCmd     `cmd:"" help:"List all jobs."`
	Show   jobShowCmd   `cmd:"" help:"Describe a job."`
	Rm     jobRmCmd     `cmd:"" help:"End jobs and remove their directories and sockets."`
}

// jobCreateCmd is `job create`.
type jobCreateCmd struct {
	ID      string `placeholder:"ID" help:"Id of the job. Default: random."`
	WorkDir string `placeholder:"DIR" help:"An existing directory, which outlives the job. Default: a private one, which does not."`
}

// Run creates the job.
func (c *jobCreateCmd) Run(ctx context.Context, a *app) error {
	req, err := c.request()
	if err != nil {
		return err
	}
	return a.needDaemon(ctx, "job create", func(cl *control.Client) error {
		j, err := cl.JobCreate(ctx, req)
		if err != nil {
			return err
		}
		return a.showJob(j)
	})
}

// request returns the request for the job.
func (c *jobCreateCmd) request() (control.JobRequest, error) {
	r := control.JobRequest{ID: c.ID}
	if c.WorkDir == "" {
		return r, nil
	}
	var err error
	r.WorkDir, err = filepath.Abs(c.WorkDir)
	return r, err
}

// showJob prints one job.
func (a *app) showJob(j jobs.Job) error {
	if a.cli.JSON {
		return a.out.print(j, "")
	}
	return a.out.table([][2]string{
		{"id", j.ID},
		{"state", string(j.State)},
		{"socket", humanize.Escape(j.Socket)},
		{"work directory", humanize.Escape(j.WorkDir)},
		{"created", j.Created.Local().Format(time.DateTime)},
	})
}

// jobLsCmd is `job ls`.
type jobLsCmd struct{}

// Run lists the jobs.
func (*jobLsCmd) Run(ctx context.Context, a *app) error {
	return a.withNode(ctx, func(cl *control.Client) error {
		return each(a, cl.Jobs(ctx), func(j jobs.Job) error {
			return a.out.print(j, "%s  %s  %s  %s", j.ID, j.State, j.Created.Local().Format(time.DateTime), humanize.Escape(j.WorkDir))
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

// jobRmCmd is `job rm`.
type jobRmCmd struct {
	IDs []string `arg:"" name:"id"`
}

// Run removes the jobs.
func (c *jobRmCmd) Run(ctx context.Context, a *app) error {
	return a.withNode(ctx, func(cl *control.Client) error {
		for _, id := range c.IDs {
			if err := cl.JobRemove(ctx, id); err != nil {
				return err
			}
			if err := a.out.print(jobs.Job{ID: id}, "removed %s", humanize.Escape(id)); err != nil {
				return err
			}
		}
		return nil
	})
}

// jobRunCmd is `job run`.
type jobRunCmd struct {
	jobCreateCmd
	Ref     []string      `placeholder:"REF=PATH" sep:"none" help:"Fetch a reference into PATH of the work directory first; repeatable."`
	Config  string        `placeholder:"JSON" help:"The job's configuration, handed to the command in JOB_JSON."`
	Keep    bool          `help:"Keep the job and its work directory."`
	Grace   time.Duration `default:"5s" placeholder:"TIME" help:"Between SIGTERM and SIGKILL when the run is cancelled."`
	Command []string      `arg:"" passthrough:"" help:"Command and arguments, after --. {WORK_DIR}, {SOCKET_PATH}, {JOB_JSON}, {JOB_ID}, {JOB_FILE} are filled in."`
	network
}

// Run runs the command and exits with its exit code.
func (c *jobRunCmd) Run(ctx context.Context, a *app) error {
	if len(c.Command) > 0 && c.Command[0] == "--" {
		c.Command = c.Command[1:]
	}
	if len(c.Command) == 0 {
		return errUsage("no command: job run -- CMD…")
	}
	if c.Config != "" && !json.Valid([]byte(c.Config)) {
		return errUsage("--config is no valid JSON")
	}
	refs, err := c.refs()
	if err != nil {
		return err
	}
	req, err := c.request()
	if err != nil {
		return err
	}
	return a.whileServed(ctx, func(ctx context.Context, cl *control.Client) error {
		j, err := cl.JobCreate(ctx, req)
		if err != nil {
			return err
		}
		err = c.runIn(ctx, a, cl, j, refs)
		if c.Keep {
			fmt.Fprintf(a.stderr, "hint: job %s is kept in %s; `hypha-node job rm %s` removes it\n", j.ID, humanize.Escape(j.WorkDir), j.ID)
			return err
		}
		return errors.Join(err, cl.JobRemove(context.WithoutCancel(ctx), j.ID))
	})
}

// runIn fetches what the command needs and runs it.
func (c *jobRunCmd) runIn(ctx context.Context, a *app, cl *control.Client, j jobs.Job, refs []jobRef) error {
	for _, r := range refs {
		req := control.FetchRequest{
			Refs: []json.RawMessage{r.ref}, Output: filepath.Join(j.WorkDir, filepath.FromSlash(r.path)),
			PinName: bridge.PinName(j.ID), TimeoutMS: c.ms(), Mode: 0o600, DirMode: 0o700,
		}
		err := each(a, cl.Fetch(ctx, req), func(control.Fetched) error { return nil })
		if err != nil {
			return err
		}
	}
	stdin := a.stdin
	if cwriter.IsTerminal(int(stdin.Fd())) {
		stdin = nil // the command's process group is not the terminal's: its first read would stop it for ever
	}
	exit, err := jobs.Run(ctx, j, jobs.Command{
		Args: c.Command, Env: os.Environ(), Config: json.RawMessage(c.Config), Grace: c.Grace,
		Stdin: stdin, Stdout: a.stdout, Stderr: a.stderr,
	})
	if err != nil || exit.Code != 0 {
		return &failure{code: exit.Code, err: err, quiet: err == nil}
	}
	return nil
}

// jobRef is one reference to fetch before a run.
type jobRef struct {
	ref  json.RawMessage
	path string // below the work directory
}

// refs reads the references. The path is what follows the last =; a reference
// without = goes where jobs' own fetches go.
func (c *jobRunCmd) refs() ([]jobRef, error) {
	var refs []jobRef
	for _, text := range c.Ref {
		r := jobRef{path: bridge.DefaultDir}
		name := text
		if i := strings.LastIndexByte(text, '='); i >= 0 && !strings.HasPrefix(strings.TrimSpace(text), "{") {
			name, r.path = text[:i], strings.Trim(strings.TrimPrefix(text[i+1:], "./"), "/")
		}
		if err := safename.Path(r.path); err != nil {
			return nil, &failure{code: exitUsage, err: fmt.Errorf("--ref %s: %w", text, err), hint: "write REF=PATH with PATH below the work directory"}
		}
		var err error
		if r.ref, err = reference(name); err != nil {
			return nil, err
		}
		refs = append(refs, r)
	}
	return refs, nil
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
