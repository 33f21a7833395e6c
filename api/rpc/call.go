package rpc

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/hypha-node/hypha-node/api/control"
)

// streamError is the trailer that says why an answer ended early.
const streamError = "X-Stream-Error"

// call is one request and its answer.
type call struct {
	w     http.ResponseWriter
	r     *http.Request
	query url.Values

	mu      sync.Mutex
	started bool
	enc     *json.Encoder
}

// arg returns the first argument.
func (c *call) arg() string { return c.query.Get("arg") }

// flag returns an option that is true or false.
func (c *call) flag(name string, otherwise bool) (bool, error) {
	text := c.query.Get(name)
	if text == "" {
		return otherwise, nil
	}
	on, err := strconv.ParseBool(text)
	if err != nil {
		return false, refused(http.StatusBadRequest, "option %s=%.60q is neither true nor false", name, text)
	}
	return on, nil
}

// number returns an option that is a number and not negative.
func (c *call) number(name string, otherwise int64) (int64, error) {
	text := c.query.Get(name)
	if text == "" {
		return otherwise, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		return 0, refused(http.StatusBadRequest, "option %s=%.60q is no number from 0", name, text)
	}
	return n, nil
}

// begin sends the header of an answer.
func (c *call) begin(kind string) {
	if c.started {
		return
	}
	c.started = true
	h := c.w.Header()
	h.Set("Content-Type", kind)
	h.Set("X-Chunked-Output", "1")
	h.Set("Trailer", streamError)
	c.w.WriteHeader(http.StatusOK)
}

// send sends one JSON document on a line; an error means that the client is gone.
func (c *call) send(v any) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.started {
		c.begin("application/json")
	}
	if c.enc == nil {
		c.enc = json.NewEncoder(c.w)
		c.enc.SetEscapeHTML(false)
	}
	if err := c.enc.Encode(v); err != nil {
		return err
	}
	return http.NewResponseController(c.w).Flush()
}

// content lets bytes be written as the answer.
func (c *call) content() bytesWriter { return bytesWriter{c} }

// bytesWriter begins the answer with its first byte, so that an error before it
// has a status.
type bytesWriter struct{ c *call }

// Write writes to the client.
func (w bytesWriter) Write(b []byte) (int, error) {
	w.c.begin("application/octet-stream")
	return w.c.w.Write(b)
}

// failure is an error as clients of Kubo know it.
type failure struct {
	Message string
	Code    int    // 0: failed, 1: the request is wrong, 4: forbidden
	Type    string // "error"
	status  int
}

// Error returns the message.
func (f *failure) Error() string { return f.Message }

// Codes of errors, as Kubo has them.
const (
	codeFailed    = 0
	codeClient    = 1
	codeForbidden = 4
)

// refused returns an error of the request itself.
func refused(status int, text string, args ...any) error {
	code := codeClient
	if status == http.StatusForbidden {
		code = codeForbidden
	}
	return &failure{Message: fmt.Sprintf(text, args...), Code: code, Type: "error", status: status}
}

// describe returns the wire form of any error.
func describe(err error) *failure {
	if f, ok := errors.AsType[*failure](err); ok {
		return f
	}
	f := &failure{Message: err.Error(), Code: codeFailed, Type: "error", status: http.StatusInternalServerError}
	e, ok := errors.AsType[*control.Error](err)
	if !ok {
		return f
	}
	if e.Hint != "" {
		f.Message += " (" + e.Hint + ")"
	}
	if e.Code == control.CodeInvalid || e.Code == control.CodeWrongType {
		f.Code, f.status = codeClient, http.StatusBadRequest
	}
	return f
}

// fail answers with an error: with its status, or behind what was sent.
func (c *call) fail(err error) {
	f := describe(err)
	if c.started {
		c.w.Header().Set(streamError, oneLine(f.Message))
		if c.enc != nil {
			_ = c.send(f) //nolint:errcheck // whether it is read is the client's affair
		}
		return
	}
	// What the client is still sending is not read: the answer goes out at once.
	duplex := http.NewResponseController(c.w).EnableFullDuplex()
	h := c.w.Header()
	h.Set("Content-Type", "application/json")
	if f.status == http.StatusMethodNotAllowed {
		h.Set("Allow", http.MethodPost)
	}
	if duplex == nil {
		h.Set("Connection", "close")
	}
	c.w.WriteHeader(f.status)
	_ = json.NewEncoder(c.w).Encode(f) //nolint:errcheck // see above
	c.drain(duplex)
}

// A refused upload is read for a while longer, so that its sender gets to the
// answer instead of a broken connection.
const (
	drainTime  = 5 * time.Second
	drainBytes = 64 << 20
)

// drain throws away what a client goes on sending after its answer.
func (c *call) drain(duplex error) {
	control := http.NewResponseController(c.w)
	if duplex != nil || control.Flush() != nil || control.SetReadDeadline(time.Now().Add(drainTime)) != nil {
		return
	}
	_, _ = io.CopyN(io.Discard, c.r.Body, drainBytes) //nolint:errcheck // ends when the client hangs up
}

// oneLine makes text fit for a header.
func oneLine(s string) string {
	b := []byte(s)
	for i, ch := range b {
		if ch < ' ' || ch == 0x7f {
			b[i] = ' '
		}
	}
	return string(b)
}
