package control

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strconv"

	"github.com/hypha-node/hypha-node/jobs"
)

// ID returns who the node is.
func (c *Client) ID(ctx context.Context) (Identity, error) {
	return call[Identity](ctx, c, http.MethodGet, "/v1/id", nil)
}

// Peers returns the connected peers, in the order of their ids.
func (c *Client) Peers(ctx context.Context) ([]Peer, error) {
	return call[[]Peer](ctx, c, http.MethodGet, "/v1/peers", nil)
}

// Connect dials a peer.
func (c *Client) Connect(ctx context.Context, r ConnectRequest) (ConnectResponse, error) {
	return call[ConnectResponse](ctx, c, http.MethodPost, "/v1/connect", r)
}

// Fetch gets the files that references stand for.
func (c *Client) Fetch(ctx context.Context, r FetchRequest) iter.Seq2[Event[Fetched], error] {
	return events[Fetched](ctx, c, http.MethodPost, "/v1/fetch", r)
}

// Add imports files and directories.
func (c *Client) Add(ctx context.Context, r AddRequest) iter.Seq2[Event[Added], error] {
	return events[Added](ctx, c, http.MethodPost, "/v1/add", r)
}

// AddContent imports what content yields as one file.
func (c *Client) AddContent(ctx context.Context, r AddRequest, content io.Reader) (Added, error) {
	return upload[Added](ctx, c, http.MethodPost, "/v1/add/content?"+r.query().Encode(), io.NopCloser(content))
}

// Get writes a file or tree to disk.
func (c *Client) Get(ctx context.Context, r GetRequest) iter.Seq2[Event[Written], error] {
	return events[Written](ctx, c, http.MethodPost, "/v1/get", r)
}

// Cat copies bytes of one file to w and returns how many. An error means that
// they are not all; those that were written are right.
func (c *Client) Cat(ctx context.Context, r CatRequest, w io.Writer) (int64, error) {
	return c.content(ctx, "/v1/cat?"+r.query().Encode(), w)
}

// content copies an answer of bytes to w.
func (c *Client) content(ctx context.Context, path string, w io.Writer) (int64, error) {
	resp, err := c.send(ctx, http.MethodGet, path, http.NoBody)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close() // what counts was read
	n, err := copyBody(w, resp.Body)
	if _, ours := errors.AsType[*writeFailure](err); ours {
		return n, errors.Unwrap(err)
	}
	if text := resp.Trailer.Get(trailerError); text != "" {
		e := &Error{Code: CodeInternal, Detail: text}
		if jerr := json.Unmarshal([]byte(text), e); jerr != nil {
			return n, jerr
		}
		return n, e
	}
	if err != nil {
		return n, plain(ctx, err)
	}
	return n, nil
}

// writeFailure marks an error of the destination.
type writeFailure struct{ error }

// Unwrap returns the destination's error.
func (w *writeFailure) Unwrap() error { return w.error }

// markWriter tells errors of the destination from those of the source.
type markWriter struct{ io.Writer }

// Write writes to the destination.
func (m markWriter) Write(b []byte) (int, error) {
	n, err := m.Writer.Write(b)
	if err != nil {
		return n, &writeFailure{err}
	}
	return n, nil
}

// copyBuffer holds what one read of a socket brings: bytes.
const copyBuffer = 256 << 10

// copyBody copies a body, in large pieces.
func copyBody(w io.Writer, body io.Reader) (int64, error) {
	if direct, ok := body.(io.WriterTo); ok {
		return direct.WriteTo(markWriter{w})
	}
	return io.CopyBuffer(markWriter{w}, body, make([]byte, copyBuffer))
}

// List yields the entries of a directory.
func (c *Client) List(ctx context.Context, r PathRequest) iter.Seq2[Event[Entry], error] {
	return events[Entry](ctx, c, http.MethodPost, "/v1/ls", r)
}

// Stat describes a node of a DAG.
func (c *Client) Stat(ctx context.Context, r PathRequest) (Stat, error) {
	return call[Stat](ctx, c, http.MethodPost, "/v1/stat", r)
}

