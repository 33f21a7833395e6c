// Package vfs is what the store needs of a file system, for one flat directory
// of segments: so few operations that a test can put a file system under the
// store that forgets what was not synced, or that fails on demand. It knows
// nothing of segments or blocks.
package vfs

import (
	"io"
	"os"

	"github.com/hypha-node/hypha-node/internal/diskspace"
)

// Mode says how Open opens a file.
type Mode int

const (
	// Read opens an existing file for reading.
	Read Mode = iota
	// Write opens an existing file for reading and writing.
	Write
	// Create makes a new file (mode 0600) and opens it for reading and
	// writing; it is an error if the name is taken.
	Create
	// WriteBulk is Write for what is written in large pieces and not read soon:
	// where the file system can, those go to the disk past the kernel's cache. What
	// is read, and when it is durable, is the same.
	WriteBulk
	// CreateBulk is Create, in the same way.
	CreateBulk
	// ReadBulk is Read for what is large: what is read of it in large pieces comes
	// past the kernel's cache the first two times, where the file system can and the
	// cache has not got it, and through it from then on, so that it keeps what is read
	// again and again.
	ReadBulk
)

// FS is one directory. Names are single path elements. Errors wrap fs.ErrNotExist
// and fs.ErrExist where they apply. Implementations are safe for concurrent use.
//
// A power cut keeps what Sync and SyncDir made durable; of everything else it
// may keep any part.
type FS interface {
	Directory
	Open(name string, mode Mode) (File, error)
	// Space returns the room of the file system.
	Space() (diskspace.Space, error)
}

// Directory is the part of an FS that deals with names.
type Directory interface {
	// Rename replaces newname, if it exists, in one step.
	Rename(oldname, newname string) error
	Remove(name string) error
	// List returns the files of the directory, in the order of their names.
	List() ([]Info, error)
	// Stat looks at one file.
	Stat(name string) (Info, error)
	// SyncDir makes creations, renames and removals durable.
	SyncDir() error
}

// Info is what is known of a file without opening it.
type Info struct {
	Name      string
	Size      int64 // bytes
	Allocated int64 // bytes that it takes on the disk
}

// File is an open file; reads and writes are at offsets and may be concurrent.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	// Size returns the length in bytes.
	Size() (int64, error)
	// Truncate cuts or extends the file with zeros.
	Truncate(size int64) error
	Durability
}

// Durability is the part of a File that deals with the disk below it.
type Durability interface {
	// Sync returns when the bytes and the length of the file are durable.
	Sync() error
	// Flush asks the disk to begin writing n bytes from off on; it promises
	// nothing and only shortens a later Sync.
	Flush(off, n int64) error
	// Allocate sets room aside for the first n bytes without changing the
	// length, so that a full disk shows before the first write. Where that
	// is not possible it does nothing.
	Allocate(n int64) error
	// Punch gives the room of n bytes from off on back; they read as zeros
	// afterwards. errors.ErrUnsupported where that is not possible.
	Punch(off, n int64) error
}

// FileOpener is an FS whose files the kernel knows.
type FileOpener interface {
	// OpenFile opens a file as ReadBulk does, and gives the kernel's file too, which
	// is closed with it.
	OpenFile(name string) (File, *os.File, error)
}
