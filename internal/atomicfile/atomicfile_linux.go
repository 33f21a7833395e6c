package atomicfile

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// openUnnamed opens a file without a name in d, readable by its owner only.
// It returns errors.ErrUnsupported where the file system has no such files.
func openUnnamed(d *Dir) (*os.File, error) {
	fd, err := ignoringEINTR(func() (int, error) {
		return unix.Openat(int(d.fd.Fd()), ".", unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	})
	switch {
	case err == nil:
		return os.NewFile(uintptr(fd), d.name), nil
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EISDIR), errors.Is(err, unix.ENOENT), errors.Is(err, unix.EINVAL):
		// EISDIR and ENOENT: kernels that don't know the flag; open(2).
		return nil, fmt.Errorf("%w: %w", errors.ErrUnsupported, err)
	}
	return nil, &os.PathError{Op: "create in", Path: d.name, Err: err}
}

// linkUnnamed names the file. When the name is taken and to be replaced, the
// file gets a private name, from which moveNamed goes on.
func (f *File) linkUnnamed() error {
	err := f.link(f.dir, f.base)
	if errors.Is(err, unix.EEXIST) {
		if !f.opts.Replace {
			return f.exists()
		}
		name := privateName()
		if err = f.link(f.tempDir(), name); err == nil {
			f.temp = name
		}
	}
	if err != nil {
		return &os.PathError{Op: "name", Path: f.base, Err: err}
	}
	return nil
}

func (f *File) link(d *Dir, name string) error {
	return unix.Linkat(unix.AT_FDCWD, "/proc/self/fd/"+strconv.Itoa(int(f.Fd())), int(d.fd.Fd()), name, unix.AT_SYMLINK_FOLLOW)
}

// moveNamed renames the temporary file to its name.
func (f *File) moveNamed() error {
	flags := uint(unix.RENAME_NOREPLACE)
	if f.opts.Replace {
		flags = 0
	}
	from, to := int(f.tempDir().fd.Fd()), int(f.dir.fd.Fd())
	err := unix.Renameat2(from, f.temp, to, f.base, flags)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) { // no RENAME_NOREPLACE here
		err = unix.Linkat(from, f.temp, to, f.base, 0)
		if err == nil {
			return nil // Abort removes the private name
		}
	}
	switch {
	case errors.Is(err, unix.EEXIST):
		return f.exists()
	case err != nil:
		return &os.LinkError{Op: "rename", Old: f.temp, New: f.base, Err: err}
	}
	f.temp = ""
	return nil
}

// syncDir makes the names in d durable.
func syncDir(d *Dir) error { return d.fd.Sync() }

func ignoringEINTR(open func() (int, error)) (int, error) {
	for {
		fd, err := open()
		if !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
}
