package jobs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hypha-node/hypha-node/jobs/isolate"
)

// Isolation is what a job asks for to keep its command away from other jobs,
// from the node and from its user's files. See docs/isolation.md.
type Isolation struct {
	Mode        isolate.Mode   `json:"mode,omitempty"`         // "": the node's
	Read        []string       `json:"read,omitempty"`         // absolute paths that may be read too
	Write       []string       `json:"write,omitempty"`        // absolute paths that may be written too
	WorkAt      []string       `json:"work_at,omitempty"`      // where the work directory shows too; needs mode namespace
	HideNetwork bool           `json:"hide_network,omitempty"` // needs mode namespace
	Limits      isolate.Limits `json:"limits,omitzero"`
}

// check tells what can't be.
func (i Isolation) check() error {
	if _, err := isolate.ParseMode(string(i.Mode)); err != nil {
		return bad("isolation: %v", err)
	}
	for _, p := range slices.Concat(i.Read, i.Write, i.WorkAt) {
		if !filepath.IsAbs(p) || strings.ContainsRune(p, 0) {
			return bad("isolation: %q is no absolute path", clip(p))
		}
	}
	if (i.HideNetwork || len(i.WorkAt) > 0) && i.Mode != isolate.Namespace {
		return bad("isolation: hide_network and work_at need the mode namespace")
	}
	return nil
}

// Walls are what keeps the commands of a node in. The zero value keeps nothing.
type Walls struct {
	Default isolate.Mode // for jobs that ask for none of their own; "": none
	Read    []string     // absolute paths that every command may read too
	Write   []string     // absolute paths that every command may write too
	Hidden  []string     // what no command gets unless it is its own: the repository
	Wide    []string     // what a command that lies in it does not get as a whole: the home directory
	Users   Users        // for commands of a node that runs as root
}

// Built says what a command got.
type Built struct {
	Plan  isolate.Plan
	Lacks string // why it is not more; "": nothing is missing
	UID   int    // whom it runs as, with Plan.UID
}

// confined is a command with what it is started in.
type confined struct {
	spec isolate.Spec
	temp string       // its temporary directory; "": none
	user func() error // gives its user back; nil: it has none of its own
}

// confine prepares the isolation of a command that is filled in; program is
// where the system finds it. The caller calls release when it has ended.
func (w Walls) confine(ctx context.Context, job Job, i Isolation, in invocation, program string) (c confined, b Built, err error) {
	mode := i.Mode
	if mode == "" {
		mode = w.Default
	}
	if mode == "" {
		mode = isolate.None
	}
	uidDir, why := w.Users.fit(job.WorkDir)
	if b.Plan, b.Lacks, err = isolate.Choose(ctx, mode, uidDir); err != nil {
		return c, b, fmt.Errorf("%w; hypha-node doctor tells more", err)
	}
	if why != "" && mode != isolate.None {
		b.Lacks = strings.TrimSuffix("uid: "+why+"; "+b.Lacks, "; ")
	}
	c.spec = isolate.Spec{Plan: b.Plan, Limits: i.Limits}
	if !b.Plan.Confines() {
		return c, b, nil
	}
	s := &c.spec
	s.WorkDir, s.Socket, s.Hidden = job.WorkDir, job.Socket, w.hidden()
	s.WorkAt, s.HideNetwork = i.WorkAt, i.HideNetwork
	named := isolate.Named(slices.Concat([]string{program}, in.args[1:], []string{in.dir}), in.env, in.dir, s.Hidden, w.Wide)
	s.ReadOnly = slices.Concat(w.Read, i.Read, named)
	s.ReadWrite = slices.Concat(w.Write, i.Write)
	if b.Plan.UID {
		if s.UID, c.user, err = w.Users.lease(); err != nil {
			return c, b, err
		}
		s.GID, b.UID, s.Groups = s.UID, s.UID, isolate.DeviceGroups()
	}
	if job.Socket == "" {
		return c, b, nil
	}
	c.temp = tempOf(job.Socket)
	if err := errors.Join(removeTemp(job.Socket), makePrivate(c.temp)); err != nil {
		return confined{}, b, fmt.Errorf("make a temporary directory: %w", errors.Join(err, c.release()))
	}
	s.TempDir = c.temp
	return c, b, nil
}

// hidden returns the hidden directories by all of their names.
func (w Walls) hidden() []string {
	all := slices.Clone(w.Hidden)
	for _, h := range w.Hidden {
		if r := real(h); r != h {
			all = append(all, r)
		}
	}
	return all
}

// real returns a path without symlinks, if it can be followed.
func real(path string) string {
	if r, err := filepath.EvalSymlinks(path); err == nil {
		return r
	}
	return path
}

// start starts the command.
func (c confined) start(ctx context.Context, cmd *exec.Cmd) error {
	return isolate.Start(ctx, cmd, c.spec)
}

// release removes the temporary directory and what the command left in it, and
// gives its user back.
func (c confined) release() error {
	var err error
	if c.temp != "" {
		err = removeTemp(c.spec.Socket)
	}
	if c.user != nil {
		err = errors.Join(err, c.user())
	}
	return err
}

// tempOf returns the temporary directory of the job of a socket. It lies beside
// the socket, where paths are short: programs make sockets in it.
func tempOf(socket string) string { return strings.TrimSuffix(socket, ".sock") + ".tmp" }

// removeTemp removes the temporary directory of the job of a socket.
func removeTemp(socket string) error {
	root, err := os.OpenRoot(filepath.Dir(socket))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(removeTree(root, filepath.Base(tempOf(socket))), root.Close())
}
