package rest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// MaxSocketPath is how long the path of a socket may be, in bytes: what
// sockaddr_un holds, without the terminating zero (Linux 108, macOS 104).
const MaxSocketPath = maxSocketPath

// Errors of Listen.
var (
	// ErrSocketPath says that a socket can't be at its path.
	ErrSocketPath = errors.New("unusable socket path")
	// ErrSocketInUse says that another process answers on the socket.
	ErrSocketInUse = errors.New("socket is in use")
)

// Listen makes a Unix socket of mode 0600 at path, an absolute path of at most
// MaxSocketPath bytes in a directory of mode 0700 that belongs to this user. A
// socket that nobody listens on any more is replaced; one that is alive is
// ErrSocketInUse. Connections of other users are closed unanswered. Closing the
// listener removes the socket.
func Listen(ctx context.Context, path string) (net.Listener, error) {
	if err := CheckSocketPath(path); err != nil {
		return nil, err
	}
	if err := checkSocketDir(filepath.Dir(path)); err != nil {
		return nil, err
	}
	l, err := bind(ctx, path)
	if errors.Is(err, syscall.EADDRINUSE) {
		if err = removeStale(ctx, path); err == nil {
			l, err = bind(ctx, path)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	return &userListener{Listener: l, uid: os.Geteuid()}, nil
}

// CheckSocketPath tells, before anything is made, whether a socket can be at path.
func CheckSocketPath(path string) error {
	switch {
	case !filepath.IsAbs(path):
		return fmt.Errorf("%w: %q is not absolute", ErrSocketPath, path)
	case len(path) > MaxSocketPath:
		return fmt.Errorf("%w: %q has %d bytes, the system allows %d", ErrSocketPath, path, len(path), MaxSocketPath)
	}
	return nil
}

// checkSocketDir refuses a directory that others can enter: the mode of a
// socket alone is not honoured everywhere.
func checkSocketDir(dir string) error {
	info, err := os.Lstat(dir)
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", ErrSocketPath, err)
	case !info.IsDir():
		return fmt.Errorf("%w: %s is no directory", ErrSocketPath, dir)
	case info.Mode().Perm()&0o077 != 0:
		return fmt.Errorf("%w: %s has mode %v, others must not enter it", ErrSocketPath, dir, info.Mode().Perm())
	case !ownedByUs(info):
		return fmt.Errorf("%w: %s belongs to another user", ErrSocketPath, dir)
	}
	return nil
}

// bind makes the socket.
func bind(ctx context.Context, path string) (net.Listener, error) {
	conf := net.ListenConfig{Control: narrow}
	return conf.Listen(ctx, "unix", path)
}

// removeStale removes a socket that refuses connections. Anything else that has
// the name stays: it is not ours to remove.
func removeStale(ctx context.Context, path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%w: there is a file, not a socket", ErrSocketPath)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second) // a full backlog is a live socket
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", path)
	if err == nil {
		return errors.Join(ErrSocketInUse, conn.Close())
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("%w: %w", ErrSocketInUse, err)
	}
	return os.Remove(path)
}

// userListener hands out connections of one user only.
type userListener struct {
	net.Listener
	uid int
}

// Accept waits for the next connection of the user.
func (l *userListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		uid, err := peerUID(conn)
		if err == nil && uid == l.uid {
			return conn, nil
		}
		if errors.Is(err, errors.ErrUnsupported) {
			return conn, nil // the mode of the directory is all there is
		}
		_ = conn.Close() // a stranger's
	}
}

// limitConns bounds the open connections of l. One more gets an answer that
// says so, and is closed: waiting in the backlog would look like a dead node.
func limitConns(l net.Listener, most int) net.Listener {
	return &limitListener{Listener: l, slots: make(chan struct{}, most)}
}

type limitListener struct {
	net.Listener
	slots chan struct{}
}

// busy is the answer to a connection too many, whatever it asks.
const busy = "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 1\r\nConnection: close\r\n" +
	"Content-Length: 58\r\n\r\n" + `{"error":"busy","detail":"too many connections are open"}` + "\n"

// Accept waits for the next connection that has a slot.
func (l *limitListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		select {
		case l.slots <- struct{}{}:
			return &slotConn{Conn: conn, free: sync.OnceFunc(func() { <-l.slots })}, nil
		default:
		}
		// The fresh socket's buffer takes the answer; the deadline is for the case that it does not.
		err = errors.Join(conn.SetDeadline(time.Now().Add(100*time.Millisecond)), writeAll(conn, busy))
		//nolint:errcheck // refused anyway
		_ = errors.Join(err, conn.Close())
	}
}

// writeAll writes s.
func writeAll(conn net.Conn, s string) error {
	_, err := conn.Write([]byte(s))
	return err
}

// slotConn gives its slot back when it is closed.
type slotConn struct {
	net.Conn
	free func()
}

// Close closes the connection.
func (c *slotConn) Close() error {
	defer c.free()
	return c.Conn.Close()
}
