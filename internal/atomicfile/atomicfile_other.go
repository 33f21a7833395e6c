//go:build !linux

package atomicfile

import (
	"errors"
	"io/fs"
	"os"
)

// openUnnamed returns errors.ErrUnsupported: only Linux has files without a name.
func openUnnamed(*Dir) (*os.File, error) { return nil, errors.ErrUnsupported }

// linkUnnamed is never reached where openUnnamed is unsupported.
func (f *File) linkUnnamed() error { return errors.ErrUnsupported }

// moveNamed renames the temporary file to its name. Not to replace is done by
// a hard link, which fails when the name is taken.
func (f *File) moveNamed() error {
	if f.opts.TempDir != nil {
		return errors.New("a temporary directory of its own is supported on Linux only")
	}
	if f.opts.Replace {
		if err := f.dir.root.Rename(f.temp, f.base); err != nil {
			return err
		}
		f.temp = ""
		return nil
	}
	err := f.dir.root.Link(f.temp, f.base)
	if errors.Is(err, fs.ErrExist) {
		return f.exists()
	}
	return err // Abort removes the private name
}

// syncDir does nothing: other platforms have no portable form of it.
func syncDir(*Dir) error { return nil }
