package bridge

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
)

// Errors of this package. Those of the connectors and of the store pass through.
var (
	// ErrInvalidPath says that a job may not use a path.
	ErrInvalidPath = errors.New("invalid path")
	// ErrClosed says that the job ends: what was running was cancelled.
	ErrClosed = errors.New("job is shutting down")
	// ErrTooMany says that a reference stands for more files than one request may bring.
	ErrTooMany = errors.New("too many files")
	// ErrNotFound says that there is no such file to send or put, or no such transfer.
	ErrNotFound = errors.New("not found")
	// ErrConflict says that a file changed while it was read.
	ErrConflict = errors.New("conflict")
	// ErrQuota says that one of the job's Limits is reached.
	ErrQuota = errors.New("quota exceeded")
	// ErrBusy says that too much is under way; asking again later is right.
	ErrBusy = errors.New("busy")
	// ErrOffline says that the node has no network.
	ErrOffline = errors.New("node is offline")
	// ErrCancelled says that a transfer was ended by Cancel.
	ErrCancelled = errors.New("transfer was cancelled")
)

// SendError says that a file did not reach all the peers that it should have.
type SendError struct {
	Results []Delivered // of every peer that was tried, in the order of the request; never nil
	Err     error       // of the first peer that failed; context.DeadlineExceeded when the time was up
}

// Error returns how many failed, and the first reason.
func (e *SendError) Error() string {
	missing := 0
	for _, d := range e.Results {
		if d.Status != delivered {
			missing++
		}
	}
	return fmt.Sprintf("%d of %d deliveries failed: %v", missing, len(e.Results), e.Err)
}

// Unwrap returns the first reason.
func (e *SendError) Unwrap() error { return e.Err }

// PathError says which path was refused and why. It is an ErrInvalidPath.
type PathError struct {
	Path string // as the request or the source gave it: print it with %q only
	Err  error  // why
}

// Error returns "invalid path "…": why".
func (e *PathError) Error() string {
	return fmt.Sprintf("%v %q: %v", ErrInvalidPath, clip(e.Path), e.Err)
}

// Is makes every PathError an ErrInvalidPath.
func (e *PathError) Is(target error) bool { return target == ErrInvalidPath }

// Unwrap returns the reason.
func (e *PathError) Unwrap() error { return e.Err }

// FetchError says which file of a request failed. Files that were finished
// before stay in the work directory.
type FetchError struct {
	Path      string   // of the file that failed, relative to the work directory; "" if none was known yet
	Completed []Result // finished files in the order of the request, not nil
	Err       error
}

// Error returns the cause's message, which names the file.
func (e *FetchError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *FetchError) Unwrap() error { return e.Err }

// clip shortens an outside name for a message.
func clip(s string) string {
	const most = 256 // bytes: enough to recognise the name
	if len(s) <= most {
		return s
	}
	return s[:most] + "…"
}

// pathError makes a PathError of a file system's refusal, unless the failure is
// the machine's and not the path's.
func pathError(name string, err error) error {
	if err == nil {
		return nil
	}
	machine := []error{
		fs.ErrNotExist, fs.ErrPermission, fs.ErrClosed,
		syscall.ENOSPC, syscall.EDQUOT, syscall.EIO, syscall.EROFS,
		syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM,
	}
	for _, m := range machine {
		if errors.Is(err, m) {
			return err
		}
	}
	if _, ok := errors.AsType[*PathError](err); ok {
		return err
	}
	return &PathError{Path: name, Err: err}
}
