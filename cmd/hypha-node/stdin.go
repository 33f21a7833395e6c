package main

import (
	"context"
	"io"
	"os"
)

// interruptible returns a reader of f whose Read returns when ctx ends, so that
// a command that waits for its input can be cancelled cleanly. It serves one
// goroutine at a time.
func interruptible(ctx context.Context, f *os.File) io.Reader {
	return &interrupt{ended: ctx.Done(), why: func() error { return context.Cause(ctx) }, f: f, done: make(chan read, 1)}
}

// interrupt is what interruptible returns.
type interrupt struct {
	ended <-chan struct{}
	why   func() error
	f     *os.File
	own   []byte // of the reading goroutine while it reads
	done  chan read
}

// read is the result of one read.
type read struct {
	n   int
	err error
}

// Read reads from the file, unless the context ends before.
func (i *interrupt) Read(b []byte) (int, error) {
	select {
	case <-i.ended:
		return 0, i.why()
	default:
	}
	if len(i.own) < len(b) {
		i.own = make([]byte, len(b))
	}
	own := i.own[:len(b)]
	// This goroutine can't be waited for when the context ends first: nothing
	// ends the read of a terminal but the end of the process. It writes to a
	// buffer that is used no more then.
	go func() {
		n, err := i.f.Read(own)
		i.done <- read{n, err}
	}()
	select {
	case r := <-i.done:
		return copy(b, own[:r.n]), r.err
	case <-i.ended:
		return 0, i.why()
	}
}
