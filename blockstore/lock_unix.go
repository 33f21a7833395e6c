//go:build unix

package blockstore

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// lockRepo takes the repository's lock, which ends with the process at the
// latest. Its file says who holds it, for whoever finds it taken.
func lockRepo(dir, holder string) (_ *os.File, err error) {
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, inUse(dir, f)
	}
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	if holder == "" {
		holder = "another process"
	}
	holder = strings.Map(func(r rune) rune {
		if r < ' ' {
			return ' '
		}
		return r
	}, holder)
	// Best effort: the lock is held whether or not its file says by whom.
	if err := f.Truncate(0); err == nil {
		_, _ = f.WriteAt(fmt.Appendf(nil, "%s, pid %d\n", holder, os.Getpid()), 0) //nolint:errcheck // see above
	}
	return f, nil
}

// inUse says who holds the lock.
func inUse(dir string, f io.Reader) error {
	b, err := io.ReadAll(io.LimitReader(f, 256))
	by := strings.TrimSpace(strings.ToValidUTF8(string(b), "?"))
	if err != nil || by == "" {
		by = "another process"
	}
	return fmt.Errorf("repository %s is in use by %s%w", dir, by, quiet{ErrInUse})
}

// quiet is an error whose text the sentence around it has said already.
type quiet struct{ err error }

func (quiet) Error() string   { return "" }
func (q quiet) Unwrap() error { return q.err }

func unlockRepo(f *os.File) error {
	if f == nil {
		return nil
	}
	// The file stays: removing it would let two processes lock two files of
	// the same name.
	return errors.Join(f.Truncate(0), f.Close())
}
