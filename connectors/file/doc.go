// Package file turns references to the node's own disk into items, for the
// operator alone: a job must not read what its node may.
//
// What changes while it is read is an error, not a content: a file has one size
// and one time of change from its first byte to its last. Files are read and never
// changed; archives are files like any other and are not unpacked.
package file
