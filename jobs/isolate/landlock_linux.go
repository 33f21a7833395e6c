package isolate

import (
	"errors"
	"io/fs"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// leastABI is the first Landlock that keeps a job from changing foreign files:
// before it (Linux 6.2), truncate(2) is allowed everywhere.
const leastABI = 3

// Rights on files, of which a ruleset takes those that its kernel knows.
const (
	fileRights = unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_WRITE_FILE |
		unix.LANDLOCK_ACCESS_FS_TRUNCATE | unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
	readRights = unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_READ_DIR
	nodeRights = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_READ_DIR |
		unix.LANDLOCK_ACCESS_FS_TRUNCATE | unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
)

// allRights returns every right on files that a version of Landlock knows.
func allRights(abi int) uint64 {
	rights := uint64(unix.LANDLOCK_ACCESS_FS_MAKE_SYM<<1 - 1) // ABI 1: up to making symlinks
	for since, right := range map[int]uint64{
		2: unix.LANDLOCK_ACCESS_FS_REFER, 3: unix.LANDLOCK_ACCESS_FS_TRUNCATE, 5: unix.LANDLOCK_ACCESS_FS_IOCTL_DEV,
	} {
		if abi >= since {
			rights |= right
		}
	}
	return rights
}

// landlockABI returns the version of the kernel's Landlock, at least 1.
func landlockABI() (int, error) {
	abi, _, errno := unix.RawSyscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return 0, errno
	}
	return int(abi), nil
}

// ruleset is a set of Landlock rules that grows until it is enforced.
type ruleset struct {
	fd      int
	handled uint64 // rights on files that are refused but for rules
}

// newRuleset begins rules that refuse everything the kernel can refuse: all of
// the files, and, if they are asked for, TCP ports; signals and abstract sockets
// to processes outside.
func newRuleset(tcp bool) (*ruleset, error) {
	abi, err := landlockABI()
	if err != nil {
		return nil, &Error{Step: "use landlock", Err: err}
	}
	if abi < leastABI || tcp && abi < 4 {
		return nil, &Error{Step: "use landlock", Err: errors.New("this kernel's is too old")}
	}
	attr := unix.LandlockRulesetAttr{Access_fs: allRights(abi)}
	size := unsafe.Sizeof(attr.Access_fs) // as ABI 1 to 3 know it
	if abi >= 4 {
		size += unsafe.Sizeof(attr.Access_net)
		if tcp {
			attr.Access_net = unix.LANDLOCK_ACCESS_NET_BIND_TCP | unix.LANDLOCK_ACCESS_NET_CONNECT_TCP
		}
	}
	if abi >= 6 {
		size += unsafe.Sizeof(attr.Scoped)
		attr.Scoped = unix.LANDLOCK_SCOPE_SIGNAL | unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET
	}
	fd, _, errno := unix.RawSyscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), size, 0)
	if errno != 0 {
		return nil, &Error{Step: "make landlock rules", Err: errno}
	}
	return &ruleset{fd: int(fd), handled: attr.Access_fs}, nil
}

// allow gives rights on a path and what lies below it.
func (r *ruleset) allow(path string, rights uint64) error {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return &Error{Step: "open " + path, Err: err}
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return &Error{Step: "look at " + path, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		rights &= fileRights
	}
	attr := unix.LandlockPathBeneathAttr{Allowed_access: rights & r.handled, Parent_fd: int32(fd)}
	_, _, errno := unix.RawSyscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(r.fd), unix.LANDLOCK_RULE_PATH_BENEATH,
		uintptr(unsafe.Pointer(&attr)), 0, 0, 0)
	if errno != 0 {
		return &Error{Step: "allow " + path, Err: errno}
	}
	return nil
}

// portRule is struct landlock_net_port_attr.
type portRule struct{ access, port uint64 }

// ruleNetPort is LANDLOCK_RULE_NET_PORT.
const ruleNetPort = 2

// allowPorts gives a right on TCP ports.
func (r *ruleset) allowPorts(ports []uint16, right uint64) error {
	for _, p := range ports {
		attr := portRule{access: right, port: uint64(p)}
		_, _, errno := unix.RawSyscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(r.fd), ruleNetPort, uintptr(unsafe.Pointer(&attr)), 0, 0, 0)
		if errno != 0 {
			return &Error{Step: "allow a TCP port", Err: errno}
		}
	}
	return nil
}

// enforce confines the calling thread, and what it executes, for ever. It needs
// no_new_privs.
func (r *ruleset) enforce() error {
	_, _, errno := unix.RawSyscall(unix.SYS_LANDLOCK_RESTRICT_SELF, uintptr(r.fd), 0, 0)
	if errno != 0 {
		return &Error{Step: "enforce landlock", Err: errno}
	}
	return nil
}

// rules opens the rules of a specification.
func (s Spec) rules() (*ruleset, error) {
	r, err := newRuleset(s.TCP != nil)
	if err != nil {
		return nil, err
	}
	readable, err := s.readable()
	if err != nil {
		return nil, err
	}
	for _, path := range readable {
		if err := r.allow(path, readRights); err != nil {
			return nil, err
		}
	}
	for _, path := range devices() {
		if err := r.allow(path, nodeRights); err != nil && !errors.Is(err, fs.ErrPermission) {
			return nil, err
		}
	}
	// Shared memory: libraries for training can't do without.
	if err := r.allow("/dev/shm", r.handled); err != nil && !errors.Is(err, syscall.ENOENT) {
		return nil, err
	}
	for _, path := range s.changeable() {
		if err := r.allow(path, r.handled); err != nil {
			return nil, err
		}
	}
	if s.TCP != nil {
		if err := r.allowPorts(s.TCP.Connect, unix.LANDLOCK_ACCESS_NET_CONNECT_TCP); err != nil {
			return nil, err
		}
		if err := r.allowPorts(s.TCP.Bind, unix.LANDLOCK_ACCESS_NET_BIND_TCP); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// changeable returns the directories that are the command's to change.
func (s Spec) changeable() []string {
	var paths []string
	for _, p := range append([]string{s.WorkDir, s.TempDir}, s.ReadWrite...) {
		if p != "" {
			paths = append(paths, p)
		}
	}
	if s.Plan.View {
		paths = append(paths, s.WorkAt...)
		paths = append(paths, viewTemp)
	}
	return paths
}
