package atomicfile

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/hypha-node/hypha-node/internal/safename"
)

// Options say how a file appears; the zero value is a new private file.
type Options struct {
	// Mode is the permission bits of the finished file; 0 means 0600. Others
	// than permission bits are ignored.
	Mode fs.FileMode
	// Replace puts the file in the place of an existing one. Without it Commit
	// fails with fs.ErrExist when the name is taken.
	Replace bool
	// Sync makes the content, and on Linux the directory, durable in Commit.
	Sync bool
	// TempDir holds temporary files where they need a name; nil means the
	// directory itself. It must be on the same file system.
	TempDir *Dir
}

// Dir is an open directory in which files are written. It stays the same
// directory even if it is renamed. Methods may be called concurrently.
type Dir struct {
	root *os.Root
	fd   *os.File // the same directory, for calls that os.Root has no form of
	name string   // for messages
}

// OpenDir opens the directory name ("." for the root itself) below root. The
// caller closes it.
func OpenDir(root *os.Root, name string) (*Dir, error) {
	sub, err := root.OpenRoot(name)
	if err != nil {
		return nil, err
	}
	fd, err := sub.Open(".")
	if err != nil {
		return nil, errors.Join(err, sub.Close())
	}
	return &Dir{root: sub, fd: fd, name: path.Join(root.Name(), name)}, nil
}

// Root returns the directory as a root of its own; it is closed with d.
func (d *Dir) Root() *os.Root { return d.root }

// Close releases the directory. Files that were begun in it must be finished
// before.
func (d *Dir) Close() error { return errors.Join(d.fd.Close(), d.root.Close()) }

// File is a file that has no name yet. One of Commit and Abort must be called;
// Abort after either does nothing.
type File struct {
	*os.File
	dir  *Dir
	base string
	temp string // name in tempDir; "" when the file has no name at all
	opts Options
	own  bool // dir is closed with the file
	done bool
}

// Create begins the file name, whose directory exists, below root.
func Create(root *os.Root, name string, o Options) (*File, error) {
	dir, base := path.Split(name)
	if dir == "" {
		dir = "."
	}
	d, err := OpenDir(root, dir)
	if err != nil {
		return nil, err
	}
	f, err := d.Create(base, o)
	if err != nil {
		return nil, errors.Join(err, d.Close())
	}
	f.own = true
	return f, nil
}

// Create begins the file base, a single segment, in d, which must stay open
// until the file is committed or aborted.
func (d *Dir) Create(base string, o Options) (*File, error) {
	if base == "" || base == "." || base == ".." || strings.ContainsAny(base, "/\x00") {
		return nil, &fs.PathError{Op: "create", Path: base, Err: fs.ErrInvalid}
	}
	if o.Mode.Perm() == 0 {
		o.Mode = 0o600
	}
	f := &File{dir: d, base: base, opts: o}
	file, err := openUnnamed(d)
	if errors.Is(err, errors.ErrUnsupported) {
		file, err = f.openNamed()
	}
	if err != nil {
		return nil, err
	}
	f.File = file
	return f, nil
}

// openNamed makes the temporary file under a private name.
func (f *File) openNamed() (*os.File, error) {
	f.temp = privateName()
	return f.tempDir().root.OpenFile(f.temp, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
}

func (f *File) tempDir() *Dir {
	if f.opts.TempDir != nil {
		return f.opts.TempDir
	}
	return f.dir
}

// Commit gives the file its mode and its name and closes it. After an error
// nothing of it is left.
func (f *File) Commit() (err error) {
	if f.done {
		return fs.ErrClosed
	}
	defer func() { err = errors.Join(err, f.Abort()) }()
	if err := f.Chmod(f.opts.Mode.Perm()); err != nil {
		return err
	}
	if f.opts.Sync {
		if err := f.Sync(); err != nil {
			return err
		}
	}
	if f.temp == "" {
		if err = f.linkUnnamed(); err != nil {
			return err
		}
	}
	if f.temp != "" {
		if err := f.moveNamed(); err != nil {
			return err
		}
	}
	if f.opts.Sync {
		return syncDir(f.dir)
	}
	return nil
}

// Abort throws away what was not committed and closes the file.
func (f *File) Abort() error {
	if f.done {
		return nil
	}
	f.done = true
	err := f.Close()
	if f.temp != "" {
		err = errors.Join(err, f.tempDir().root.Remove(f.temp))
	}
	if f.own {
		err = errors.Join(err, f.dir.Close())
	}
	return err
}

// privateName returns a name that safename refuses to everybody else.
func privateName() string { return safename.Private + strings.ToLower(rand.Text()) }

// exists is the error for a taken name.
func (f *File) exists() error {
	return fmt.Errorf("create %s: %w", path.Join(f.dir.name, f.base), fs.ErrExist)
}
