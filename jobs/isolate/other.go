//go:build unix && !linux

package isolate

import (
	"context"
	"fmt"
	"os/exec"
	"runtime"
)

// Start starts cmd as the leader of a session of its own. This system has no
// isolation: asked for any, or for limits, Start refuses.
func Start(_ context.Context, cmd *exec.Cmd, s Spec) error {
	if err := s.check(); err != nil {
		return err
	}
	if !s.idle() {
		return &Error{Step: "isolate a command", Err: fmt.Errorf("%w on %s", ErrUnavailable, runtime.GOOS)}
	}
	ownSession(cmd)
	return cmd.Start()
}

// Enter has nothing to do here.
func Enter([]string) (code int, ours bool) { return 0, false }

// Probe reports that there is nothing.
func Probe(context.Context, string) Report {
	none := Finding{Reason: "there is no isolation on " + runtime.GOOS}
	return Report{Kernel: runtime.GOOS, Landlock: none, Namespace: none, UID: none}
}

// Choose is Probe and Report.Plan in one.
func Choose(ctx context.Context, m Mode, uidDir string) (p Plan, lacks string, err error) {
	return Probe(ctx, uidDir).Plan(m, uidDir != "")
}

// Confined tells that no process is: none can be.
func Confined(int) (bool, error) { return false, nil }
