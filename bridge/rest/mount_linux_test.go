package rest

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// mountSmall mounts a file system of size bytes on dir.
func mountSmall(dir string, size int) (unmount func() error, err error) {
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d,mode=0700", size)); err != nil {
		return nil, err
	}
	return func() error { return unix.Unmount(dir, 0) }, nil
}
