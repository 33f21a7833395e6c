package rig

import (
	"os"
	"syscall"
)

// allocated returns the bytes that the file system has given to a file.
func allocated(info os.FileInfo) int64 {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return stat.Blocks * 512 // the unit of st_blocks, whatever the file system's is
	}
	return info.Size()
}