// BlockGet copies one block's bytes to w.
func (c *Client) BlockGet(ctx context.Context, id string, w io.Writer) error {
	resp, err := c.send(ctx, http.MethodGet, "/v1/blocks/"+url.PathEscape(id), http.NoBody)
	if err != nil {
		return err
	}
	_, err = copyBody(w, resp.Body)
	return errors.Join(err, resp.Body.Close())
}

// BlockPut stores one block of a codec ("raw", "dag-pb") and returns its CID.
func (c *Client) BlockPut(ctx context.Context, codec string, content io.Reader) (BlockStat, error) {
	query := url.Values{"codec": {codec}}
	return upload[BlockStat](ctx, c, http.MethodPost, "/v1/blocks?"+query.Encode(), io.NopCloser(content))
}

// BlockStat describes one stored block.
func (c *Client) BlockStat(ctx context.Context, id string) (BlockStat, error) {
	return call[BlockStat](ctx, c, http.MethodGet, "/v1/blocks/"+url.PathEscape(id)+"/stat", nil)
}

// BlockRemove deletes one block that no file and no pin is known to need.
func (c *Client) BlockRemove(ctx context.Context, id string) error {
	_, err := call[none](ctx, c, http.MethodDelete, "/v1/blocks/"+url.PathEscape(id), nil)
	return err
}

// DAGExport writes a CAR to disk.
func (c *Client) DAGExport(ctx context.Context, r ExportRequest) iter.Seq2[Event[Exported], error] {
	return events[Exported](ctx, c, http.MethodPost, "/v1/dag/export", r)
}

// DAGExportTo copies a CAR to w and returns its size. An error means that it is
// not whole.
func (c *Client) DAGExportTo(ctx context.Context, r ExportRequest, w io.Writer) (int64, error) {
	return c.content(ctx, "/v1/dag/export?"+r.query().Encode(), w)
}

// DAGImport imports CARs from disk.
func (c *Client) DAGImport(ctx context.Context, r ImportRequest) iter.Seq2[Event[Imported], error] {
	return events[Imported](ctx, c, http.MethodPost, "/v1/dag/import", r)
}

// DAGImportContent imports the CAR that content yields.
func (c *Client) DAGImportContent(ctx context.Context, r ImportRequest, content io.Reader) (Imported, error) {
	return upload[Imported](ctx, c, http.MethodPost, "/v1/dag/import/content?"+r.query().Encode(), io.NopCloser(content))
}

// Pins yields all pins.
func (c *Client) Pins(ctx context.Context) iter.Seq2[Event[Pin], error] {
	return events[Pin](ctx, c, http.MethodGet, "/v1/pins", nil)
}

// Pin keeps a DAG, getting what is missing of it.
func (c *Client) Pin(ctx context.Context, r PinRequest) (Pin, error) {
	return call[Pin](ctx, c, http.MethodPost, "/v1/pins", r)
}

// Unpin removes one pin.
func (c *Client) Unpin(ctx context.Context, r PinRequest) (Pin, error) {
	return call[Pin](ctx, c, http.MethodPost, "/v1/pins/remove", r)
}

// Collect drops what no pin reaches.
func (c *Client) Collect(ctx context.Context) (Collected, error) {
	return call[Collected](ctx, c, http.MethodPost, "/v1/gc", none{})
}

// Verify hashes everything again and yields what is damaged.
func (c *Client) Verify(ctx context.Context, r VerifyRequest) iter.Seq2[Event[Finding], error] {
	return events[Finding](ctx, c, http.MethodPost, "/v1/verify", r)
}

// Usage counts what the repository holds.
func (c *Client) Usage(ctx context.Context) (Usage, error) {
	return call[Usage](ctx, c, http.MethodGet, "/v1/usage", nil)
}

// JobCreate makes a job and serves its bridge.
func (c *Client) JobCreate(ctx context.Context, r JobRequest) (jobs.Job, error) {
	return call[jobs.Job](ctx, c, http.MethodPost, "/v1/jobs", r)
}

// Jobs yields all jobs.
func (c *Client) Jobs(ctx context.Context) iter.Seq2[Event[jobs.Job], error] {
	return events[jobs.Job](ctx, c, http.MethodGet, "/v1/jobs", nil)
}

