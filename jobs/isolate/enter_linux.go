package isolate

import (
	"encoding/json"
	"io"
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// Enter makes this process the command of Start, if it is a launcher; then it
// returns only after a failure, with the code to exit with. A program calls it
// first thing in main: if ours is false the process is no launcher.
func Enter(args []string) (code int, ours bool) {
	if len(args) != 2 || args[1] != Verb {
		return 0, false
	}
	runtime.LockOSThread() // what is applied to a thread stays with who executes
	in, out := os.NewFile(orderFD, "order"), os.NewFile(outcomeFD, "outcome")
	err := unix.CloseRange(3, ^uint(0), unix.CLOSE_RANGE_CLOEXEC)
	if err == nil {
		err = enter(in)
	} else {
		err = &Error{Step: "close files", Err: err}
	}
	if err == nil {
		return 0, true // a probe
	}
	text, merr := json.Marshal(outcomeOf(err))
	if merr != nil {
		return 1, true // with a text of strings and a number it can't fail
	}
	if _, err := out.Write(text); err != nil {
		return 126, true // whoever asked is gone
	}
	return 1, true
}

// enter carries out an order.
func enter(in io.Reader) error {
	text, err := io.ReadAll(in)
	if err != nil {
		return &Error{Step: "read the specification (only hypha-node itself starts this)", Err: err}
	}
	var o order
	if err := json.Unmarshal(text, &o); err != nil {
		return &Error{Step: "read the specification", Err: err}
	}
	if err := o.Spec.apply(); err != nil {
		return err
	}
	if o.Dir == "" && o.Spec.Plan.View {
		o.Dir = o.Spec.WorkDir
	}
	if o.Dir != "" {
		if err := os.Chdir(o.Dir); err != nil {
			return &Error{Step: "enter " + o.Dir, Err: err}
		}
	}
	if err := o.Spec.limit(); err != nil {
		return err
	}
	if o.Probe {
		return nil
	}
	return syscall.Exec(o.Path, o.Args, o.Env)
}

// ownersFD returns the descriptor of how owners show in the view; 0: as they are.
func ownersFD(s Spec) int {
	if s.Plan.UID {
		return ownersAt
	}
	return 0
}

// apply builds the walls around this thread. What needs power comes first.
func (s Spec) apply() error {
	if !s.Plan.Confines() {
		return nil
	}
	if s.HideNetwork {
		if err := loopback(); err != nil {
			return err
		}
	}
	if s.Plan.View {
		if err := s.view(ownersFD(s)); err != nil {
			return err
		}
	}
	var rules *ruleset
	if s.Plan.Landlock {
		var err error
		if rules, err = s.rules(); err != nil {
			return err
		}
	}
	if err := s.dropPrivileges(); err != nil {
		return err
	}
	if rules != nil {
		return rules.enforce()
	}
	return nil
}
