package client

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"time"
)

// silence is how long a stream may be silent while it is waited for: the bridge
// shows every 5 s that it lives.
const silence = time.Minute

// errSilent is why a stream was given up.
var errSilent = errors.New("no sign of life for a minute")

// event is one event of a stream.
type event struct {
	name string // "" for an item
	data []byte
}

// stream posts a request and hands each event of the answer to f, on the
// caller's goroutine, until the stream ends or f fails. ready, if not nil, is
// called when the stream has begun.
func (c *Client) stream(ctx context.Context, path string, body any, ready func(), f func(event) error, edit ...func(http.Header)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	resp, err := c.do(ctx, http.MethodPost, path, body, append(edit, func(h http.Header) { h.Set("Accept", "text/event-stream") })...)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if ready != nil {
		ready()
	}
	watchdog := time.AfterFunc(silence, func() { cancel(errSilent) })
	defer watchdog.Stop()
	r := bufio.NewReader(&touched{resp.Body, func() { watchdog.Reset(silence) }})
	for {
		e, err := readEvent(r)
		watchdog.Stop()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil && ctx.Err() != nil:
			return c.wrap(path, context.Cause(ctx))
		case err != nil:
			return c.wrap(path, err)
		}
		if len(e.data) > 0 {
			if err := f(e); err != nil {
				return err
			}
		}
		watchdog.Reset(silence)
	}
}

// touched calls f for each read that got something.
type touched struct {
	r io.Reader
	f func()
}

func (t *touched) Read(p []byte) (int, error) {
	n, err := t.r.Read(p)
	if n > 0 {
		t.f()
	}
	return n, err
}

// readEvent reads up to the next empty line. Fields that a bridge does not send,
// and comments, are ignored; io.EOF is an end between two events.
func readEvent(r *bufio.Reader) (e event, err error) {
	size := 0
	for {
		line, err := readLine(r, maxAnswer-size)
		size += len(line)
		switch {
		case errors.Is(err, io.EOF) && size > 0:
			return e, io.ErrUnexpectedEOF
		case err != nil:
			return e, err
		case len(line) == 0:
			return e, nil
		}
		field, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(field) {
		case "event":
			e.name = string(value)
		case "data":
			if e.data != nil {
				e.data = append(e.data, '\n')
			}
			e.data = append(e.data, value...)
		}
	}
}

// readLine reads a line of at most most bytes, without its end.
func readLine(r *bufio.Reader, most int) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case len(line) > most+1:
			return nil, errTooLong
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF) && len(line) > 0:
			return nil, io.ErrUnexpectedEOF
		case err != nil:
			return nil, err
		}
		return bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r")), nil
	}
}
