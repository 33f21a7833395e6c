//go:build !linux

package pastcache

import "os"

func reopen(*os.File) *os.File { return nil }

// Refused tells whether an error is that of a file system that wants something else.
func Refused(error) bool { return false }
