package watchdog

import (
	"errors"
	"fmt"
	"io"
	"math"
	"sync"
	"time"
)

// ErrStalled says that a source gave too little for too long.
var ErrStalled = errors.New("source stalled")

// Reader passes reads on to a source and closes it when one of them hangs. Like
// most readers it serves one goroutine at a time; Close may be called from
// another one and ends a Read that waits.
type Reader struct {
	src   io.ReadCloser
	limit time.Duration
	least int64
	timer *time.Timer

	left time.Duration // of the limit, used by the reading goroutine alone
	got  int64         // bytes since the limit began, as well

	fired   chan struct{} // one token: the timer has closed the source
	stalled bool          // sticky; used by the reading goroutine alone

	once     sync.Once
	closeErr error
}

// New returns a reader of src that waits, in its Reads together, at most limit for
// each least bytes (at least 1). It owns src: closing the source is how a Read that hangs is ended, therefore
// src.Close must be safe during src.Read and must end it.
func New(src io.ReadCloser, limit time.Duration, least int64) *Reader {
	r := &Reader{src: src, limit: limit, least: least, left: limit, fired: make(chan struct{}, 1)}
	r.timer = time.AfterFunc(math.MaxInt64, func() {
		r.closeSource()
		r.fired <- struct{}{}
	})
	r.timer.Stop()
	return r
}

// Read reads from the source. When that has used up its time it returns an error
// that wraps ErrStalled, from then on always.
func (r *Reader) Read(p []byte) (int, error) {
	if r.stalled {
		return 0, r.err()
	}
	began := time.Now()
	r.timer.Reset(r.left)
	n, err := r.src.Read(p)
	if r.got += int64(n); r.got >= r.least {
		r.got, r.left = 0, r.limit
	} else {
		r.left = max(r.left-time.Since(began), 1)
	}
	if !r.timer.Stop() {
		// The timer's goroutine has run or is about to: wait for its end, so
		// that it outlives no Read.
		<-r.fired
		r.stalled = true
		if err != nil && err != io.EOF { //nolint:errorlint // readers return io.EOF itself
			err = r.err()
		}
	}
	return n, err
}

// err returns the error of a stalled source.
func (r *Reader) err() error {
	if r.least > 1 {
		return fmt.Errorf("%w: less than %d bytes in %v", ErrStalled, r.least, r.limit)
	}
	return fmt.Errorf("%w: no byte for %v", ErrStalled, r.limit)
}

// Close closes the source, once.
func (r *Reader) Close() error {
	r.closeSource()
	return r.closeErr
}

// closeSource closes the source at the first call; later calls wait for it.
func (r *Reader) closeSource() { r.once.Do(func() { r.closeErr = r.src.Close() }) }
