//go:build unix

package hf

import (
	"io/fs"
	"os"
	"syscall"
)

// openFlags keep the opening of what has just become a pipe or a link from
// waiting or following.
const openFlags = syscall.O_NONBLOCK | syscall.O_NOFOLLOW

// ownedByUs tells whether a file belongs to the user of this process or to root.
func ownedByUs(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && (int(stat.Uid) == os.Geteuid() || stat.Uid == 0)
}
