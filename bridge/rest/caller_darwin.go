package rest

import (
	"errors"
	"net"

	"golang.org/x/sys/unix"
)

// callerOf returns who connected. The caller of callerOf calls release.
func callerOf(conn net.Conn) (c Caller, release func(), err error) {
	c = Caller{UID: -1, GID: -1}
	rc, err := raw(conn)
	if err != nil {
		return c, nil, err
	}
	cerr := rc.Control(func(fd uintptr) {
		var cred *unix.Xucred
		if cred, err = unix.GetsockoptXucred(int(fd), unix.SOL_LOCAL, unix.LOCAL_PEERCRED); err == nil {
			c.UID = int(cred.Uid)
		}
		if pid, perr := unix.GetsockoptInt(int(fd), unix.SOL_LOCAL, unix.LOCAL_PEERPID); perr == nil {
			c.PID = pid
		}
	})
	return c, func() {}, errors.Join(err, cerr)
}
