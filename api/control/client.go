package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"time"
)

// trailerError carries, as JSON, why a body of bytes ended early.
const trailerError = "Hypha-Error"

// dialTimeout bounds connecting to the socket of a daemon on this machine.
const dialTimeout = 5 * time.Second

// Client calls operations. It is safe for concurrent use.
type Client struct {
	http http.Client
}

// NewClient returns a client of the daemon that listens on a Unix socket.
// Nothing is dialled before the first call.
func NewClient(socket string) *Client {
	return &Client{http: http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			d := net.Dialer{Timeout: dialTimeout}
			conn, err := d.DialContext(ctx, "unix", socket)
			if err != nil && ctx.Err() == nil {
				return nil, fmt.Errorf("%w: %w", ErrNoDaemon, err)
			}
			return conn, err
		},
		DisableCompression: true,
		ReadBufferSize:     64 << 10, // few system calls for events; content goes past it
		WriteBufferSize:    64 << 10,
	}}}
}

// NewLocal returns a client of a handler in this process.
func NewLocal(handler http.Handler) *Client {
	return &Client{http: http.Client{Transport: local{handler}}}
}

// Close drops idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// send sends one request. An answer that is no success is an *Error. The caller
// closes the body.
func (c *Client) send(ctx context.Context, method, path string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://hypha"+path, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("TE", "trailers")
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, plain(ctx, err)
	}
	if resp.StatusCode/100 == 2 {
		return resp, nil
	}
	e := &Error{Status: resp.StatusCode}
	err = json.NewDecoder(io.LimitReader(resp.Body, maxBody)).Decode(e)
	if cerr := resp.Body.Close(); err == nil {
		err = cerr
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx) // it may have cut the answer
	}
	if err != nil || e.Code == "" {
		return nil, fmt.Errorf("%s %s: %s", method, path, resp.Status)
	}
	return nil, e
}

// plain takes the request's method and address off an error of http.Client: the
// user has not typed them.
func plain(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	for {
		inner := errors.Unwrap(err)
		if inner == nil || errors.Is(inner, io.EOF) {
			break
		}
		if errors.Is(inner, ErrNoDaemon) {
			return ErrNoDaemon
		}
		err = inner
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return ErrCut
	}
	return err
}

// encode returns the JSON body of a request; nil has none.
func encode(req any) (io.Reader, error) {
	if req == nil {
		return http.NoBody, nil
	}
	b, err := json.Marshal(req)
	return bytes.NewReader(b), err
}

// call is an operation with one answer.
func call[Resp any](ctx context.Context, c *Client, method, path string, req any) (Resp, error) {
	var answer Resp
	body, err := encode(req)
	if err != nil {
		return answer, err
	}
	return upload[Resp](ctx, c, method, path, body)
}

// upload is a call whose request is a body of its own kind.
func upload[Resp any](ctx context.Context, c *Client, method, path string, body io.Reader) (Resp, error) {
	var answer Resp
	resp, err := c.send(ctx, method, path, body)
	if err != nil {
		return answer, err
	}
	defer resp.Body.Close() // the document was read
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return answer, streamError(ctx, err)
	}
	return answer, nil
}

// events is an operation that answers with events. It yields items and
// progress; the last element has the error, if there is one. Leaving the loop
// early ends the operation.
func events[Item any](ctx context.Context, c *Client, method, path string, req any) iter.Seq2[Event[Item], error] {
	return func(yield func(Event[Item], error) bool) {
		// A consumer that leaves ends the operation, not only the connection.
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		body, err := encode(req)
		if err != nil {
			yield(Event[Item]{}, err)
			return
		}
		resp, err := c.send(ctx, method, path, body)
		if err != nil {
			yield(Event[Item]{}, err)
			return
		}
		defer resp.Body.Close() // what counts was read
		for dec := json.NewDecoder(resp.Body); ; {
			var ev Event[Item]
			if err := dec.Decode(&ev); err != nil {
				yield(ev, streamError(ctx, err))
				return
			}
			switch ev.Event {
			case "done":
				return
			case "error":
				if ev.Error == nil {
					ev.Error = &Error{Code: CodeInternal, Detail: "unknown error"}
				}
				yield(Event[Item]{}, ev.Error)
				return
			}
			if !yield(ev, nil) {
				return
			}
		}
	}
}

// streamError says why a stream of events can't be read on.
func streamError(ctx context.Context, err error) error {
	switch _, syntax := errors.AsType[*json.SyntaxError](err); {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case syntax:
		return fmt.Errorf("answer of the node: %w", err)
	}
	return ErrCut
}

// Ping tells whether somebody listens on the socket, or ErrNoDaemon.
func (c *Client) Ping(ctx context.Context) error {
	t, ok := c.http.Transport.(*http.Transport)
	if !ok {
		return nil // the handler is in this process
	}
	conn, err := t.DialContext(ctx, "", "")
	if err != nil {
		return err
	}
	return conn.Close()
}
