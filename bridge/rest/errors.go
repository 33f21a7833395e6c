package rest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"time"

	ipld "github.com/ipfs/go-ipld-format"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/bridge"
	"github.com/hypha-node/hypha-node/connectors"
	"github.com/hypha-node/hypha-node/connectors/ingest"
	"github.com/hypha-node/hypha-node/dag"
)

// Errors that arise in this package.
var (
	errRoute   = errors.New("no such route; GET /openapi.json lists them")
	errMethod  = errors.New("the route does not take this method")
	errMedia   = errors.New("the body must be application/json, not encoded")
	errBody    = errors.New("the body is larger than 2 MiB")
	errJSON    = errors.New("the body is no JSON")
	errTimeout = errors.New("the body did not arrive in time")
	errValue   = errors.New("invalid request")
	errCrowd   = errors.New("too many requests are under way")

	errController = errors.New("the job's controller failed")
)

// shapeError is JSON of the wrong shape.
type shapeError struct {
	field   string // "" for the body itself
	problem string // "must be a string"
}

// Error returns "field problem".
func (e *shapeError) Error() string {
	if e.field == "" {
		return "the body " + e.problem
	}
	return e.field + " " + e.problem
}

// class is what the API says of a family of errors.
type class struct {
	err    error
	status int
	code   string
	hint   string // the next step, unless the error brings its own
	kind   string // what the original Job Bridge calls it, "" where it has no name for it
}

// Kinds of failures, by the names that the original Job Bridge has for them: the
// field class, for whoever reads logs by them.
const (
	fromOrigin  = "connector_error" // of the source of a reference
	fromNetwork = "network_error"   // between nodes
	fromDisk    = "io_error"        // of the node's disk, or of a file of the work directory
)

// classes is the table of errors, most telling first: of several that match,
// the first counts. Nothing else in the API chooses a status.
func classes() []class {
	return []class{
		{errRoute, http.StatusNotFound, "not_found", "", ""},
		{ErrCaller, http.StatusForbidden, "forbidden_caller", "a job's socket is for the processes of that job", ""},
		{errMethod, http.StatusMethodNotAllowed, "method_not_allowed", "", ""},
		{errMedia, http.StatusUnsupportedMediaType, "unsupported_media_type", "send Content-Type: application/json", ""},
		{errBody, http.StatusRequestEntityTooLarge, "too_large", "", ""},
		{errCrowd, http.StatusServiceUnavailable, "busy", "", ""},
		{errTimeout, http.StatusRequestTimeout, "timeout", "", ""},
		{errJSON, http.StatusBadRequest, "invalid_json", "", ""},
		{bridge.ErrClosed, http.StatusServiceUnavailable, "shutting_down", "", ""},
		{ingest.ErrClosed, http.StatusServiceUnavailable, "shutting_down", "", ""},
		{blockstore.ErrClosed, http.StatusServiceUnavailable, "shutting_down", "", ""},
		{blockstore.ErrQuota, http.StatusInsufficientStorage, "no_space", "what is pinned stays: remove pins, or give the node a larger --storage-max", fromDisk},
		{blockstore.ErrNoSpace, http.StatusInsufficientStorage, "no_space", "free space, or remove pins and run hypha-node gc", fromDisk},
		{syscall.ENOSPC, http.StatusInsufficientStorage, "no_space", "free space, or remove pins and run hypha-node gc", fromDisk},
		{syscall.EDQUOT, http.StatusInsufficientStorage, "no_space", "the quota of the node's user is used up", fromDisk},
		{bridge.ErrCancelled, http.StatusConflict, "cancelled", "", ""},
		{errController, http.StatusBadGateway, "controller_error", "", fromNetwork},
		{bridge.ErrOffline, http.StatusServiceUnavailable, "offline", "run hypha-node daemon with a network", fromNetwork},
		{bridge.ErrQuota, http.StatusInsufficientStorage, "quota_exceeded", "GET /job shows the limits and what is used of them", ""},
		{bridge.ErrBusy, http.StatusTooManyRequests, "busy", "", ""},
		{bridge.ErrConflict, http.StatusConflict, "conflict", "", fromDisk},
		{bridge.ErrNotFound, http.StatusNotFound, "not_found", "", ""},
		{bridge.ErrInvalidPath, http.StatusBadRequest, "invalid_path", "", ""},
		{bridge.ErrTooMany, http.StatusUnprocessableEntity, "too_many_files", "name fewer files, or narrow the patterns", ""},
		{connectors.ErrMismatch, http.StatusUnprocessableEntity, "checksum_mismatch", "", fromOrigin},
		{connectors.ErrPointer, http.StatusUnprocessableEntity, "lfs_pointer", "name the file itself", fromOrigin},
		{connectors.ErrForbidden, http.StatusForbidden, "forbidden_address", "the operator can allow it: daemon --http-allow CIDR", fromOrigin},
		{connectors.ErrUnauthorized, http.StatusForbidden, "gated", "", fromOrigin},
		{connectors.ErrNotFound, http.StatusNotFound, "not_found", "", fromOrigin},
		{connectors.ErrUnsupported, http.StatusUnprocessableEntity, "unsupported_reference", "", ""},
		{connectors.ErrInvalid, http.StatusBadRequest, "invalid_request", "", ""},
		{errValue, http.StatusBadRequest, "invalid_request", "", ""},
		{connectors.ErrUpstream, http.StatusBadGateway, "origin_error", "", fromOrigin},
		{dag.ErrMalformed, http.StatusBadGateway, "origin_error", "", fromNetwork},
		{dag.ErrNoProgress, http.StatusNotFound, "not_found", "connect to a peer that has the content", fromNetwork},
		{context.DeadlineExceeded, http.StatusGatewayTimeout, "timeout", "", fromNetwork},
	}
}

