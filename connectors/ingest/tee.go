package ingest

import (
	"io"
	"sync"
)

// tee hands content on to one caller for as long as that caller waits. Its
// failures are that caller's alone: the flight goes on.
type tee struct {
	calls sync.RWMutex // read-locked by each call under way

	mu  sync.Mutex
	w   io.WriterAt // nil when detached or failed
	err error
}

// WriteAt always succeeds.
func (t *tee) WriteAt(p []byte, off int64) (int, error) {
	t.calls.RLock()
	defer t.calls.RUnlock()
	t.mu.Lock()
	w := t.w
	t.mu.Unlock()
	if w == nil {
		return len(p), nil
	}
	if _, err := w.WriteAt(p, off); err != nil {
		t.mu.Lock()
		t.w, t.err = nil, err
		t.mu.Unlock()
	}
	return len(p), nil
}

// detach returns when nothing is written any more, and whether all that there
// was to write has been. A nil tee is never whole.
func (t *tee) detach() (whole bool) {
	if t == nil {
		return false
	}
	t.calls.Lock()
	defer t.calls.Unlock()
	whole = t.w != nil
	t.w = nil
	return whole
}

// failure returns why the tee stopped, nil if it did not.
func (t *tee) failure() error {
	if t == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err
}
