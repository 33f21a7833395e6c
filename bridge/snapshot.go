package bridge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
	"time"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/dag"
)

const (
	// tick is the coarsest step of a file system's clock that a kernel makes
	// (HZ=100): two writes within one may leave the same time.
	tick = 10 * time.Millisecond
	// twice is the size, in bytes, up to which a file that was written a moment
	// ago is read a second time instead of waiting for the clock.
	twice = 1 << 20
)

// openFile opens a regular file of the work directory for reading. It never
// blocks and never opens anything else; fs.ErrNotExist, else a *PathError.
func (j *Job) openFile(name string) (*os.File, fs.FileInfo, error) {
	before, err := j.root.Lstat(name)
	if err != nil {
		return nil, nil, missing(name, err)
	}
	if !before.Mode().IsRegular() {
		return nil, nil, &PathError{Path: name, Err: fmt.Errorf("is a %s", kindOf(before.Mode()))}
	}
	f, err := j.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, missing(name, err)
	}
	after, err := f.Stat()
	if err == nil && !os.SameFile(before, after) {
		err = changed(fmt.Errorf("%q was replaced while it was opened", name))
	}
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return f, after, nil
}

// missing makes an ErrNotFound of a file that is not there.
func missing(name string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w", ErrNotFound, err)
	}
	return pathError(name, err)
}

// changed says that a file was written to while it was read.
func changed(err error) error { return fmt.Errorf("%w: %w: %w", ErrConflict, dag.ErrChanged, err) }

// kindOf names what is no regular file.
func kindOf(m fs.FileMode) string {
	switch {
	case m.IsDir():
		return "directory"
	case m&fs.ModeSymlink != 0:
		return "symlink"
	case m&fs.ModeNamedPipe != 0:
		return "FIFO"
	case m&fs.ModeSocket != 0:
		return "socket"
	case m&fs.ModeDevice != 0:
		return "device"
	}
	return "special file"
}

// snapshot takes a file of the work directory into the store, for the job alone or
// for everybody if that may have it. What it returns
// was the whole content at one moment: ErrConflict and dag.ErrChanged if somebody
// wrote to the file meanwhile. The info is that of the file that was read.
func (j *Job) snapshot(ctx context.Context, name string, all bool) (dag.File, fs.FileInfo, error) {
	f, info, err := j.openFile(name)
	if err != nil {
		return dag.File{}, nil, err
	}
	got, err := j.take(ctx, f, info, all)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return dag.File{}, nil, fmt.Errorf("read %q: %w", name, err)
	}
	return got, info, nil
}

// take reads an open file into the store.
func (j *Job) take(ctx context.Context, f *os.File, info fs.FileInfo, all bool) (dag.File, error) {
	recent := time.Since(info.ModTime()) < 2*tick
	if recent && info.Size() > twice {
		timer := time.NewTimer(2 * tick)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return dag.File{}, context.Cause(ctx)
		}
	}
	share, err := j.memory().Take(ctx, dag.ImportMemory(info.Size()))
	if err != nil {
		return dag.File{}, err
	}
	defer share.Release()
	dst, accept := j.publicity(ctx, all)
	got, err := readFile(ctx, dst, f, dag.ImportOptions{Size: info.Size(), Accept: accept})
	if err == nil {
		err = j.store.Admit(ctx, got.Root, j.own)
	}
	if err != nil {
		return dag.File{}, err
	}
	if recent && info.Size() <= twice {
		again, err := readFile(ctx, nil, f, dag.ImportOptions{Size: info.Size(), HashOnly: true})
		if err == nil && again.Root != got.Root {
			err = changed(errors.New("read twice, with two contents"))
		}
		if err != nil {
			return dag.File{}, err
		}
	}
	after, err := f.Stat()
	if err == nil && (after.Size() != got.Size || !after.ModTime().Equal(info.ModTime())) {
		err = changed(fmt.Errorf("%d bytes, then %d", info.Size(), after.Size()))
	}
	return got, err
}

// readFile imports a file from its beginning.
func readFile(ctx context.Context, store blockstore.Store, f *os.File, o dag.ImportOptions) (dag.File, error) {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return dag.File{}, err
	}
	got, err := dag.Import(ctx, store, &guarded{f: f, alive: func() error { return context.Cause(ctx) }}, o)
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, dag.ErrTooLarge) {
		err = changed(err)
	}
	return got, err
}

// guarded is a reader that ends with its context.
type guarded struct {
	f     io.Reader
	alive func() error
}

func (g *guarded) Read(p []byte) (int, error) {
	if err := g.alive(); err != nil {
		return 0, err
	}
	return g.f.Read(p)
}

// hold keeps collections of garbage from what is stored or found until release
// is called, where the store has such.
func (j *Job) hold() (release func()) {
	if h, ok := j.store.(interface{ Hold() func() }); ok {
		return h.Hold()
	}
	return func() {}
}
