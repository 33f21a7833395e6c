//go:build unix

package diskspace

import (
	"io/fs"
	"math"
	"syscall"

	"golang.org/x/sys/unix"
)

func statfs(path string) (Space, error) {
	var st unix.Statfs_t
	for {
		err := unix.Statfs(path, &st)
		if err == nil {
			break
		}
		if err != unix.EINTR {
			return Space{}, err
		}
	}
	unit := uint64(st.Bsize) //nolint:unconvert,nolintlint // int64 on linux, uint32 on darwin
	return Space{Free: product(uint64(st.Bavail), unit), Total: product(uint64(st.Blocks), unit)}, nil
}

// product returns n times unit, or the largest int64 where that overflows: some
// network and FUSE file systems report no end of blocks.
func product(n, unit uint64) int64 {
	if unit != 0 && n > math.MaxInt64/unit {
		return math.MaxInt64
	}
	return int64(n * unit)
}

func allocated(info fs.FileInfo) int64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return st.Blocks * 512 // POSIX: st_blocks counts 512 bytes on Linux and macOS
	}
	return info.Size()
}
