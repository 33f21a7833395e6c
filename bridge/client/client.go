package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
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

// Error is a refusal of the bridge.
type Error struct {
	Status     int             `json:"-"`      // HTTP status
	Code       string          `json:"error"`  // "not_found", "invalid_path", …
	Detail     string          `json:"detail"` // for people
	Hint       string          `json:"hint"`   // the next step, or ""
	Path       string          `json:"path"`   // the file that failed, or ""
	Completed  []bridge.Result `json:"completed"`
	RetryAfter time.Duration   `json:"-"` // 0 if the bridge did not say
}

// Error returns "detail (code)".
func (e *Error) Error() string { return fmt.Sprintf("%s (%s)", e.Detail, e.Code) }

// Fetch brings the files of a reference into the job's work directory. ref is a
// URI, or anything that encoding/json makes a reference object of; outDir may be
// "" for the default. A refusal is an *Error, which names the finished files.
func (c *Client) Fetch(ctx context.Context, ref any, outDir string) ([]bridge.Result, error) {
	body := struct {
		Fetch  any    `json:"fetch"`
		OutDir string `json:"out_dir,omitempty"`
	}{ref, outDir}
	var results []bridge.Result
	if err := c.call(ctx, http.MethodPost, "/resources/fetch", body, &results); err != nil {
		return nil, err
	}
	return results, nil
}

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

// call sends in, if it is not nil, as JSON and reads the answer into out.
func (c *Client) call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("encode request: %w", err)
		}
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://bridge"+path, body)
	if err != nil {
		return fmt.Errorf("bridge %s: %w", c.socket, err)
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("bridge %s: %w", c.socket, err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return fmt.Errorf("bridge %s: answer of %s: %w", c.socket, path, err)
	case len(data) > maxAnswer:
		return fmt.Errorf("bridge %s: answer of %s: more than %d bytes", c.socket, path, maxAnswer)
	case resp.StatusCode != http.StatusOK:
		return refusal(resp, data)
	}
	if err := json.Unmarshal(data, out); err != nil {
		return fmt.Errorf("bridge %s: answer of %s: %w", c.socket, path, err)
	}
	return nil
}

// refusal makes an Error of an answer, also of one that is not ours.
func refusal(resp *http.Response, data []byte) error {
	e := &Error{Status: resp.StatusCode}
	if err := json.Unmarshal(data, e); err != nil || e.Code == "" {
		e.Code = strings.ToLower(strings.ReplaceAll(http.StatusText(resp.StatusCode), " ", "_"))
		e.Detail = resp.Status
	}
	if s, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && s > 0 {
		e.RetryAfter = time.Duration(s) * time.Second
	}
	return e
}