// JobShow describes a job.
func (c *Client) JobShow(ctx context.Context, id string) (jobs.Job, error) {
	return call[jobs.Job](ctx, c, http.MethodGet, "/v1/jobs/"+url.PathEscape(id), nil)
}

// JobDismiss is JobRemove for a job whose outputs stay pinned.
func (c *Client) JobDismiss(ctx context.Context, id string) error {
	_, err := call[none](ctx, c, http.MethodDelete, "/v1/jobs/"+url.PathEscape(id)+"?outputs=keep", nil)
	return err
}

// JobRemove ends a job and removes its work directory and its socket, and the pins
// of its outputs.
func (c *Client) JobRemove(ctx context.Context, id string) error {
	_, err := call[none](ctx, c, http.MethodDelete, "/v1/jobs/"+url.PathEscape(id), nil)
	return err
}

// JobStop ends a job, which stays listed, and returns when it has ended.
func (c *Client) JobStop(ctx context.Context, id string) (jobs.Job, error) {
	return call[jobs.Job](ctx, c, http.MethodPost, jobPath(id, "stop"), nil)
}

// JobWatch yields a job at each change of its state until it has ended.
func (c *Client) JobWatch(ctx context.Context, id string) iter.Seq2[Event[jobs.Job], error] {
	return events[jobs.Job](ctx, c, http.MethodGet, jobPath(id, "watch"), nil)
}

// JobHold keeps a held job until the loop is left or ctx ends. It yields the job
// once.
func (c *Client) JobHold(ctx context.Context, id string) iter.Seq2[Event[jobs.Job], error] {
	return events[jobs.Job](ctx, c, http.MethodPost, jobPath(id, "hold"), nil)
}

// JobStage fetches the inputs of a job whose command is the caller's, and yields
// the job when the command may be run.
func (c *Client) JobStage(ctx context.Context, id string) iter.Seq2[Event[jobs.Job], error] {
	return events[jobs.Job](ctx, c, http.MethodPost, jobPath(id, "stage"), nil)
}

// JobFinish ends a job whose command was the caller's; its outputs are stored.
func (c *Client) JobFinish(ctx context.Context, r JobEnd) (jobs.Job, error) {
	return call[jobs.Job](ctx, c, http.MethodPost, jobPath(r.ID, "finish"), r)
}

// JobLogs copies an output of a job's command to w.
func (c *Client) JobLogs(ctx context.Context, r LogsRequest, w io.Writer) error {
	q := url.Values{}
	if r.Stream != "" {
		q.Set("stream", string(r.Stream))
	}
	if r.Follow {
		q.Set("follow", "true")
	}
	_, err := c.content(ctx, jobPath(r.ID, "logs")+"?"+q.Encode(), w)
	return err
}

// jobPath returns the path of an operation on a job.
func jobPath(id, operation string) string { return "/v1/jobs/" + url.PathEscape(id) + "/" + operation }

// query returns the request as a query.
func (r CatRequest) query() url.Values {
	q := url.Values{"path": {r.Path}, "length": {strconv.FormatInt(r.Length, 10)}}
	if r.Offset != 0 {
		q.Set("offset", strconv.FormatInt(r.Offset, 10))
	}
	if r.TimeoutMS != 0 {
		q.Set("timeout_ms", strconv.FormatInt(r.TimeoutMS, 10))
	}
	return q
}

// query returns those fields that streamed content has, as a query.
func (r AddRequest) query() url.Values {
	q := url.Values{}
	for name, value := range map[string]string{"name": r.Name, "profile": r.Profile, "chunker": r.Chunker} {
		if value != "" {
			q.Set(name, value)
		}
	}
	for name, set := range map[string]bool{"hash_only": r.HashOnly, "no_pin": r.NoPin} {
		if set {
			q.Set(name, "true")
		}
	}
	return q
}

// query returns those fields that streamed content has, as a query.
func (r ImportRequest) query() url.Values {
	q := url.Values{}
	if r.PinName != "" {
		q.Set("pin_name", r.PinName)
	}
	if r.NoPin {
		q.Set("no_pin", "true")
	}
	return q
}
