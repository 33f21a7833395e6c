// Package pastcache writes large files past the kernel's cache (O_DIRECT, open(2))
// where the platform and the file system have such a way, and through it where not.
//
// A page of the cache has to be found, filled by copying and written back, which costs
// more than all hashing of what is in it (docs/decisions/0015); who writes what nobody
// is known to read next need not pay for that. The package knows nothing of blocks.
package pastcache
