package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"github.com/hypha-node/hypha-node/bridge/rest"
	"github.com/hypha-node/hypha-node/internal/diskspace"
	"github.com/hypha-node/hypha-node/internal/humanize"
	"github.com/hypha-node/hypha-node/jobs/isolate"
	"github.com/hypha-node/hypha-node/node"
)

// doctorCmd is `doctor`.
type doctorCmd struct{}

// Verdicts of a check.
const (
	checkOK   = "ok"
	checkWarn = "warn" // it works, with less than could be
	checkFail = "fail" // something does not work
)

// check is one line of `doctor`.
type check struct {
	Name    string `json:"name"`
	Verdict string `json:"verdict"` // "ok", "warn" or "fail"
	Detail  string `json:"detail"`
	Hint    string `json:"hint,omitempty"` // what to do about it
}

// diagnosis is what `doctor` prints.
type diagnosis struct {
	OK        bool           `json:"ok"` // nothing fails
	Checks    []check        `json:"checks"`
	Isolation isolate.Report `json:"isolation"`
}

// Run looks at everything that a node depends on. It changes nothing, and asks
// neither the network nor the store.
func (*doctorCmd) Run(ctx context.Context, a *app) error {
	d := diagnosis{OK: true, Isolation: isolate.Probe(ctx, existing(a.cli.Repo))}
	d.Checks = append(d.Checks, a.checkConfig(), a.checkRepo(), a.checkSpace(), a.checkSockets(), a.checkDaemon(ctx), a.checkNetwork(), checkFiles())
	d.Checks = append(d.Checks, a.checkIsolation(d.Isolation)...)
	for _, c := range d.Checks {
		d.OK = d.OK && c.Verdict != checkFail
	}
	if err := a.printDiagnosis(d); err != nil {
		return err
	}
	if !d.OK {
		return &failure{code: exitFailed, err: errors.New("something does not work"), quiet: true}
	}
	return nil
}

// printDiagnosis prints a diagnosis: a line for each check.
func (a *app) printDiagnosis(d diagnosis) error {
	if a.cli.JSON {
		return a.out.print(d, "")
	}
	for _, c := range d.Checks {
		if err := a.out.line("%-4s  %-12s  %s", c.Verdict, c.Name, humanize.Escape(c.Detail)); err != nil {
			return err
		}
		if c.Hint != "" {
			if err := a.out.line("%-4s  %-12s  hint: %s", "", "", humanize.Escape(c.Hint)); err != nil {
				return err
			}
		}
	}
	return nil
}

// failed returns a check that has failed.
func failed(name string, err error, hint string) check {
	return check{Name: name, Verdict: checkFail, Detail: err.Error(), Hint: hint}
}

// checkConfig reads the configuration file again: setUp let a bad one pass for
// this command's sake.
func (a *app) checkConfig() check {
	if _, err := readConfig(a.configPath()); err != nil {
		return failed("config", err, "mend the file, or remove it")
	}
	if _, err := os.Stat(a.configPath()); errors.Is(err, fs.ErrNotExist) {
		return check{Name: "config", Verdict: checkOK, Detail: "no file, all defaults"}
	}
	return check{Name: "config", Verdict: checkOK, Detail: a.configPath()}
}

// checkRepo tells whether the repository can be used, by this user alone.
func (a *app) checkRepo() check {
	const name = "repository"
	info, err := os.Stat(a.cli.Repo)
	if errors.Is(err, fs.ErrNotExist) {
		dir := existing(a.cli.Repo)
		if err := writable(dir); err != nil {
			return failed(name, fmt.Errorf("%s is not there, and can't be made: %w", a.cli.Repo, err), "name another: --repo DIR or HYPHA_REPO")
		}
		return check{Name: name, Verdict: checkOK, Detail: a.cli.Repo + " is not there yet; the first command that needs it makes it"}
	}
	if err != nil {
		return failed(name, err, "name another: --repo DIR or HYPHA_REPO")
	}
	if !info.IsDir() {
		return failed(name, fmt.Errorf("%s is no directory", a.cli.Repo), "name another: --repo DIR or HYPHA_REPO")
	}
	if err := writable(a.cli.Repo); err != nil {
		return failed(name, err, "the repository belongs to the user who runs the node")
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return check{Name: name, Verdict: checkWarn, Detail: fmt.Sprintf("%s has mode %#o: other users see into it", a.cli.Repo, mode), Hint: "chmod 700 " + a.cli.Repo}
	}
	return check{Name: name, Verdict: checkOK, Detail: a.cli.Repo}
}

// existing returns the nearest directory above a path that is there.
func existing(path string) string {
	for {
		if _, err := os.Stat(path); err == nil || path == filepath.Dir(path) {
			return path
		}
		path = filepath.Dir(path)
	}
}

