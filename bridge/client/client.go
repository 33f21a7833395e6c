package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/hypha-node/hypha-node/bridge"
)

// maxAnswer bounds an answer in bytes: bridge.MaxFiles results fit.
const maxAnswer = 128 << 20

// Client is a connection pool to one bridge. It is safe for concurrent use.
type Client struct {
	http   *http.Client
	socket string
}

// New returns a client of the bridge at the path of its socket. It connects
// when it is first used.
func New(socket string) *Client {
	var d net.Dialer
	return &Client{socket: socket, http: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return d.DialContext(ctx, "unix", socket)
		},
		IdleConnTimeout:    time.Minute, // the bridge keeps them for ten
		MaxIdleConns:       8,
		DisableCompression: true,
	}}}
}

// Close gives up idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Job describes the job behind the socket.
func (c *Client) Job(ctx context.Context) (bridge.Info, error) {
	var info bridge.Info
	err := c.call(ctx, http.MethodGet, "/job", nil, &info)
	return info, err
}

// Healthy returns nil when the bridge takes requests.
func (c *Client) Healthy(ctx context.Context) error {
	return c.call(ctx, http.MethodGet, "/healthz", nil, &struct{}{})
}

// call sends in, if it is not nil, as JSON and reads the answer into out, if it
// is not nil.
func (c *Client) call(ctx context.Context, method, path string, in, out any, edit ...func(http.Header)) error {
	resp, err := c.do(ctx, method, path, in, edit...)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	data, err := c.read(resp)
	if err != nil || out == nil {
		return err
	}
	if raw, ok := out.(*json.RawMessage); ok {
		*raw = data
		return nil
	}
	if err := json.Unmarshal(data, out); err != nil {
		return c.wrap(path, err)
	}
	return nil
}

// do sends a request. A refusal is an *Error; else the caller closes the body.
func (c *Client) do(ctx context.Context, method, path string, in any, edit ...func(http.Header)) (*http.Response, error) {
	body, err := encode(in)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://bridge"+path, body)
	if err != nil {
		return nil, c.wrap(path, err)
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for _, f := range edit {
		f(req.Header)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.wrap(path, err)
	}
	if resp.StatusCode < http.StatusBadRequest {
		return resp, nil
	}
	defer resp.Body.Close()
	data, err := c.read(resp)
	if err != nil {
		return nil, err
	}
	return nil, refusal(resp, data)
}

// encode returns a body; one that is JSON already is not touched.
func encode(in any) (io.Reader, error) {
	switch v := in.(type) {
	case nil:
		return http.NoBody, nil
	case json.RawMessage:
		return bytes.NewReader(v), nil
	}
	data, err := json.Marshal(in)
	if err != nil {
		return nil, fmt.Errorf("encode request: %w", err)
	}
	return bytes.NewReader(data), nil
}

// read reads an answer.
func (c *Client) read(resp *http.Response) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err == nil && len(data) > maxAnswer {
		err = errTooLong
	}
	if err != nil {
		return nil, c.wrap(resp.Request.URL.Path, err)
	}
	return data, nil
}

// errTooLong is an answer that no bridge gives.
var errTooLong = fmt.Errorf("answer of more than %d bytes", maxAnswer)

// wrap says which bridge and route failed.
func (c *Client) wrap(path string, err error) error {
	return fmt.Errorf("bridge %s: %s: %w", c.socket, path, err)
}
