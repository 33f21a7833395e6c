package client

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"

	"github.com/hypha-node/hypha-node/bridge"
)

// fetchBody is the body of a fetch or a prefetch.
type fetchBody struct {
	Fetch    any    `json:"fetch"`
	OutDir   string `json:"out_dir,omitempty"`
	Progress bool   `json:"progress,omitempty"`
}

// Fetch brings the files of a reference into the job's work directory. ref is a
// URI, or anything that encoding/json makes a reference object of; outDir may be
// "" for the default. A refusal is an *Error, which names the finished files.
func (c *Client) Fetch(ctx context.Context, ref any, outDir string) ([]bridge.Result, error) {
	var results []bridge.Result
	if err := c.call(ctx, http.MethodPost, "/resources/fetch", fetchBody{Fetch: ref, OutDir: outDir}, &results); err != nil {
		return nil, err
	}
	return results, nil
}

// FetchProgress is Fetch that tells how far it is, on the caller's goroutine.
func (c *Client) FetchProgress(ctx context.Context, ref any, outDir string, progress func(bridge.Transfer)) ([]bridge.Result, error) {
	var results []bridge.Result
	err := c.watch(ctx, "/resources/fetch", fetchBody{ref, outDir, true}, progress, &results)
	return results, err
}

// Prefetch begins to bring the files of a reference into the store, from where a
// fetch takes them without a transfer.
func (c *Client) Prefetch(ctx context.Context, ref any) (transferID string, err error) {
	var a accepted
	err = c.call(ctx, http.MethodPost, "/resources/prefetch", fetchBody{Fetch: ref}, &a)
	return a.TransferID, err
}

// accepted is the answer to what goes on without its client.
type accepted struct {
	TransferID string `json:"transfer_id"`
}

// Put takes a file or a directory of the work directory into the store.
func (c *Client) Put(ctx context.Context, r bridge.PutRequest) (bridge.Published, error) {
	body := struct {
		Path     string `json:"path"`
		Pin      bool   `json:"pin"`
		Announce bool   `json:"announce"`
	}{r.Path, r.Pin, r.Announce}
	var p bridge.Published
	err := c.call(ctx, http.MethodPost, "/resources/put", body, &p)
	return p, err
}

// Transfers returns what is under way and what ended last, in the order in which
// it began.
func (c *Client) Transfers(ctx context.Context) ([]bridge.Transfer, error) {
	var list []bridge.Transfer
	err := c.call(ctx, http.MethodGet, "/transfers", nil, &list)
	return list, err
}

// Transfer returns one transfer.
func (c *Client) Transfer(ctx context.Context, id string) (bridge.Transfer, error) {
	var t bridge.Transfer
	err := c.call(ctx, http.MethodGet, "/transfers/"+url.PathEscape(id), nil, &t)
	return t, err
}

// Cancel ends a transfer; one that has ended stays as it is.
func (c *Client) Cancel(ctx context.Context, id string) error {
	if id == "" {
		return errors.New("cancel: no transfer id")
	}
	return c.call(ctx, http.MethodDelete, "/transfers/"+url.PathEscape(id), nil, nil)
}

// Status reports to the job's controller and returns its answer. body is
// anything that encoding/json encodes; a json.RawMessage goes byte for byte. It
// is never repeated.
func (c *Client) Status(ctx context.Context, body any) (json.RawMessage, error) {
	return c.report(ctx, "/status/send", body)
}

// Action is Status for what an executor's action protocol says.
func (c *Client) Action(ctx context.Context, body any) (json.RawMessage, error) {
	return c.report(ctx, "/action/update", body)
}

// Progress is Status for how far the job is.
func (c *Client) Progress(ctx context.Context, body any) (json.RawMessage, error) {
	return c.report(ctx, "/job/progress", body)
}

func (c *Client) report(ctx context.Context, path string, body any) (json.RawMessage, error) {
	if body == nil {
		body = json.RawMessage("null")
	}
	var answer json.RawMessage
	err := c.call(ctx, http.MethodPost, path, body, &answer)
	return answer, err
}

// Stats tells what the job did since it was opened.
func (c *Client) Stats(ctx context.Context) (bridge.Stats, error) {
	var s bridge.Stats
	err := c.call(ctx, http.MethodGet, "/stats", nil, &s)
	return s, err
}
