package vfs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/hypha-node/hypha-node/internal/diskspace"
	"github.com/hypha-node/hypha-node/internal/pastcache"
)

// OS is a directory of the machine.
type OS struct {
	path  string
	root  *os.Root
	reads *pastReads
}

var (
	_ FS         = (*OS)(nil)
	_ FileOpener = (*OS)(nil)
)

// OpenOS opens the directory path, which must exist.
func OpenOS(path string) (*OS, error) {
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	return &OS{path: path, root: root, reads: new(pastReads)}, nil
}

// Close closes the directory; files that are open stay so.
func (o *OS) Close() error { return o.root.Close() }

// Open opens one file.
func (o *OS) Open(name string, mode Mode) (File, error) {
	flag := os.O_RDONLY
	switch mode {
	case Read, ReadBulk:
	case Write, WriteBulk:
		flag = os.O_RDWR
	case Create, CreateBulk:
		flag = os.O_RDWR | os.O_CREATE | os.O_EXCL
	default:
		return nil, fmt.Errorf("open %s: mode %d: %w", name, mode, os.ErrInvalid)
	}
	f, err := o.root.OpenFile(name, flag, 0o600)
	if err != nil {
		return nil, err
	}
	file := &osFile{f: f}
	switch mode {
	case ReadBulk:
		file.past = openPast(o, name, os.O_RDONLY)
	case WriteBulk, CreateBulk:
		file.past = openPast(o, name, os.O_RDWR)
	case Read, Write, Create:
	}
	return file, nil
}

// OpenFile opens one file for reading.
func (o *OS) OpenFile(name string) (File, *os.File, error) {
	f, err := o.root.Open(name)
	if err != nil {
		return nil, nil, err
	}
	return &osFile{f: f, past: openPast(o, name, os.O_RDONLY)}, f, nil
}

// Rename renames one file.
func (o *OS) Rename(oldname, newname string) error {
	o.reads.forget(oldname)
	o.reads.forget(newname)
	return o.root.Rename(oldname, newname)
}

// Remove unlinks one file.
func (o *OS) Remove(name string) error {
	o.reads.forget(name)
	return o.root.Remove(name)
}

// List reads the directory; what is not a plain file is left out.
func (o *OS) List() ([]Info, error) {
	entries, err := os.ReadDir(o.path)
	if err != nil {
		return nil, err
	}
	infos := make([]Info, 0, len(entries))
	for _, e := range entries {
		if !e.Type().IsRegular() {
			continue
		}
		info, err := e.Info()
		if os.IsNotExist(err) {
			continue // removed meanwhile
		}
		if err != nil {
			return nil, err
		}
		infos = append(infos, infoOf(info))
	}
	return infos, nil
}

// Stat looks at one file.
func (o *OS) Stat(name string) (Info, error) {
	info, err := o.root.Stat(name)
	if err != nil {
		return Info{}, err
	}
	return infoOf(info), nil
}

func infoOf(info os.FileInfo) Info {
	return Info{Name: info.Name(), Size: info.Size(), Allocated: diskspace.Allocated(info)}
}

// SyncDir fsyncs the directory.
func (o *OS) SyncDir() error { return SyncDir(o.path) }

// SyncDir makes creations, renames and removals in a directory durable.
func SyncDir(path string) error {
	d, err := os.Open(filepath.Clean(path))
	if err != nil {
		return err
	}
	err = d.Sync()
	if cerr := d.Close(); err == nil {
		err = cerr
	}
	return err
}

// Space asks the file system of the directory.
func (o *OS) Space() (diskspace.Space, error) { return diskspace.Of(o.path) }

// osFile is a file of the machine.
type osFile struct {
	f    *os.File
	past *past // nil: everything goes through the kernel's cache
}

func (f *osFile) Truncate(size int64) error { return f.f.Truncate(size) }

func (f *osFile) Close() error { return errors.Join(f.past.close(), f.f.Close()) }

func (f *osFile) ReadAt(p []byte, off int64) (int, error) {
	n := f.past.readAt(f.f, p, off)
	if n == len(p) {
		return n, nil
	}
	m, err := f.f.ReadAt(p[n:], off+int64(n))
	return n + m, err
}

func (f *osFile) WriteAt(p []byte, off int64) (n int, err error) {
	if n, err = f.past.writeAt(f.f, p, off); err != nil {
		return n, err
	}
	m, err := pastcache.WritePieces(f.f, p[n:], off+int64(n))
	return n + m, err
}

func (f *osFile) Size() (int64, error) {
	info, err := f.f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// failed names the file in the error of a bare system call.
func (f *osFile) failed(op string, err error) error {
	if err == nil {
		return nil
	}
	return &os.PathError{Op: op, Path: f.f.Name(), Err: err}
}
