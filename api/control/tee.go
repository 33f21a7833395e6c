package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"

	"github.com/hypha-node/hypha-node/dag"
	"github.com/hypha-node/hypha-node/internal/atomicfile"
	"github.com/hypha-node/hypha-node/internal/pastcache"
)

// tee is an output file that is written while its content goes into the store.
// Its failure ends this request's interest in the download, not the download
// that others may wait for.
//
// A large file is written past the kernel's cache: unlike that of a job it is not
// known to be read next (docs/decisions/0015).
type tee struct {
	file   *atomicfile.File
	past   *pastcache.Writer // nil: through the cache
	name   string
	failed context.CancelCauseFunc // called with the first error of a write

	mu  sync.Mutex
	err error
}

var _ io.WriterAt = (*tee)(nil)

// newTee begins the file name below dir for size bytes, less than 0 when nobody knows.
// Nil when something has that name: it has to be compared with the content once that
// is known.
func newTee(dir *os.Root, name string, mode fs.FileMode, size int64) (*tee, error) {
	if _, err := dir.Lstat(name); err == nil {
		return nil, nil //nolint:nilnil // no tee is no error
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	file, err := atomicfile.Create(dir, name, atomicfile.Options{Mode: mode})
	if err != nil {
		return nil, err
	}
	t := &tee{file: file, name: name}
	if size < 0 || size >= pastcache.Least {
		t.past = pastcache.NewWriter(file.File)
	}
	return t, nil
}

// WriteAt writes b at offset off. It never fails; see commit.
func (t *tee) WriteAt(b []byte, off int64) (int, error) {
	if err := t.write(b, off); err != nil {
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.err == nil {
			t.err = err
			t.failed(err)
		}
	}
	return len(b), nil
}

func (t *tee) write(b []byte, off int64) (err error) {
	if t.past == nil {
		_, err = pastcache.WritePieces(t.file.File, b, off)
	} else {
		_, err = t.past.WriteAt(b, off)
	}
	return err
}

// commit gives the file its name, unless a write failed.
func (t *tee) commit() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err != nil {
		return t.err
	}
	err := t.file.Commit()
	if errors.Is(err, fs.ErrExist) { // it has appeared meanwhile
		return fmt.Errorf("%s: %w", t.name, dag.ErrExists)
	}
	return err
}

// drop throws away what was not committed.
func (t *tee) drop() {
	if t.past != nil {
		_ = t.past.Close() // nothing is left in it
	}
	_ = t.file.Abort() //nolint:errcheck // the file has no name, and the first error counts
}
