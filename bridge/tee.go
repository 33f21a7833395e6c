package bridge

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"sync"

	"github.com/hypha-node/hypha-node/internal/pastcache"
)

// tee is a temporary file that gets the bytes of one download at their offsets.
// It is made by the first write, so that a file which is here already costs
// none. A write never fails and never hurts: the download may belong to other
// jobs as well, and go on after this one lost interest. What went wrong is kept
// for finish.
type tee struct {
	dir  *os.Root
	name string

	mu   sync.RWMutex // writers share it, making and ending the file excludes them
	file *os.File     // nil until the first write
	err  error        // of the first write that failed
	done bool
}

var _ io.WriterAt = (*tee)(nil)

// newTee returns a tee into a new file of dir.
func newTee(dir *os.Root) *tee { return &tee{dir: dir, name: tempName()} }

// WriteAt writes p at offset off. It always returns len(p), nil.
func (t *tee) WriteAt(p []byte, off int64) (int, error) {
	t.mu.RLock()
	if t.file == nil && !t.done && t.err == nil {
		t.mu.RUnlock()
		t.create()
		t.mu.RLock()
	}
	var err error
	if t.file != nil && !t.done && t.err == nil {
		_, err = pastcache.WritePieces(t.file, p, off)
	}
	t.mu.RUnlock()
	if err != nil {
		t.fail(err)
	}
	return len(p), nil
}

// create makes the file unless another writer did.
func (t *tee) create() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.file != nil || t.done || t.err != nil {
		return
	}
	t.file, t.err = createTemp(t.dir, t.name)
}

// fail keeps the first error.
func (t *tee) fail(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err == nil {
		t.err = err
	}
}

// finish ends the writing and returns the size of the file in bytes, -1 if none
// was made. Writes that come later are dropped.
func (t *tee) finish() (int64, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.done || t.file == nil {
		t.done = true
		return -1, t.err
	}
	t.done = true
	info, err := t.file.Stat()
	if err = errors.Join(t.err, err, t.file.Close()); err != nil {
		return -1, err
	}
	return info.Size(), nil
}

// discard ends the writing and removes the file if it still has its temporary name.
func (t *tee) discard() error {
	_, _ = t.finish() //nolint:errcheck // what went wrong no longer matters
	if err := t.dir.Remove(t.name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// createTemp makes a file in dir, 0600 whatever the umask is.
func createTemp(dir *os.Root, name string) (*os.File, error) {
	f, err := dir.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return nil, err
	}
	if err := f.Chmod(fileMode); err != nil {
		return nil, errors.Join(err, f.Close(), dir.Remove(name))
	}
	return f, nil
}
