package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"time"

	"github.com/hypha-node/hypha-node/bridge"
)

// peersRef is a reference to peers.
type peersRef struct {
	Type     string          `json:"type"`
	Peers    []string        `json:"peers"`
	Strategy bridge.Strategy `json:"strategy,omitempty"`
}

func reference(peers []string, s bridge.Strategy) peersRef {
	if peers == nil {
		peers = []string{}
	}
	return peersRef{"peers", peers, s}
}

// sendBody is the body of a send.
type sendBody struct {
	Send       peersRef `json:"send"`
	Path       string   `json:"path"`
	Name       string   `json:"name,omitempty"`
	Channel    string   `json:"channel,omitempty"`
	RemoveFile bool     `json:"remove_file,omitempty"`
	TimeoutMS  int64    `json:"timeout_ms,omitempty"`
	Wait       *bool    `json:"wait,omitempty"`
	Progress   bool     `json:"progress,omitempty"`
}

func newSendBody(r bridge.SendRequest) sendBody {
	b := sendBody{
		Send: reference(r.Peers, r.Strategy), Path: r.Path, Name: r.Name, Channel: r.Channel,
		RemoveFile: r.RemoveFile, Progress: r.Progress != nil,
	}
	if r.Timeout > 0 { // rounded up: 0 would be no timeout
		b.TimeoutMS = int64((r.Timeout + time.Millisecond - 1) / time.Millisecond)
	}
	return b
}

// idempotent sets the header of a request's key.
func idempotent(key string) func(http.Header) {
	return func(h http.Header) {
		if key != "" {
			h.Set("Idempotency-Key", key)
		}
	}
}

// Send sends a file of the work directory and returns when the peers have it: one
// element a peer in the order of the request, one alone for One and Random. A
// refusal is an *Error, with Results when some peers did not get it. The
// request's Progress is called on the caller's goroutine.
func (c *Client) Send(ctx context.Context, r bridge.SendRequest) ([]bridge.Delivered, error) {
	const path = "/resources/send"
	var results []bridge.Delivered
	if r.Progress != nil {
		err := c.watch(ctx, path, newSendBody(r), r.Progress, &results, idempotent(r.Key))
		return results, err
	}
	err := c.call(ctx, http.MethodPost, path, newSendBody(r), &results, idempotent(r.Key))
	return results, err
}

// SendLater returns when the file was read and the send is recorded: the node
// delivers it then, also after a crash. Transfer tells how it ends.
func (c *Client) SendLater(ctx context.Context, r bridge.SendRequest) (transferID string, err error) {
	r.Progress = nil
	body, wait := newSendBody(r), false
	body.Wait = &wait
	var a accepted
	err = c.call(ctx, http.MethodPost, "/resources/send", body, &a, idempotent(r.Key))
	return a.TransferID, err
}

// receiveBody is the body of a receive.
type receiveBody struct {
	Receive peersRef    `json:"receive"`
	OutDir  string      `json:"out_dir,omitempty"`
	Channel string      `json:"channel,omitempty"`
	Stream  bool        `json:"stream"`
	Since   *int64      `json:"since,omitempty"`
	Timeout *systemTime `json:"timeout,omitempty"`
}

// systemTime is a point in time as executors write it.
type systemTime struct {
	Secs  int64 `json:"secs_since_epoch"`
	Nanos int   `json:"nanos_since_epoch"`
}

func newReceiveBody(r bridge.ReceiveRequest, stream bool) receiveBody {
	b := receiveBody{
		Receive: reference(r.Peers, r.Strategy), OutDir: r.OutDir, Channel: r.Channel, Since: r.Since, Stream: stream,
	}
	if !r.Until.IsZero() {
		b.Timeout = &systemTime{max(r.Until.Unix(), 0), r.Until.Nanosecond()}
	}
	return b
}

// Receive yields the files that peers sent to the job, as they arrive, until ctx
// ends, which is its last error, the request's Until passes, or the job ends. A
// refusal is an *Error. The request's Ready is called on the caller's goroutine.
//
// A file counts as received when the bridge has written its event, which may be
// some files ahead of the loop: after a break or a crash, ask again with Since.
// The loop may take as long as it likes; a bridge that shows no sign of life for
// a minute while it is waited for is an error.
func (c *Client) Receive(ctx context.Context, r bridge.ReceiveRequest) iter.Seq2[bridge.Received, error] {
	return func(yield func(bridge.Received, error) bool) {
		if err := c.receive(ctx, r, func(item bridge.Received) bool { return yield(item, nil) }); err != nil {
			yield(bridge.Received{}, err)
		}
	}
}

// errBreak says that the caller wants no more.
var errBreak = errors.New("break")

func (c *Client) receive(ctx context.Context, r bridge.ReceiveRequest, yield func(bridge.Received) bool) error {
	const path = "/resources/receive"
	err := c.stream(ctx, path, newReceiveBody(r, true), r.Ready, func(e event) error {
		var item bridge.Received
		if e.name != "" {
			return nil
		}
		if err := json.Unmarshal(e.data, &item); err != nil {
			return c.wrap(path, err)
		}
		if !yield(item) {
			return errBreak
		}
		return nil
	})
	if errors.Is(err, errBreak) {
		return nil
	}
	return err
}

// ReceiveOne waits for one file until the request's Until, or until ctx ends. ok
// is false if there was none in time, or the job ends.
func (c *Client) ReceiveOne(ctx context.Context, r bridge.ReceiveRequest) (item bridge.Received, ok bool, err error) {
	const path = "/resources/receive"
	resp, err := c.do(ctx, http.MethodPost, path, newReceiveBody(r, false))
	if err != nil {
		return item, false, err
	}
	defer resp.Body.Close()
	data, err := c.read(resp)
	if err != nil || resp.StatusCode == http.StatusNoContent {
		return item, false, err
	}
	if err := json.Unmarshal(data, &item); err != nil {
		return item, false, c.wrap(path, err)
	}
	return item, true, nil
}

// watch posts a request that answers with progress, and reads its result into out.
func (c *Client) watch(ctx context.Context, path string, body any, progress func(bridge.Transfer), out any, edit ...func(http.Header)) error {
	done := false
	err := c.stream(ctx, path, body, nil, func(e event) error {
		switch e.name {
		case "progress":
			var t bridge.Transfer
			if err := json.Unmarshal(e.data, &t); err != nil {
				return c.wrap(path, err)
			}
			progress(t)
		case "result":
			done = true
			if err := json.Unmarshal(e.data, out); err != nil {
				return c.wrap(path, err)
			}
		case "error":
			refused := &Error{}
			if err := json.Unmarshal(e.data, refused); err != nil {
				return c.wrap(path, err)
			}
			return refused
		}
		return nil
	}, edit...)
	if err == nil && !done {
		err = fmt.Errorf("bridge %s: %s: ended without a result", c.socket, path)
	}
	return err
}
