package isolate

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
)

// check refuses a specification that can't be carried out as it is meant.
func (s Spec) check() error {
	named := map[string][]string{
		"work directory": {s.WorkDir}, "socket": {s.Socket}, "temporary directory": {s.TempDir}, "readable path": s.ReadOnly,
		"writable path": s.ReadWrite, "hidden path": s.Hidden, "path of the work directory": s.WorkAt,
	}
	for what, paths := range named {
		for _, p := range paths {
			if p != "" && !filepath.IsAbs(p) {
				return &Error{Step: "read the specification", Err: fmt.Errorf("%s %q is not absolute", what, p)}
			}
		}
	}
	for _, p := range append([]string{s.WorkDir, s.TempDir}, s.ReadWrite...) {
		if p != "" && slices.ContainsFunc(s.Hidden, func(h string) bool { return within(filepath.Clean(p), h) }) {
			return &Error{Step: "read the specification", Err: fmt.Errorf("%s holds what the job must not have", p)}
		}
	}
	var problem string
	switch p := s.Plan; {
	case p.Confines() && s.WorkDir == "":
		problem = "no work directory"
	case p.UID && !p.View:
		problem = "a user of its own needs a private mount view"
	case p.UID && (s.UID <= 0 || s.GID <= 0):
		problem = "no user and group"
	case len(s.WorkAt) > 0 && !p.View:
		problem = "the work directory shows at other paths in a private mount view only"
	case s.HideNetwork && !p.View:
		problem = "the network is hidden together with a private mount view only"
	case s.TCP != nil && !p.Landlock:
		problem = "TCP ports are restricted by Landlock only"
	default:
		return nil
	}
	return &Error{Step: "read the specification", Err: errors.New(problem)}
}

// idle tells whether there is nothing to do for the command.
func (s Spec) idle() bool { return !s.Plan.Confines() && s.Limits == Limits{} }
