package blockstore

import (
	"errors"
	"io"
)

// errUnwritten says that a FileWriter has nothing at an offset.
var errUnwritten = errors.New("nothing is written there yet")

// ReadAt reads content that WriteLeaf has taken, while the file is being written;
// the caller knows what that is. After Commit or Abort it is an error: what was
// committed is read from the store. The bytes are not verified.
func (w *fileWriter) ReadAt(p []byte, off int64) (int, error) {
	w.mu.Lock()
	if err := w.usable(); err != nil {
		w.mu.Unlock()
		return 0, err
	}
	f := w.f
	if f == nil {
		defer w.mu.Unlock()
		l := w.first
		if l == nil || off < l.off || off >= l.off+int64(len(l.data)) {
			return 0, errUnwritten
		}
		n := copy(p, l.data[off-l.off:])
		if n < len(p) {
			return n, io.ErrUnexpectedEOF
		}
		return n, nil
	}
	w.writes.Add(1) // so that the file stays open
	w.mu.Unlock()
	defer w.writes.Done()
	return f.ReadAt(p, off)
}
