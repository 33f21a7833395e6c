// Package reflink makes one file share the bytes of another, where the file
// system can (Btrfs, XFS, bcachefs and others on Linux): no byte is copied, and
// a later write to either file does not change the other.
//
// It knows nothing of blocks, and it verifies nothing: whoever needs to know
// what the clone holds reads it back.
package reflink

import "errors"

// ErrUnsupported says that these two files can't share bytes: not on this
// platform, file system or offset. Copying still works.
var ErrUnsupported = errors.New("file system can't share the bytes of these files")
