package rest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"syscall"
)

// ErrCaller is the refusal of a process that has no business on a socket.
var ErrCaller = errors.New("this process may not use the socket")

// Caller is the process that connected to a socket, as the system knows it and
// not as it says. A process that it hands its connection to speaks for it.
type Caller struct {
	UID int // -1: the system does not tell
	GID int // -1: the system does not tell
	PID int // 0: the system does not tell, or it can't be seen from here
	// ended tells whether the process has ended, after which its id may be
	// another's; nil where the system can't tell.
	ended func() bool
}

// Look calls f with the process's id and returns its answer, if the id was the
// caller's all the time. The error is f's, or says that the process can't be
// known or has ended.
func (c Caller) Look(f func(pid int) (bool, error)) (bool, error) {
	if c.PID <= 0 {
		return false, errors.New("the process can't be seen from here")
	}
	yes, err := f(c.PID)
	if c.ended != nil && c.ended() {
		return false, errors.New("the process has ended")
	}
	return yes, err
}

// callerKey is the key of a connection's refusal in its context.
type callerKey struct{}

// judgeCaller decides, when a connection is made, whether its requests are
// answered: a later look at its process could meet another one.
func (h *Handler) judgeCaller(ctx context.Context, conn net.Conn) context.Context {
	if h.conf.Caller == nil {
		return ctx
	}
	return judge(ctx, conn, h.conf.Caller, h.log)
}

// judge returns the context of a connection, which says whether check refused
// its caller.
func judge(ctx context.Context, conn net.Conn, check func(Caller) error, log *slog.Logger) context.Context {
	c, release, err := callerOf(conn)
	if err == nil {
		err = check(c)
		release()
	}
	if err == nil {
		return ctx
	}
	log.Warn("caller refused", slog.Int("uid", c.UID), slog.Int("pid", c.PID), slog.Any("err", err))
	if !errors.Is(err, ErrCaller) {
		err = fmt.Errorf("%w: %w", ErrCaller, err)
	}
	return context.WithValue(ctx, callerKey{}, err)
}

// Guard has a server of a Unix socket ask check who connects, once a connection.
// Requests of those whom it refuses go to refuse, with an error that wraps
// ErrCaller, in the place of the server's handler.
func Guard(srv *http.Server, log *slog.Logger, check func(Caller) error, refuse func(http.ResponseWriter, error)) {
	serve := srv.Handler
	srv.ConnContext = func(ctx context.Context, conn net.Conn) context.Context { return judge(ctx, conn, check, log) }
	srv.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := refusal(r); err != nil {
			refuse(w, err)
			return
		}
		serve.ServeHTTP(w, r)
	})
}

// refusal returns why the caller of a request gets no answer but this, nil if
// it gets one.
func refusal(r *http.Request) error {
	err, refused := r.Context().Value(callerKey{}).(error)
	if !refused {
		return nil
	}
	return err
}

// raw returns the system's handle of a connection that this package accepted.
func raw(conn net.Conn) (syscall.RawConn, error) {
	if s, ok := conn.(*slotConn); ok {
		conn = s.Conn
	}
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return nil, fmt.Errorf("peer of %T: %w", conn, errors.ErrUnsupported)
	}
	return sc.SyscallConn()
}

// everyone undoes what Listen does to a listener: with Config.Caller, who is let
// in is that function's affair.
func everyone(l net.Listener) net.Listener {
	if u, ok := l.(*userListener); ok {
		return u.Listener
	}
	return l
}
