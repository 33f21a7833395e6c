package blockstore

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// fill sets n bytes aside for a file.
func fill(f *os.File, n int64) error {
	err := unix.Fallocate(int(f.Fd()), 0, 0, n)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EINTR) {
		return fillZeros(f, n)
	}
	return err
}
