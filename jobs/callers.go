package jobs

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"

	"github.com/hypha-node/hypha-node/bridge/rest"
	"github.com/hypha-node/hypha-node/jobs/isolate"
)

// callers decides who may use a job's socket:
//
//  1. the node itself, and a process of the job: one of the session or of the
//     process group that its command leads, or with the run's mark in the
//     environment that it was started with, in whatever session; or of the user
//     that the job has for itself;
//  2. any other confined process: never. It belongs to another job, or has thrown
//     away all that it could be known by;
//  3. root, in its own cause;
//  4. of a job whose command the node does not run: everybody of the node's user.
//
// Processes are held by a handle while they are looked at, so that a reused id
// does not pass. Where the system tells no process, the user decides.
type callers struct {
	supervised bool                        // the node runs the job's command
	mark       string                      // of a job without a command: what its processes may be marked with; "": nothing
	uid        atomic.Int64                // whom the command runs as, if that is its own user; 0: it is not
	tree       atomic.Pointer[processTree] // of the command, while it runs
}

// admit returns nil for who may, and why not for others.
func (c *callers) admit(who rest.Caller) error {
	if who.UID < 0 || who.PID == 0 && who.UID == os.Geteuid() {
		return nil // the mode of the socket is all there is
	}
	if own := c.uid.Load(); own > 0 && who.UID == int(own) {
		return nil
	}
	var confined bool
	ours, err := who.Look(func(pid int) (bool, error) {
		if pid == os.Getpid() || c.has(pid) {
			return true, nil
		}
		var err error
		confined, err = isolate.Confined(pid)
		return false, err
	})
	switch {
	case err != nil:
		return err
	case ours:
		return nil
	case who.UID != os.Geteuid() && who.UID != 0:
		return fmt.Errorf("user %d is none of the job's", who.UID)
	case confined:
		return errors.New("it belongs to another job")
	case who.UID == 0 || !c.supervised:
		return nil
	}
	return errors.New("it is none of the job's processes")
}

// has tells whether a process is one of the job's.
func (c *callers) has(pid int) bool {
	if t := c.tree.Load(); t != nil && t.member(pid) {
		return true
	}
	return c.mark != "" && processTree{cookie: c.mark}.member(pid)
}

// knows has the bridge of a job know the processes of its run, until the
// returned function is called.
func (s *Supervisor) knows(id string, t processTree) (forget func()) {
	s.mu.Lock()
	sv := s.serving[id]
	s.mu.Unlock()
	if sv == nil {
		return func() {}
	}
	sv.callers.tree.Store(&t)
	return func() {
		sv.callers.tree.Store(nil)
		sv.callers.uid.Store(0)
	}
}

// knowsUser has the bridge of a job know whom its command runs as.
func (s *Supervisor) knowsUser(id string, uid int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if sv := s.serving[id]; sv != nil {
		sv.callers.uid.Store(int64(uid))
	}
}
