package isolate

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The launcher's descriptors: exec.Cmd.ExtraFiles begin at 3.
const (
	orderFD   = 3
	outcomeFD = 4
	ownersAt  = 5 // with Plan.UID: a user namespace
)

// patience is how long a launcher may go on when its context has ended.
const patience = 10 * time.Second

// Start starts cmd, which is complete but for its process attributes, as the
// leader of a session of its own and within s. When it returns without an error
// the command itself runs; with one, it never will. An error of executing it is
// as exec.Cmd.Start has it; all others are *Error. ctx does not end the command,
// nor a start that goes on as it should.
//
// The program that calls Start must call Enter first thing in its main.
func Start(ctx context.Context, cmd *exec.Cmd, s Spec) error {
	if err := s.check(); err != nil {
		return err
	}
	if s.idle() {
		ownSession(cmd)
		return cmd.Start()
	}
	return launch(ctx, cmd, s, false)
}

// launch starts the launcher with an order to run cmd.
func launch(ctx context.Context, cmd *exec.Cmd, s Spec, probe bool) (err error) {
	if cmd.Err != nil {
		return cmd.Err
	}
	o := order{Spec: s, Path: cmd.Path, Args: cmd.Args, Env: cmd.Environ(), Dir: cmd.Dir, Probe: probe}
	if s.Plan.Confines() {
		o.Env = s.environ(o.Env)
	}
	in, err := o.file()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	r, w, err := os.Pipe()
	if err != nil {
		return &Error{Step: "make a pipe", Err: err}
	}
	defer r.Close() // it was only read
	cmd.ExtraFiles = []*os.File{in, w}
	if s.Plan.UID {
		owners, err := s.owners(ctx)
		if err != nil {
			return errors.Join(err, w.Close())
		}
		defer owners.Close() // it was only read
		cmd.ExtraFiles = append(cmd.ExtraFiles, owners)
	}
	cmd.Path, cmd.Args, cmd.Env, cmd.Err = "/proc/self/exe", []string{"hypha-node", Verb}, []string{}, nil
	ownSession(cmd)
	s.namespaces(cmd.SysProcAttr)
	err = errors.Join(cmd.Start(), w.Close())
	if cmd.Process == nil {
		return &Error{Step: "start the launcher", Err: err}
	}
	// The launcher ends, or becomes the command, at once; unless a path that it
	// has to open lies on a server that does not answer.
	defer context.AfterFunc(ctx, func() {
		//nolint:errcheck // a pipe has deadlines
		_ = r.SetReadDeadline(time.Now().Add(patience))
	})()
	text, rerr := io.ReadAll(r)
	if err = errors.Join(err, rerr); err == nil {
		err = readOutcome(text, o.Path, s.Plan.Confines())
	} else {
		err = &Error{Step: "start the launcher", Err: errors.Join(err, cmd.Process.Kill())}
	}
	if err != nil {
		//nolint:errcheck // it says that the launcher failed, which is known
		_ = cmd.Wait()
	}
	return err
}

// file returns an open file in memory that holds o.
func (o order) file() (*os.File, error) {
	text, err := json.Marshal(o)
	if err != nil {
		return nil, &Error{Step: "write the specification", Err: err}
	}
	fd, err := unix.MemfdCreate("isolate", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, &Error{Step: "make a file in memory", Err: err}
	}
	f := os.NewFile(uintptr(fd), "isolate")
	if _, err := f.WriteAt(text, 0); err != nil {
		return nil, &Error{Step: "write the specification", Err: errors.Join(err, f.Close())}
	}
	return f, nil
}

// owners returns a user namespace in which this user is the command's: mounts
// that refer to it show the one's files as the other's, and keep what the other
// makes as the one's. The node and the command then both own the work directory,
// and nothing changes on the disk.
func (s Spec) owners(ctx context.Context) (_ *os.File, err error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, &Error{Step: "make a pipe", Err: err}
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	// A namespace needs a process to be made: a launcher that gets no order, and
	// ends when the pipe does.
	cmd := exec.CommandContext(context.WithoutCancel(ctx), "/proc/self/exe", Verb)
	cmd.ExtraFiles, cmd.Env, cmd.Dir = []*os.File{r}, []string{}, "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: os.Geteuid(), HostID: s.UID, Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: os.Getegid(), HostID: s.GID, Size: 1}},
	}
	if err := cmd.Start(); err != nil {
		return nil, &Error{Step: "make a user namespace", Err: errors.Join(err, w.Close())}
	}
	f, err := os.Open("/proc/" + strconv.Itoa(cmd.Process.Pid) + "/ns/user")
	err = errors.Join(err, w.Close())
	//nolint:errcheck // it says that there was no order, which is known
	_ = cmd.Wait()
	if err != nil {
		return nil, &Error{Step: "open a user namespace", Err: err}
	}
	return f, nil
}

// namespaces has a process begin in the namespaces of s. With a user of its own
// it is root who mounts; else it is the owner of a user namespace, in which this
// user keeps its id.
func (s Spec) namespaces(attr *syscall.SysProcAttr) {
	if !s.Plan.View {
		return
	}
	attr.Cloneflags = unix.CLONE_NEWNS
	if s.HideNetwork {
		attr.Cloneflags |= unix.CLONE_NEWNET
	}
	if s.Plan.UID {
		return
	}
	attr.Cloneflags |= unix.CLONE_NEWUSER
	attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: os.Geteuid(), HostID: os.Geteuid(), Size: 1}}
	attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: os.Getegid(), HostID: os.Getegid(), Size: 1}}
	attr.AmbientCaps = []uintptr{unix.CAP_SYS_ADMIN, unix.CAP_NET_ADMIN, unix.CAP_SETPCAP}
}
