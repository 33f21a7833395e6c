package rest

import (
	"errors"
	"fmt"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

const maxSocketPath = 103 // unix(4): 104 bytes with the terminating zero

// narrow does nothing: this system can't change the mode of a socket without a
// name. The directory's 0700 keeps others out, and so does peerUID.
func narrow(_, _ string, _ syscall.RawConn) error { return nil }

// peerUID returns the user who connected.
func peerUID(conn net.Conn) (int, error) {
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return -1, fmt.Errorf("peer of %T: %w", conn, errors.ErrUnsupported)
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return -1, err
	}
	var cred *unix.Xucred
	if cerr := raw.Control(func(fd uintptr) {
		cred, err = unix.GetsockoptXucred(int(fd), unix.SOL_LOCAL, unix.LOCAL_PEERCRED)
	}); cerr != nil || err != nil {
		return -1, errors.Join(cerr, err)
	}
	return int(cred.Uid), nil
}
