package isolate

import (
	"errors"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// lastCap bounds the capabilities that any kernel has: they are a set of 64 bits.
const lastCap = 63

// rootKeeps are the capabilities of a command that runs as root: those about the
// modes of files. Which files those are is the walls' affair.
const rootKeeps = 1<<unix.CAP_CHOWN | 1<<unix.CAP_DAC_OVERRIDE | 1<<unix.CAP_FOWNER | 1<<unix.CAP_FSETID

// dropPrivileges changes the user, if s says so, and gives up what power there
// is, for ever.
func (s Spec) dropPrivileges() error {
	keep := uint64(0)
	if os.Geteuid() == 0 && !s.Plan.UID {
		keep = rootKeeps
	}
	if err := dropBounding(keep); err != nil {
		return err
	}
	if s.Plan.UID {
		if err := s.becomeUser(); err != nil {
			return err
		}
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return &Error{Step: "set no_new_privs", Err: err}
	}
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil && !errors.Is(err, unix.EINVAL) {
		return &Error{Step: "clear capabilities", Err: err}
	}
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	if err := unix.Capget(&head, &sets[0]); err != nil {
		return &Error{Step: "read capabilities", Err: err}
	}
	for i := range sets {
		sets[i].Permitted &= uint32(keep >> (32 * i))
		sets[i].Effective &= sets[i].Permitted
		sets[i].Inheritable = 0
	}
	if err := unix.Capset(&head, &sets[0]); err != nil {
		return &Error{Step: "drop capabilities", Err: err}
	}
	return nil
}

// dropBounding sees to it that no program can bring capabilities back. Without
// the power to do so there is none that could be brought back: no_new_privs.
func dropBounding(keep uint64) error {
	for c := range uintptr(lastCap + 1) {
		if keep>>c&1 == 1 {
			continue
		}
		err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0)
		if errors.Is(err, unix.EINVAL) { // the kernel has no such one
			return nil
		}
		if errors.Is(err, unix.EPERM) && os.Geteuid() != 0 {
			return nil
		}
		if err != nil {
			return &Error{Step: "drop capabilities", Err: err}
		}
	}
	return nil
}

// becomeUser changes the user and the groups.
func (s Spec) becomeUser() error {
	if err := syscall.Setgroups(s.Groups); err != nil {
		return &Error{Step: "set groups", Err: err}
	}
	if err := syscall.Setresgid(s.GID, s.GID, s.GID); err != nil {
		return &Error{Step: "become the job's group", Err: err}
	}
	if err := syscall.Setresuid(s.UID, s.UID, s.UID); err != nil {
		return &Error{Step: "become the job's user", Err: err}
	}
	return nil
}

// limit sets the resource limits. It comes last: they bind this process too.
func (s Spec) limit() error {
	limits := []struct {
		name     string
		resource int
		value    uint64
	}{
		{"open files", unix.RLIMIT_NOFILE, s.Limits.OpenFiles},
		{"size of a file", unix.RLIMIT_FSIZE, s.Limits.FileSize},
		{"processes", unix.RLIMIT_NPROC, s.Limits.Processes},
		{"address space", unix.RLIMIT_AS, s.Limits.AddressSpace},
	}
	if err := setLimit("core dumps", unix.RLIMIT_CORE, 0); err != nil {
		return err
	}
	if s.Plan.Confines() {
		if err := mark(); err != nil {
			return err
		}
	}
	for _, l := range limits {
		if l.value == 0 {
			continue
		}
		if err := setLimit(l.name, l.resource, l.value); err != nil {
			return err
		}
	}
	return nil
}

// setLimit sets a limit, unless a lower one is in force.
func setLimit(name string, resource int, value uint64) error {
	var now unix.Rlimit
	if err := unix.Getrlimit(resource, &now); err != nil {
		return &Error{Step: "read the limit of " + name, Err: err}
	}
	value = min(value, now.Max)
	if err := unix.Setrlimit(resource, &unix.Rlimit{Cur: value, Max: value}); err != nil {
		return &Error{Step: "limit " + name, Err: err}
	}
	return nil
}

// mark lowers a limit that stops nobody, the time that a real-time thread may
// run without a pause: half a million years less one microsecond. A process can
// lower such a limit, never raise it, and hands it on to its children. That
// makes it a mark that can't be washed off.
func mark() error {
	var own unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_RTTIME, &own); err != nil {
		return &Error{Step: "read the mark", Err: err}
	}
	return setLimit("real-time threads", unix.RLIMIT_RTTIME, own.Max-1)
}

// Confined tells whether a process was confined by Start, here or in another
// process of this machine, or descends from one that was. The caller sees to it
// that pid still is the process it means.
func Confined(pid int) (bool, error) {
	var own unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_RTTIME, &own); err != nil {
		return false, err
	}
	// prlimit(2) would need CAP_SYS_RESOURCE for processes of other users.
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/limits")
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat("/proc/self/limits"); err != nil {
			return false, nil // without /proc nothing was confined
		}
	}
	if err != nil {
		return false, err
	}
	hard, err := realTimeLimit(string(text))
	return hard < own.Max, err
}

// realTimeLimit reads the hard limit of real-time threads, in microseconds, out
// of the text of proc_pid_limits(5).
func realTimeLimit(text string) (uint64, error) {
	for line := range strings.Lines(text) {
		rest, ok := strings.CutPrefix(line, "Max realtime timeout")
		if fields := strings.Fields(rest); ok && len(fields) >= 2 {
			if fields[1] == "unlimited" {
				return unix.RLIM_INFINITY, nil
			}
			return strconv.ParseUint(fields[1], 10, 64)
		}
	}
	return 0, errors.New("the limits of a process name no real-time limit")
}

// loopback brings up the only interface of a new network namespace.
func loopback() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return &Error{Step: "bring loopback up", Err: err}
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq("lo")
	if err != nil {
		return &Error{Step: "bring loopback up", Err: err}
	}
	req.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, req); err != nil {
		return &Error{Step: "bring loopback up", Err: err}
	}
	return nil
}
