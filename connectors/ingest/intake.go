package ingest

import (
	"errors"
	"fmt"
	"io"

	"github.com/hypha-node/hypha-node/connectors"
)

// errBody stands for the error of a body, which intake.err holds.
var errBody = errors.New("body broke")

// intake reads a body to its end, and knows whether that was the end: a body
// that breaks can't look like one that is over, whatever its error wraps.
type intake struct {
	r      io.Reader
	size   int64  // bytes announced, -1 if unknown
	source string // for errors
	off    int64  // bytes of the content that come before the body
	n      int64  // bytes read
	ended  bool
	err    error // why it broke
}

// Read returns io.EOF at the true end, errBody for everything else.
func (in *intake) Read(p []byte) (int, error) {
	switch {
	case in.err != nil:
		return 0, errBody
	case in.ended:
		return 0, io.EOF
	}
	n, err := in.r.Read(p)
	in.n += int64(n)
	switch {
	case in.size >= 0 && in.off+in.n > in.size:
		in.err = in.fail(connectors.ErrMismatch, fmt.Sprintf("it goes on after the announced %d bytes", in.size))
		return 0, errBody
	case err == io.EOF: // a wrapped EOF is an error, not an end
		if in.size >= 0 && in.off+in.n < in.size {
			in.err = in.fail(connectors.ErrUpstream, fmt.Sprintf("it ends after %d of the announced %d bytes", in.off+in.n, in.size))
			return n, errBody
		}
		in.ended = true
	case err != nil:
		in.err = err
		return n, errBody
	}
	return n, err
}

// whole returns why the body was not read to its end, nil if it was.
func (in *intake) whole() error {
	switch {
	case in.err != nil:
		return in.err
	case !in.ended:
		return in.fail(connectors.ErrUpstream, fmt.Sprintf("its end was not seen after %d bytes", in.off+in.n))
	}
	return nil
}

func (in *intake) fail(kind error, problem string) error {
	return &connectors.Error{Op: "read", Source: in.source, Err: fmt.Errorf("%w: %s", kind, problem)}
}
