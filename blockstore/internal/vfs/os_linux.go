package vfs

import (
	"errors"

	"golang.org/x/sys/unix"
)

// retry repeats a system call that a signal interrupted.
func retry(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// unsupported tells that the file system has no such operation.
func unsupported(err error) bool {
	return errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EINVAL)
}

func (f *osFile) Sync() error {
	fd := int(f.f.Fd())
	return f.failed("fdatasync", retry(func() error { return unix.Fdatasync(fd) }))
}

func (f *osFile) Flush(off, n int64) error {
	fd := int(f.f.Fd())
	err := retry(func() error { return unix.SyncFileRange(fd, off, n, unix.SYNC_FILE_RANGE_WRITE) })
	if unsupported(err) {
		return nil
	}
	return f.failed("sync_file_range", err)
}

func (f *osFile) Allocate(n int64) error {
	if n <= 0 {
		return nil
	}
	fd := int(f.f.Fd())
	err := retry(func() error { return unix.Fallocate(fd, unix.FALLOC_FL_KEEP_SIZE, 0, n) })
	if unsupported(err) {
		return nil
	}
	return f.failed("fallocate", err)
}

func (f *osFile) Punch(off, n int64) error {
	fd := int(f.f.Fd())
	err := retry(func() error {
		return unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, n)
	})
	if unsupported(err) {
		return errors.ErrUnsupported
	}
	return f.failed("fallocate", err)
}
