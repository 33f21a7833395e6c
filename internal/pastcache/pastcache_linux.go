package pastcache

import (
	"errors"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// reopen opens a file, which may have no name, for writing past the cache; nil where
// that can't be.
func reopen(f *os.File) *os.File {
	past, err := os.OpenFile("/proc/self/fd/"+strconv.Itoa(int(f.Fd())), os.O_RDWR|unix.O_DIRECT, 0)
	if err != nil {
		return nil
	}
	return past
}

// Refused tells whether an error is that of a file system, or of a disk, that wants
// something else.
func Refused(err error) bool {
	return errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP)
}
