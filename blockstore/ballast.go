package blockstore

import (
	"errors"
	"os"
	"sync"
	"sync/atomic"
)

// ballastSize is the size of the ballast in bytes: what Badger writes when it
// flushes a memtable, and begins new files.
const ballastSize = memTable + 1<<20

// ballast is a file that takes room on the disk as long as there is enough, so
// that there is some when others have filled the disk: for Badger to open and to
// close, and for a collection to begin. A nil ballast is none.
type ballast struct {
	name string

	mu   sync.Mutex
	gone atomic.Bool // it went overboard, as far as this process knows
}

// drop removes the ballast.
func (b *ballast) drop() error {
	if b == nil || b.gone.Load() {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := os.Remove(b.name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	b.gone.Store(true)
	return nil
}

// restore makes the ballast if there is none and free bytes are enough. That it
// can't is no error: it is for bad times, and they may have come.
func (b *ballast) restore(free int64) {
	if b == nil || !b.gone.Load() || free < ballastSize+leastRoom {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.gone.Load() {
		return
	}
	f, err := os.OpenFile(b.name, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return
	}
	if err := errors.Join(fill(f, ballastSize), f.Close()); err != nil {
		_ = os.Remove(b.name) // half of it is of no use
		return
	}
	b.gone.Store(false)
}

// openBallast looks whether the ballast is there.
func openBallast(name string) *ballast {
	b := &ballast{name: name}
	info, err := os.Stat(name)
	b.gone.Store(err != nil || info.Size() != ballastSize)
	return b
}

// fillZeros writes n zeros.
func fillZeros(f *os.File, n int64) error {
	zeros := make([]byte, 64<<10)
	for off := int64(0); off < n; off += int64(len(zeros)) {
		if _, err := f.WriteAt(zeros[:min(int64(len(zeros)), n-off)], off); err != nil {
			return err
		}
	}
	return nil
}
