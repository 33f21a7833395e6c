package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
)

// local is a transport that runs the handler in this process. What the handler
// writes goes to the reader without a copy in between: io.Copy from the body
// calls the destination's Write with the handler's own slices.
type local struct{ handler http.Handler }

// RoundTrip runs the handler in a goroutine, which has ended when the body is
// closed.
func (l local) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancel(r.Context())
	p := &pipe{
		request: r,
		header:  http.Header{},
		ready:   make(chan struct{}),
		slices:  make(chan []byte),
		taken:   make(chan error),
		ended:   make(chan struct{}),
		gone:    ctx.Done(),
		cancel:  cancel,
	}
	in := r.Clone(ctx)
	if in.Body == nil {
		in.Body = http.NoBody
	}
	in.RequestURI = r.URL.RequestURI()
	go func() {
		defer close(p.ended)
		l.handler.ServeHTTP(p, in)
		p.finish()
		in.Body.Close() // the request was read as far as the handler cared
	}()
	select {
	case <-p.ready:
		return p.response, nil
	case <-ctx.Done():
		p.Close() // always nil
		return nil, context.Cause(r.Context())
	}
}

// pipe is the handler's ResponseWriter and the client's body.
type pipe struct {
	request *http.Request
	header  http.Header

	begun    sync.Once
	ready    chan struct{} // closed when response is set
	response *http.Response

	slices chan []byte // from Write to whoever reads
	taken  chan error  // the answer to each slice
	ended  chan struct{}
	gone   <-chan struct{} // the client gave up, or closed the body
	cancel context.CancelFunc

	rest []byte // of the slice that Read is in; the handler waits for the answer to it
	left int64  // bytes of Content-Length that were not written yet; negative if none was set
}

var (
	_ http.ResponseWriter = (*pipe)(nil)
	_ http.Flusher        = (*pipe)(nil)
	_ io.WriterTo         = (*pipe)(nil)
	_ io.ReadCloser       = (*pipe)(nil)
)

// errGone is what a handler's Write returns when nobody reads any more.
var errGone = errors.New("client is gone")

// Header returns the answer's header, and its trailer after the body.
func (p *pipe) Header() http.Header { return p.header }

// WriteHeader hands the answer to the client. A second call does nothing.
func (p *pipe) WriteHeader(status int) {
	p.begun.Do(func() {
		p.left = -1
		if n, err := strconv.ParseInt(p.header.Get("Content-Length"), 10, 64); err == nil {
			p.left = n
		}
		p.response = &http.Response{
			Status: http.StatusText(status), StatusCode: status,
			Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
			Header: p.header.Clone(), Trailer: http.Header{},
			ContentLength: p.left, Body: p, Request: p.request,
		}
		close(p.ready)
	})
}

// Flush sends the header; bytes are never held back.
func (p *pipe) Flush() { p.WriteHeader(http.StatusOK) }

// Write waits until the client has taken b.
func (p *pipe) Write(b []byte) (int, error) {
	p.WriteHeader(http.StatusOK)
	if len(b) == 0 {
		return 0, nil
	}
	select {
	case p.slices <- b:
	case <-p.gone:
		return 0, errGone
	}
	// Who took the slice always answers, Close too: b is not used after this.
	if err := <-p.taken; err != nil {
		return 0, err
	}
	if p.left > 0 {
		p.left -= int64(len(b))
	}
	return len(b), nil
}

// finish ends the body: the trailers that the header announced become visible.
func (p *pipe) finish() {
	p.WriteHeader(http.StatusOK)
	for _, name := range p.response.Header["Trailer"] {
		p.response.Trailer[name] = p.header[name]
	}
}

// Read implements io.Reader.
func (p *pipe) Read(b []byte) (int, error) {
	if len(p.rest) == 0 {
		var err error
		if p.rest, err = p.next(); err != nil {
			return 0, err
		}
	}
	n := copy(b, p.rest)
	if p.rest = p.rest[n:]; len(p.rest) == 0 {
		p.taken <- nil
	}
	return n, nil
}

// WriteTo hands every slice that the handler writes to w.
func (p *pipe) WriteTo(w io.Writer) (int64, error) {
	var total int64
	for {
		b := p.rest
		if len(b) == 0 {
			var err error
			if b, err = p.next(); errors.Is(err, io.EOF) {
				return total, nil
			} else if err != nil {
				return total, err
			}
		}
		p.rest = nil
		n, err := w.Write(b)
		total += int64(n)
		if err == nil && n < len(b) {
			err = io.ErrShortWrite
		}
		p.taken <- err
		if err != nil {
			return total, err
		}
	}
}

// next waits for a slice. io.EOF when the handler has ended, which also orders
// what it did before what the caller does next.
func (p *pipe) next() ([]byte, error) {
	select {
	case b := <-p.slices:
		return b, nil
	case <-p.ended:
		if err := p.request.Context().Err(); err != nil {
			return nil, err // the handler was told to end: this is not all
		}
		if p.left > 0 {
			return nil, fmt.Errorf("%d bytes are missing: %w", p.left, io.ErrUnexpectedEOF)
		}
		return nil, io.EOF
	}
}

// Close ends the handler's context and waits until the handler has returned.
func (p *pipe) Close() error {
	p.cancel()
	if len(p.rest) > 0 {
		p.rest = nil
		p.taken <- errGone
	}
	for {
		select {
		case <-p.slices:
			p.taken <- errGone
		case <-p.ended:
			return nil
		}
	}
}
