// Package atomicfile writes files that appear whole under their name or not at
// all, in a directory of an os.Root.
//
// It knows nothing of content. Invariants: an existing file is never opened for
// writing; the file has mode 0600 at most from its first byte, whatever the
// umask, and exactly the mode asked for when it appears; nothing outside the
// root is touched, even while someone swaps directories for symlinks; where the
// kernel knows O_TMPFILE, a killed process leaves nothing behind.
package atomicfile
