package bridge

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/hypha-node/hypha-node/internal/reflink"
	"github.com/hypha-node/hypha-node/internal/safename"
)

const (
	// Private is the directory of a work directory that belongs to the node.
	Private = ".hypha"
	// temporary is where files grow: the same file system, never listed by executors.
	temporary = Private + "/tmp"
	// DefaultDir is where fetched files go when a request names no directory.
	DefaultDir = "artifacts"

	dirMode  fs.FileMode = 0o700
	fileMode fs.FileMode = 0o600
)

// outDir returns the checked directory of a request: "" is DefaultDir, one
// slash at the end is forgiven.
func outDir(name string) (string, error) {
	if name == "" {
		return DefaultDir, nil
	}
	trimmed := strings.TrimSuffix(name, "/")
	if trimmed == "" {
		return "", &PathError{Path: name, Err: errors.New("is absolute")}
	}
	if err := checkPath(trimmed); err != nil {
		return "", &PathError{Path: name, Err: err}
	}
	return trimmed, nil
}

// inDir returns the checked path of the file name below the checked directory dir.
func inDir(dir, name string) (string, error) {
	if err := safename.Path(name); err != nil {
		return "", &PathError{Path: name, Err: err}
	}
	full := path.Join(dir, name)
	if err := checkPath(full); err != nil {
		return "", &PathError{Path: name, Err: err}
	}
	return full, nil
}

// checkPath refuses what no file of a job may be called.
func checkPath(name string) error {
	if err := safename.Path(name); err != nil {
		return err
	}
	// Case is folded: on a file system that folds it, ".HYPHA" is ours as well.
	if first, _, _ := strings.Cut(name, "/"); strings.EqualFold(first, Private) {
		return errors.New("is reserved")
	}
	return nil
}

// openDir opens the directory name below root and makes what is missing of it.
// It passes through real directories only: a symlink is refused even when it
// stays inside, because who made it decides where files land. The caller closes
// the result.
func openDir(root *os.Root, name string) (*os.Root, error) {
	at, err := root.OpenRoot(".")
	if err != nil {
		return nil, err
	}
	for segment := range strings.SplitSeq(name, "/") {
		next, err := stepInto(at, segment)
		if cerr := at.Close(); err == nil {
			err = cerr
		}
		if err != nil {
			return nil, pathError(name, err)
		}
		at = next
	}
	return at, nil
}

// stepInto opens the directory segment of at, making it if it is missing.
func stepInto(at *os.Root, segment string) (*os.Root, error) {
	made := true
	if err := at.Mkdir(segment, dirMode); errors.Is(err, fs.ErrExist) {
		made = false
	} else if err != nil {
		return nil, err
	}
	before, err := at.Lstat(segment)
	if err != nil {
		return nil, err
	}
	if !before.IsDir() {
		return nil, fmt.Errorf("%q is no directory", segment)
	}
	next, err := at.OpenRoot(segment)
	if err != nil {
		return nil, err
	}
	// What was looked at is what was opened: a swap in between is noticed.
	if err := verifyDir(next, before, made); err != nil {
		return nil, errors.Join(err, next.Close())
	}
	return next, nil
}

// verifyDir checks that dir is the directory that before describes and gives a
// new one the mode that the umask may have narrowed.
func verifyDir(dir *os.Root, before fs.FileInfo, made bool) error {
	after, err := dir.Stat(".")
	if err != nil {
		return err
	}
	if !os.SameFile(before, after) {
		return fmt.Errorf("%q changed while it was opened", before.Name())
	}
	if made && after.Mode().Perm() != dirMode {
		return dir.Chmod(".", dirMode)
	}
	return nil
}

// sweep makes the private directory and empties its temporary one.
func sweep(root *os.Root) error {
	info, err := root.Lstat(Private)
	if err == nil && !info.IsDir() {
		// An executor may leave anything here; the link itself goes, not its target.
		err = root.Remove(Private)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	private, err := openDir(root, Private)
	if err != nil {
		return err
	}
	err = private.RemoveAll(path.Base(temporary))
	return errors.Join(err, private.Close())
}

// canShare tries whether a file of the work directory can share its bytes with
// one in another directory.
func canShare(root *os.Root, dir string) bool {
	staging, err := openDir(root, temporary)
	if err != nil {
		return false
	}
	other, err := os.OpenRoot(dir)
	if err != nil {
		_ = staging.Close() // no answer either way
		return false
	}
	err = tryShare(staging, other)
	return errors.Join(err, staging.Close(), other.Close()) == nil
}

// tryShare makes a file in each directory, lets the first share the bytes of the
// second and removes both.
func tryShare(to, from *os.Root) (err error) {
	const size = 64 << 10 // bytes: a multiple of every file system's block
	name := tempName()
	src, err := createTemp(from, name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, src.Close(), from.Remove(name)) }()
	if _, err := src.Write(make([]byte, size)); err != nil {
		return err
	}
	dst, err := createTemp(to, name+"-2")
	if err != nil {
		return err
	}
	err = reflink.Clone(dst, src, 0, size)
	return errors.Join(err, dst.Close(), to.Remove(name+"-2"))
}

// tempName returns a name that nobody can have guessed.
func tempName() string { return rand.Text() }

// publish moves the temporary file tmp, of size bytes, to its final name below
// the work directory, replacing a file or a symlink of that name.
func (j *Job) publish(staging *os.Root, tmp, name string, size int64) error {
	made, err := staging.Lstat(tmp)
	if err != nil {
		return err
	}
	if !made.Mode().IsRegular() || made.Size() != size {
		return fmt.Errorf("temporary file of %q changed: %d of %d bytes", name, made.Size(), size)
	}
	dir, err := openDir(j.root, path.Dir(name))
	if err != nil {
		return err
	}
	if err := dir.Close(); err != nil {
		return err
	}
	// Another request of this job may bring a file of the same name.
	j.naming.Lock()
	defer j.naming.Unlock()
	if err := j.root.Rename(path.Join(temporary, tmp), name); err != nil {
		return pathError(name, err)
	}
	got, err := j.root.Lstat(name)
	if err != nil {
		return pathError(name, err)
	}
	if !os.SameFile(made, got) {
		return &PathError{Path: name, Err: errors.New("was changed while it was written")}
	}
	return nil
}