// classify returns the row for an error; one that no row knows is internal.
func classify(err error) class {
	if se, ok := errors.AsType[*bridge.SendError](err); ok {
		return classifySend(se)
	}
	if _, ok := errors.AsType[*shapeError](err); ok {
		return class{err: err, status: http.StatusUnprocessableEntity, code: "invalid_request"}
	}
	for _, c := range classes() {
		if errors.Is(err, c.err) {
			if errors.Is(c.err, bridge.ErrNotFound) && errors.Is(err, fs.ErrNotExist) { // a file, not a transfer
				c.kind = fromDisk
			}
			return c
		}
	}
	if ipld.IsNotFound(err) {
		return class{err: err, status: http.StatusNotFound, code: "not_found", kind: fromNetwork}
	}
	internal := class{err: err, status: http.StatusInternalServerError, code: "internal"}
	if _, ok := errors.AsType[*fs.PathError](err); ok {
		internal.kind = fromDisk
	}
	return internal
}

// classifySend returns the row for a send that some peers did not get: when the
// time was up, that; else what is wrong with this node; else the peers' fault.
func classifySend(err *bridge.SendError) class {
	for _, c := range classes() {
		if c.status >= http.StatusServiceUnavailable && errors.Is(err.Err, c.err) {
			return c
		}
	}
	return class{err: err, status: http.StatusBadGateway, code: codeDelivery, hint: "each of results says why; the same Idempotency-Key sends again to those that failed", kind: fromNetwork}
}

// codeDelivery is the code of a *bridge.SendError.
const codeDelivery = "delivery_failed"

// problem is the body of every refusal.
type problem struct {
	Error     string             `json:"error"`              // stable code, lower case with underscores
	Class     string             `json:"class,omitempty"`    // connector_error, network_error or io_error, where one of them fits
	Detail    string             `json:"detail"`             // for people; at most 2 KiB
	Hint      string             `json:"hint,omitempty"`     // the next step
	RequestID string             `json:"request_id"`         // as in the node's log
	Path      string             `json:"path,omitempty"`     // the file that failed, relative to the work directory
	Completed []bridge.Result    `json:"completed,omitzero"` // finished files, in order; not nil when a fetch failed on the way
	Results   []bridge.Delivered `json:"results,omitzero"`   // of every peer, in order; not nil when a send failed on the way
}

// verdict is what a client is told of an error.
type verdict struct {
	status     int
	retryAfter time.Duration // 0: nothing is said
	problem    problem
}

// fail answers an error. A client that is gone gets nothing.
func (h *Handler) fail(w http.ResponseWriter, r *http.Request, err error) {
	v := h.judge(r, err)
	if v == nil {
		return
	}
	if v.retryAfter > 0 {
		// Whole seconds, rounded up: RFC 9110, section 10.2.3.
		w.Header().Set("Retry-After", strconv.FormatInt(int64((v.retryAfter+time.Second-1)/time.Second), 10))
	}
	if err := h.reply(w, v.status, v.problem); err != nil {
		h.log.Debug("client gone", attrs(r, err)...)
	}
}

// judge says what a client is told of an error, and logs what it is not told;
// nil when the client is gone.
func (h *Handler) judge(r *http.Request, err error) *verdict {
	// The server takes a body's deadline for the client's end, too.
	if cause := context.Cause(r.Context()); cause != nil && !errors.Is(err, errTimeout) {
		if !errors.Is(cause, bridge.ErrClosed) {
			err = errors.Join(errGone, err)
		} else if !errors.Is(err, bridge.ErrClosed) {
			err = fmt.Errorf("%w: %w", cause, err)
		}
	}
	if errors.Is(err, errGone) {
		h.log.Debug("client gone", attrs(r, err)...)
		return nil
	}
	c := classify(err)
	if c.status == http.StatusInternalServerError {
		h.log.Error("request failed", attrs(r, err)...)
	}
	v := &verdict{status: c.status, problem: problem{
		Error: c.code, Class: c.kind, Detail: clip(err.Error()), Hint: c.hint, RequestID: requestID(r.Context()),
	}}
	if errors.Is(err, bridge.ErrBusy) || errors.Is(err, errCrowd) {
		v.retryAfter = time.Second
	}
	if ce, ok := errors.AsType[*connectors.Error](err); ok {
		v.retryAfter = ce.RetryAfter
		v.problem.Hint = cmp.Or(ce.Hint, v.problem.Hint)
	}
	if fe, ok := errors.AsType[*bridge.FetchError](err); ok {
		v.problem.Path, v.problem.Completed = fe.Path, fe.Completed
	}
	if se, ok := errors.AsType[*bridge.SendError](err); ok {
		v.problem.Results = se.Results
	}
	return v
}

// clip bounds a detail: it may quote what an origin sent.
func clip(s string) string {
	const most = 2 << 10 // bytes
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
