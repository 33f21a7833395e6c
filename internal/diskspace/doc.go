// Package diskspace tells how much room a file system has and how much of it
// files take. It knows nothing of what the room is for and keeps no state: every
// call asks the kernel.
package diskspace

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
)

// Space is the room of one file system.
type Space struct {
	Free  int64 // bytes that an unprivileged process may still write
	Total int64 // bytes of the whole file system
}

// Of returns the room of the file system that holds path, which must exist.
func Of(path string) (Space, error) {
	s, err := statfs(path)
	if err != nil {
		return Space{}, fmt.Errorf("free space of %s: %w", path, err)
	}
	return s, nil
}

// Allocated returns the bytes that a file takes on its disk: fewer than its size
// if it has holes, more if room was set aside behind its end. Where the platform
// does not say, it is the size.
func Allocated(info fs.FileInfo) int64 { return allocated(info) }

// Used returns the bytes that the tree under path takes on its disk. Symlinks
// are not followed; what vanishes meanwhile is left out.
func Used(path string) (int64, error) {
	var total int64
	err := filepath.WalkDir(path, func(name string, d fs.DirEntry, err error) error {
		if err == nil {
			var info fs.FileInfo
			if info, err = d.Info(); err == nil {
				total += Allocated(info)
			}
		}
		if errors.Is(err, fs.ErrNotExist) && name != path {
			return nil
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("used space of %s: %w", path, err)
	}
	return total, nil
}
