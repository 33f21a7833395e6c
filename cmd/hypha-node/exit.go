package main

import (
	"errors"
	"io/fs"
	"strings"
	"syscall"

	"github.com/hypha-node/hypha-node/api/control"
	"github.com/hypha-node/hypha-node/bitswap"
	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/connectors"
	"github.com/hypha-node/hypha-node/internal/humanize"
)

// Exit codes. `job run` passes on that of its command instead.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitNotFound    = 3
	exitNoDaemon    = 4   // it needs a daemon, or a daemon with a network
	exitInterrupted = 130 // SIGINT, as shells say it
	exitTerminated  = 143 // SIGTERM
	exitPipe        = 141 // the reader of the output went away
)

// failure is an error with what the command line says about it.
type failure struct {
	code  int
	err   error
	hint  string
	quiet bool // everything was said already
}

// Error returns the cause's text.
func (f *failure) Error() string { return f.err.Error() }

// Unwrap returns the cause.
func (f *failure) Unwrap() error { return f.err }

// classify returns how a command failed; nil if it did not.
func classify(err error) *failure {
	if err == nil {
		return nil
	}
	if f, ok := errors.AsType[*failure](err); ok {
		return f
	}
	if s, ok := errors.AsType[signalled](err); ok {
		if s.Signal == syscall.SIGTERM {
			return &failure{code: exitTerminated, err: err, quiet: true}
		}
		return &failure{code: exitInterrupted, err: err, quiet: true}
	}
	f := &failure{code: exitFailed, err: err}
	switch e, ours := errors.AsType[*control.Error](err); {
	case errors.Is(err, syscall.EPIPE):
		f.code, f.quiet = exitPipe, true
	case ours:
		f.code, f.hint = codeOf(e), e.Hint
	case errors.Is(err, control.ErrNoDaemon):
		f.code, f.hint = exitNoDaemon, "start `hypha-node daemon`"
	case errors.Is(err, blockstore.ErrInUse):
		f.hint = "commands share a daemon's repository; others have it to themselves until they end"
	case strings.Contains(err.Error(), syscall.EADDRINUSE.Error()): // libp2p hands on the text alone
		f.hint = "another program has the port: `daemon --listen /ip4/0.0.0.0/tcp/0` takes a free one"
	case errors.Is(err, bitswap.ErrNoSwarmKey):
		f.hint = hintSwarmKey
	case errors.Is(err, bitswap.ErrPrivate):
		f.hint = "leave out --public (HYPHA_PUBLIC, `config set public`), or take swarm.key out of the repository"
	case errors.Is(err, blockstore.ErrVersion):
		f.hint = "install a newer hypha-node"
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, connectors.ErrNotFound):
		f.code = exitNotFound
	case errors.Is(err, connectors.ErrInvalid):
		f.code = exitUsage
	}
	if e, ok := errors.AsType[*connectors.Error](err); ok && f.hint == "" {
		f.hint = e.Hint
	}
	return f
}

// codeOf returns the exit code of a failed operation.
func codeOf(e *control.Error) int {
	switch e.Code {
	case control.CodeInvalid:
		return exitUsage
	case control.CodeNotFound, control.CodeTimeout:
		return exitNotFound
	case control.CodeOffline:
		return exitNoDaemon
	}
	return exitFailed
}

// escapeLines makes text harmless and keeps its line breaks, indented so that
// no line can pass for one of ours.
func escapeLines(s string) string {
	lines := strings.Split(strings.TrimRight(s, "\n"), "\n")
	for i := range lines {
		lines[i] = humanize.Escape(lines[i])
	}
	return strings.Join(lines, "\n  ")
}