// writable tells whether a file can be made in a directory, by making one.
func writable(dir string) error {
	f, err := os.CreateTemp(dir, ".hypha-doctor-")
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// checkSpace tells how much room there is for the store.
func (a *app) checkSpace() check {
	const name = "space"
	space, err := diskspace.Of(existing(a.cli.Repo))
	if err != nil {
		return failed(name, err, "")
	}
	detail := fmt.Sprintf("%s of %s are free", humanize.Bytes(space.Free), humanize.Bytes(space.Total))
	s, err := a.settings()
	if err != nil {
		return failed(name, err, "mend the setting")
	}
	reserve := s.reserve
	if reserve == 0 {
		reserve = min(max(1<<30, space.Total/50), space.Total/4) // as the store has it
	}
	if space.Free < reserve {
		return failed(name, fmt.Errorf("%s; %s stay reserved, nothing more is stored", detail, humanize.Bytes(reserve)), "free space: pin rm and gc; or lower the reserve")
	}
	return check{Name: name, Verdict: checkOK, Detail: detail}
}

// checkSockets tells whether sockets have room for their paths.
func (a *app) checkSockets() check {
	const name = "sockets"
	path := node.SocketPath(a.cli.Repo, runtimeDir())
	if err := rest.CheckSocketPath(path); err != nil {
		return failed(name, err, "set XDG_RUNTIME_DIR to a short directory of yours")
	}
	if filepath.Dir(path) != filepath.Clean(a.cli.Repo) {
		return check{Name: name, Verdict: checkOK, Detail: "the repository's path is too long for sockets; they are in " + filepath.Dir(path)}
	}
	return check{Name: name, Verdict: checkOK, Detail: path}
}

// checkDaemon tells whether a daemon answers.
func (a *app) checkDaemon(ctx context.Context) check {
	c := a.daemon(ctx)
	if c == nil {
		return check{Name: "daemon", Verdict: checkOK, Detail: "none runs"}
	}
	defer c.Close()
	id, err := c.ID(ctx)
	if err != nil {
		return failed("daemon", err, "")
	}
	return check{Name: "daemon", Verdict: checkOK, Detail: fmt.Sprintf("runs, version %s", id.Version)}
}

// checkFiles tells how many files a process may have open.
func checkFiles() check {
	const (
		name  = "open files"
		least = 4096 // a store of a terabyte, 2,048 connections of a job, some hundred peers
	)
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return failed(name, err, "")
	}
	if limit.Max < least { // this program takes all that it may
		return check{
			Name: name, Verdict: checkWarn, Detail: fmt.Sprintf("at most %d at once; a busy node wants %d", limit.Max, least),
			Hint: "raise the hard limit: LimitNOFILE= of the service, or limits.conf",
		}
	}
	return check{Name: name, Verdict: checkOK, Detail: fmt.Sprintf("at most %d at once", limit.Max)}
}

// checkIsolation tells which walls jobs get, and why not higher ones.
func (a *app) checkIsolation(r isolate.Report) []check {
	line := check{Name: "isolation", Verdict: checkOK}
	s, err := a.settings()
	var p isolate.Plan
	var lacks string
	mode := s.walls.Default
	if err == nil {
		p, lacks, err = r.Plan(mode, s.walls.Users.Count > 0)
	}
	switch {
	case err != nil:
		line = failed("isolation", err, "docs/isolation.md tells what each mode needs")
	case !p.Confines() && mode != isolate.None:
		line.Verdict, line.Detail, line.Hint = checkWarn, "jobs are not kept from each other: "+lacks, "with --isolation=require nothing runs then"
	default:
		line.Detail = fmt.Sprintf("mode %s gives jobs: %s", mode, p)
		if lacks != "" {
			line.Verdict, line.Detail = checkWarn, line.Detail+"; "+lacks
		}
	}
	checks := []check{{Name: "system", Verdict: checkOK, Detail: fmt.Sprintf("%s, %s, %d processors", r.Kernel, runtime.GOARCH, runtime.NumCPU())}, line}
	for _, w := range []struct {
		name string
		f    isolate.Finding
	}{{"landlock", r.Landlock}, {"namespace", r.Namespace}, {"uid", r.UID}} {
		c := check{Name: "- " + w.name, Verdict: checkOK, Detail: strings.TrimSpace("yes; " + w.f.Reason)}
		if w.f.Reason == "" {
			c.Detail = "yes"
		}
		if !w.f.OK {
			c.Detail = "no: " + w.f.Reason
		} else if w.name == "landlock" {
			c.Detail = fmt.Sprintf("ABI %d; %s", r.LandlockABI, w.f.Reason)
		}
		checks = append(checks, c)
	}
	return checks
}
