//go:build !linux

package blockstore

import "os"

// fill sets n bytes aside for a file.
func fill(f *os.File, n int64) error { return fillZeros(f, n) }
