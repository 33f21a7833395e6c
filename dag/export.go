package dag

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/internal/atomicfile"
	"github.com/ipfs/go-cid"
)

// VerifyMode says whether copies that the kernel makes are read back.
type VerifyMode uint8

const (
	// VerifyAlways compares everything that is written with its hashes.
	VerifyAlways VerifyMode = iota
	// VerifyNever trusts the file system with content that lies in one piece.
	VerifyNever
)

// ExportOptions say how files are written. The zero value writes private files,
// replaces nothing and verifies everything.
type ExportOptions struct {
	FileMode fs.FileMode // of files; 0 means 0600; permission bits only
	DirMode  fs.FileMode // of directories that are made; 0 means 0700
	Force    bool        // replace files and symlinks that differ; directories are never replaced
	Symlinks bool        // write symlinks that stay in the tree; without it they are ErrSymlink
	Verify   VerifyMode
	Progress func(n int64) // gets the bytes written since its last call; from any goroutine
	Limits   Limits
	OnEntry  func(Written) // told of each file, directory and symlink of a tree, one at a time, from any goroutine
}

// Written is what Export wrote, or found there already.
type Written struct {
	Path      string // as given to Export, and below it
	Cid       cid.Cid
	Type      Type
	Size      int64    // bytes of content; of a directory, of the files below it
	SHA256    [32]byte // of a file's content
	Reflinked bool     // shares its bytes with the store
}

// Export writes the file or tree c as name below dir; name is a slash-separated
// path, and "." is dir itself for a tree. Missing parents are made. A file
// appears whole or not at all; one with the same content is left as it is, and
// another is ErrExists without Force. A tree that is not fit to be written leaves
// nothing behind, and no error leaves a directory that was made and is empty.
// Nothing outside dir is touched.
func Export(ctx context.Context, src blockstore.Store, c cid.Cid, dir *os.Root, name string, o ExportOptions) (Written, error) {
	if !fs.ValidPath(name) {
		return Written{}, &fs.PathError{Op: "export", Path: name, Err: fs.ErrInvalid}
	}
	if o.FileMode.Perm() == 0 {
		o.FileMode = 0o600
	}
	if o.DirMode.Perm() == 0 {
		o.DirMode = 0o700
	}
	n, err := getNode(ctx, src, c)
	if err != nil {
		return Written{}, err
	}
	w := Written{Path: name, Cid: c, Type: n.typ(), Size: n.size}
	switch {
	case w.Type == TypeDir:
		return exportTree(ctx, src, n, dir, w, o)
	case w.Type == TypeSymlink:
		return Written{}, fmt.Errorf("%s points to %q: %w", c, n.data, ErrSymlink)
	case name == ".":
		return Written{}, &fs.PathError{Op: "export", Path: name, Err: fs.ErrInvalid}
	}
	if err := newGuard(o.Limits).file(n.size); err != nil {
		return Written{}, err
	}
	var made []string
	if err := o.below(ctx, src, dir, &w, &made); err != nil {
		return Written{}, fmt.Errorf("export %q: %w", name, errors.Join(err, removeDirs(dir, made)))
	}
	return w, nil
}

// below writes the file w.Cid as w.Path, and its parents, below dir.
func (o *ExportOptions) below(ctx context.Context, src blockstore.Store, dir *os.Root, w *Written, made *[]string) error {
	if err := o.mkdirAll(dir, path.Dir(w.Path), made); err != nil {
		return err
	}
	parent, err := atomicfile.OpenDir(dir, path.Dir(w.Path))
	if err != nil {
		return err
	}
	err = o.file(ctx, src, parent, path.Base(w.Path), w)
	return errors.Join(err, parent.Close())
}

// mkdirAll makes a directory and its parents with exactly the mode asked for, and
// appends those that were not there to made.
func (o *ExportOptions) mkdirAll(root *os.Root, name string, made *[]string) error {
	if name == "." {
		return nil
	}
	err := root.Mkdir(name, 0o700)
	if errors.Is(err, fs.ErrNotExist) {
		if err := o.mkdirAll(root, path.Dir(name), made); err != nil {
			return err
		}
		err = root.Mkdir(name, 0o700)
	}
	switch {
	case errors.Is(err, fs.ErrExist):
		info, err := root.Stat(name)
		if err == nil && !info.IsDir() {
			err = fmt.Errorf("%q is not a directory: %w", name, ErrExists)
		}
		return err
	case err != nil:
		return err
	}
	*made = append(*made, name)
	if o.DirMode.Perm() == 0o700 {
		return nil
	}
	return root.Chmod(name, o.DirMode.Perm())
}

// removeDirs removes those of the directories that are empty, children before
// parents. What somebody has put into one, or in its place, stays.
func removeDirs(root *os.Root, dirs []string) error {
	for _, name := range slices.Backward(dirs) {
		if info, err := root.Lstat(name); err != nil || !info.IsDir() {
			continue
		}
		// fs.ErrExist is also what a directory that is not empty answers.
		if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}
