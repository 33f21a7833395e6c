package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/hypha-node/hypha-node/internal/humanize"
	"github.com/hypha-node/hypha-node/jobs"
	"github.com/hypha-node/hypha-node/jobs/isolate"
)

// launch makes this process a job's command, if that is what it was started
// for: the hidden verb of package isolate. It comes before everything else, so
// that nothing of this program is open or running when the command begins.
func launch() {
	if code, ours := isolate.Enter(os.Args); ours {
		os.Exit(code)
	}
}

// isolationFlags are what commands share that run one for a job.
type isolationFlags struct {
	Isolation   string   `placeholder:"MODE" help:"Keep the command from other jobs, the node and your files: auto, require, landlock, namespace or none. Default: auto, or that of the configuration."`
	Read        []string `placeholder:"PATH" sep:"none" help:"Let the isolated command read a file or directory too; repeatable."`
	Write       []string `placeholder:"PATH" sep:"none" help:"Let the isolated command write a file or directory too; repeatable."`
	WorkAt      []string `placeholder:"PATH" sep:"none" help:"Show the work directory at a path too, with --isolation=namespace; repeatable."`
	HideNetwork bool     `help:"Leave the command no network but a loopback of its own, with --isolation=namespace."`
}

// apply lays the flags over what a spec says.
func (f *isolationFlags) apply(i *jobs.Isolation) error {
	if f.Isolation != "" {
		mode, err := isolate.ParseMode(f.Isolation)
		if err != nil {
			return &failure{code: exitUsage, err: fmt.Errorf("--isolation: %w", err)}
		}
		i.Mode = mode
	}
	for _, l := range []struct {
		into  *[]string
		paths []string
	}{{&i.Read, f.Read}, {&i.Write, f.Write}, {&i.WorkAt, f.WorkAt}} {
		for _, p := range l.paths {
			abs, err := filepath.Abs(p)
			if err != nil {
				return err
			}
			*l.into = append(*l.into, abs)
		}
	}
	i.HideNetwork = i.HideNetwork || f.HideNetwork
	if (i.HideNetwork || len(i.WorkAt) > 0) && i.Mode != isolate.Namespace {
		return errUsage("--hide-network and --work-at need --isolation=namespace")
	}
	return nil
}

// checkIsolation parses the settings for isolation.
func (s *settings) checkIsolation() error {
	mode, err := isolate.ParseMode(s.Isolation)
	if err != nil {
		return fmt.Errorf("isolation: %w", err)
	}
	for _, p := range append(append([]string{}, s.IsolationRead...), s.IsolationWrite...) {
		if !filepath.IsAbs(p) {
			return fmt.Errorf("isolation_read, isolation_write: %q is no absolute path", p)
		}
	}
	s.walls = jobs.Walls{Default: mode, Read: s.IsolationRead, Write: s.IsolationWrite}
	if s.JobUsers == "" {
		return nil
	}
	s.walls.Users, err = parseUsers(s.JobUsers)
	return err
}

// parseUsers reads a range of ids, "70000-70999".
func parseUsers(text string) (jobs.Users, error) {
	const most = 1<<31 - 2 // ids that are a user on every system
	a, b, ok := strings.Cut(text, "-")
	first, err := strconv.Atoi(strings.TrimSpace(a))
	last, lerr := strconv.Atoi(strings.TrimSpace(b))
	if !ok || errors.Join(err, lerr) != nil || first < 1 || last < first || last > most {
		return jobs.Users{}, fmt.Errorf("job_users: %q is no range of ids, as in 70000-70999", text)
	}
	return jobs.Users{First: first, Count: last - first + 1}, nil
}

// walls returns what keeps the commands of jobs in.
func (a *app) walls(s settings) jobs.Walls {
	w := s.walls
	w.Hidden = []string{a.cli.Repo}
	w.Users.Dir = filepath.Join(a.cli.Repo, "users")
	if home, err := os.UserHomeDir(); err == nil && home != "" {
		w.Wide = []string{filepath.Clean(home)}
	}
	return w
}

// warnIsolation tells the user what a command of this process does without.
func (a *app) warnIsolation(b jobs.Built) {
	switch {
	case b.Lacks == "":
	case b.Plan.Confines():
		fmt.Fprintf(a.stderr, "warning: isolation is %s only: %s\n", b.Plan, humanize.Escape(b.Lacks))
	default:
		fmt.Fprintf(a.stderr, "warning: the command is not isolated: %s\n", humanize.Escape(b.Lacks))
	}
}
