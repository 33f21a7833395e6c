package jobs

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/hypha-node/hypha-node/bridge/rest"
)

const (
	workName   = "work"        // of a job's work directory
	socketName = "bridge.sock" // of a job's socket

	dirMode  fs.FileMode = 0o700
	fileMode fs.FileMode = 0o600
)

// sortedKeys returns the keys of a map in their order.
func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// places knows where the parts of a job lie:
//
//	<dir>/<id>/work          work directory, unless the caller brought one
//	<dir>/<id>/bridge.sock   socket, if that path is short enough
//	<short>/<hash>.sock      socket otherwise
type places struct {
	dir   string // the jobs directory as configured
	real  string // the same without symlinks
	short string // directory of sockets, "" if there is none; made when it is needed
}

// openPlaces makes the jobs directory.
func openPlaces(dir, runtimeDir string) (places, error) {
	if !filepath.IsAbs(dir) {
		return places{}, fmt.Errorf("%q is not absolute", dir)
	}
	if err := makePrivate(dir); err != nil {
		return places{}, err
	}
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return places{}, err
	}
	p := places{dir: dir, real: real}
	if runtimeDir != "" {
		// Of the real path: one repository reached by two paths is one.
		sum := sha256.Sum256([]byte(real))
		p.short = filepath.Join(runtimeDir, "hypha-"+hex.EncodeToString(sum[:8]))
	}
	return p, nil
}

// makePrivate makes a directory that only this user enters, or accepts one that
// is so already. Whoever put something else there is not trusted.
func makePrivate(dir string) error {
	err := os.Mkdir(dir, dirMode)
	if errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(filepath.Dir(dir), dirMode); err != nil {
			return err
		}
		err = os.Mkdir(dir, dirMode)
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := checkPrivate(dir); err != nil {
		return err
	}
	return os.Chmod(dir, dirMode)
}

// checkPrivate refuses what is no directory of this user.
func checkPrivate(dir string) error {
	info, err := os.Lstat(dir)
	switch {
	case err != nil:
		return err
	case !info.IsDir():
		return &fs.PathError{Op: "use", Path: dir, Err: syscall.ENOTDIR}
	case !ownedByUs(info):
		return fmt.Errorf("%s belongs to another user", dir)
	}
	return nil
}

// workDir returns the work directory of a job.
func (p places) workDir(id string, rec record) string {
	if rec.WorkDir != "" {
		return rec.WorkDir
	}
	return filepath.Join(p.dir, id, workName)
}

// socket returns the path of a job's socket: beside the work directory if it
// fits there, else in the short directory.
func (p places) socket(id string) string {
	long := filepath.Join(p.dir, id, socketName)
	if len(long) <= rest.MaxSocketPath || p.short == "" {
		return long
	}
	sum := sha256.Sum256([]byte(id))
	return filepath.Join(p.short, hex.EncodeToString(sum[:8])+".sock")
}

// make makes the directories of a job, and says so first if its socket can't be
// anywhere.
func (p places) make(id string) error {
	socket := p.socket(id)
	if err := rest.CheckSocketPath(socket); err != nil {
		if p.short == "" {
			return fmt.Errorf("%w; configure a short runtime directory", err)
		}
		return err
	}
	for _, dir := range []string{filepath.Join(p.dir, id), filepath.Join(p.dir, id, workName), filepath.Dir(socket)} {
		if err := makePrivate(dir); err != nil {
			return err
		}
	}
	return nil
}

// jobDir returns the directory that holds what the node keeps of a job.
func (p places) jobDir(id string) string { return filepath.Join(p.dir, id) }

// removeSocket removes a job's socket, which nobody listens on.
func (p places) removeSocket(id string) error {
	socket := p.socket(id)
	if filepath.Dir(socket) == p.short && checkPrivate(p.short) != nil {
		return nil // in a directory that is not ours there is none of ours
	}
	if err := os.Remove(socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return removeTemp(socket) // what a crash has left
}

// hasWork tells whether a job's private work directory is there.
func (p places) hasWork(id string) bool {
	_, err := os.Lstat(filepath.Join(p.dir, id, workName))
	return err == nil
}

// removeWork removes a job's private work directory.
func (p places) removeWork(id string) error {
	root, err := os.OpenRoot(p.dir)
	if err != nil {
		return err
	}
	return errors.Join(removeTree(root, filepath.Join(id, workName)), root.Close())
}

// remove removes a job's directory and socket, whatever is in them, and nothing
// outside.
func (p places) remove(id string) error {
	if err := p.removeSocket(id); err != nil {
		return err
	}
	root, err := os.OpenRoot(p.dir)
	if err != nil {
		return err
	}
	return errors.Join(removeTree(root, id), root.Close())
}

// removeTree removes name below root. Executors leave read-only directories
// (Go's module cache is full of them), which their owner must open up first.
func removeTree(root *os.Root, name string) error {
	err := root.RemoveAll(name)
	if !errors.Is(err, fs.ErrPermission) {
		return err
	}
	if err := unlock(root, name); err != nil {
		return err
	}
	return root.RemoveAll(name)
}

// unlock gives the owner all rights on the directories below name.
func unlock(root *os.Root, name string) error {
	info, err := root.Lstat(name)
	if err != nil || !info.IsDir() {
		return err
	}
	if info.Mode().Perm()&dirMode != dirMode {
		if err := root.Chmod(name, dirMode); err != nil {
			return err
		}
	}
	entries, err := fs.ReadDir(root.FS(), filepath.ToSlash(name))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := unlock(root, filepath.Join(name, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}
