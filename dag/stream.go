package dag

import (
	"context"
	"io"
	"io/fs"

	"golang.org/x/sync/errgroup"
)

// Stream is a part of a file, read and verified ahead of who reads it. It is for one
// goroutine at a time.
type Stream struct {
	c      *copier
	cancel context.CancelFunc
	group  *errgroup.Group
	order  <-chan *run // nil once all have ended
	cut    *run        // being read; nil: none
	rest   []byte      // of it
	err    error       // of all reads from now on
}

// Stream begins to read the n bytes from offset off, or all from there when n < 0,
// bounds and errors as with CopyRange. The caller closes the stream, before the reader.
func (r *Reader) Stream(ctx context.Context, off, n int64) (*Stream, error) {
	end, err := r.bound(off, n)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	s := &Stream{c: r.newCopier(off, end), cancel: cancel}
	if off == end {
		s.err = io.EOF
		return s, nil
	}
	s.group, ctx = errgroup.WithContext(ctx)
	s.order = s.c.start(ctx, s.group)
	return s, nil
}

// Read reads what was verified.
func (s *Stream) Read(p []byte) (int, error) {
	for len(s.rest) == 0 && s.err == nil {
		s.next()
	}
	if s.err != nil {
		return 0, s.err
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

// next goes on to the next run.
func (s *Stream) next() {
	s.drop()
	t, more := <-s.order
	if !more {
		s.end()
		return
	}
	<-t.done
	s.cut = t
	if s.err = t.err; s.err == nil {
		s.rest = s.c.wanted(t)
	}
}

// drop gives back what was read.
func (s *Stream) drop() {
	if s.cut != nil {
		s.c.release(s.cut)
	}
	s.cut, s.rest = nil, nil
}

// end waits for who reads ahead.
func (s *Stream) end() {
	for range s.order { // so that nobody waits to send
	}
	s.order = nil
	if s.err = s.group.Wait(); s.err == nil {
		s.err = io.EOF
	}
}

// Close stops the reading and waits for its end. Reads fail from then on. It may be
// called again.
func (s *Stream) Close() error {
	s.cancel()
	s.drop()
	if s.order != nil {
		s.end()
	}
	s.err = fs.ErrClosed
	return nil
}
