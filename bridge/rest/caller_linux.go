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
	pidfd, old := -1, false
	cerr := rc.Control(func(fd uintptr) {
		var cred *unix.Ucred
		if cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err != nil {
			return
		}
		c.UID, c.GID, c.PID = int(cred.Uid), int(cred.Gid), int(cred.Pid)
		// Since Linux 6.5: of the very process, even if its id is another's by now.
		if pidfd, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PEERPIDFD); err != nil {
			pidfd, old, err = -1, errors.Is(err, unix.ENOPROTOOPT), nil // else it has ended
		}
	})
	if err = errors.Join(err, cerr); err != nil {
		return c, nil, err
	}
	if old && c.PID > 0 {
		// The next best: whoever has the id now. In the blink since the
		// connection was made the id would have to be given away.
		if pidfd, err = unix.PidfdOpen(c.PID, 0); err != nil {
			pidfd = -1
		}
	}
	c.ended = func() bool { return pidfd < 0 || hasEnded(pidfd) }
	return c, func() {
		if pidfd >= 0 {
			unix.Close(pidfd) // it was only looked at
		}
	}, nil
}

// hasEnded tells whether the process of a pidfd has ended: then it can be read.
func hasEnded(pidfd int) bool {
	fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds, 0)
		if !errors.Is(err, unix.EINTR) {
			return err != nil || n > 0
		}
	}
}
