//go:build !linux

package reflink

import "os"

// Clone returns ErrUnsupported: on this platform bytes are copied.
func Clone(_, _ *os.File, _, _ int64) error { return ErrUnsupported }
