package jobs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/hypha-node/hypha-node/bridge"
	"github.com/hypha-node/hypha-node/internal/watchdog"
)

// Bounds of a controller's answer.
const (
	controllerWait  = 10 * time.Minute // for its beginning: some wait for other tasks
	controllerStall = time.Minute      // between two bytes
	controllerDial  = 10 * time.Second
	controllerBody  = 2 << 20 // bytes, as much as a request may have
)

// JobHeader names the job that a controller's request is about.
const JobHeader = "Hypha-Job-Id"

// controller forwards what a job reports to an HTTP endpoint.
type controller struct {
	base string
	http http.Client
}

var _ bridge.Controller = (*controller)(nil)

// newController returns the controller at an address. It starts nothing.
func newController(address string) (*controller, error) {
	e, err := parseEndpoint(address)
	if err != nil {
		return nil, err
	}
	dial := net.Dialer{Timeout: controllerDial}
	t := &http.Transport{
		// One connection a call: a request on a connection that turns out to be
		// closed would have to be repeated, and reports never are.
		DisableKeepAlives:     true,
		DisableCompression:    true,
		ResponseHeaderTimeout: controllerWait,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			if e.socket != "" {
				network, addr = "unix", e.socket
			}
			return dial.DialContext(ctx, network, addr)
		},
	}
	return &controller{base: e.base, http: http.Client{
		Transport:     t,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // that would be a second time
	}}, nil
}

// Call posts a body to the controller and returns the body of its answer.
func (c *controller) Call(ctx context.Context, job, route string, body json.RawMessage) (_ json.RawMessage, err error) {
	// A reader without a length to rewind: the transport can't send it again.
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+route, io.NopCloser(bytes.NewReader(body)))
	if err != nil {
		return nil, unaddressed(err)
	}
	req.ContentLength = int64(len(body))
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set(JobHeader, job)
	resp, err := c.http.Do(req) //nolint:bodyclose // the watchdog owns the body, and is closed
	if err != nil {
		return nil, unaddressed(err)
	}
	src := watchdog.New(resp.Body, controllerStall, 1)
	defer func() { err = errors.Join(err, src.Close()) }()
	answer, err := io.ReadAll(io.LimitReader(src, controllerBody+1))
	switch {
	case err != nil:
		return nil, err
	case len(answer) > controllerBody:
		return nil, fmt.Errorf("its answer is longer than %d bytes", controllerBody)
	case resp.StatusCode/100 != 2:
		return nil, fmt.Errorf("it answered %s", resp.Status)
	}
	return answer, nil
}

// unaddressed takes the request's method and URL off an error: the latter may
// hold a password.
func unaddressed(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}
