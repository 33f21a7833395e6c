//go:build !linux && !darwin

package rest

import (
	"errors"
	"net"
	"syscall"
)

const maxSocketPath = 103 // the least of the systems we know

// narrow does nothing where a nameless socket has no mode; the directory's 0700 counts.
func narrow(_, _ string, _ syscall.RawConn) error { return nil }

// peerUID can't tell here.
func peerUID(net.Conn) (int, error) { return -1, errors.ErrUnsupported }
