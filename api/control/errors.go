package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"syscall"

	"github.com/ipfs/go-cid"
	format "github.com/ipfs/go-ipld-format"

	"github.com/hypha-node/hypha-node/bitswap"
	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/connectors"
	"github.com/hypha-node/hypha-node/connectors/ingest"
	"github.com/hypha-node/hypha-node/dag"
	"github.com/hypha-node/hypha-node/dag/car"
	"github.com/hypha-node/hypha-node/jobs"
)

// Codes of errors: stable, for programs.
const (
	CodeInvalid      = "invalid_request"   // 400: the request can't be meant
	CodeWrongType    = "wrong_type"        // 400: a directory where a file is needed, or the reverse
	CodeForbidden    = "forbidden"         // 403: the address is refused
	CodeUnauthorized = "unauthorized"      // 403: the origin wants another credential
	CodeNotFound     = "not_found"         // 404: nobody has it
	CodeConflict     = "conflict"          // 409: something different is there
	CodeTooLarge     = "too_large"         // 413
	CodeMismatch     = "checksum_mismatch" // 422
	CodePointer      = "lfs_pointer"       // 422: a pointer of git LFS in the place of a file
	CodeMalformed    = "malformed"         // 422: the DAG is broken or hostile
	CodeInternal     = "internal"          // 500
	CodeUpstream     = "upstream"          // 502: the origin failed
	CodeOffline      = "offline"           // 503: the node takes part in no network
	CodeEnding       = "shutting_down"     // 503: the node ends
	CodeTimeout      = "timeout"           // 504: no progress
	CodeNoSpace      = "no_space"          // 507
)

// ErrNoDaemon says that nobody listens on the socket.
var ErrNoDaemon = errors.New("no daemon is running")

// ErrCut says that an answer ended before it was complete: the daemon was
// stopped or killed.
var ErrCut = errors.New("the node ended before the answer was complete")

// Error is a failed operation, as it goes over the wire.
type Error struct {
	Status int    `json:"-"` // HTTP status
	Code   string `json:"error"`
	Detail string `json:"detail"`
	Hint   string `json:"hint,omitempty"` // what to do next
	err    error
}

// Error returns the detail.
func (e *Error) Error() string { return e.Detail }

// Unwrap returns the cause; nil on the client's side of a socket.
func (e *Error) Unwrap() error { return e.err }

// invalid returns an error of the request itself.
func invalid(text string, args ...any) error {
	return &Error{Status: http.StatusBadRequest, Code: CodeInvalid, Detail: fmt.Sprintf(text, args...)}
}

// kind is one row of the table of errors.
type kind struct {
	is     error
	status int
	code   string
	hint   string
}

// kinds maps errors to codes, the most telling first.
func kinds() []kind {
	return []kind{
		{dag.ErrNoProgress, http.StatusGatewayTimeout, CodeTimeout, "--timeout waits longer"},
		{bitswap.ErrNoPeers, http.StatusNotFound, CodeNotFound, "connect to a node that has it: `hypha-node connect ADDRESS`"},
		{connectors.ErrUnauthorized, http.StatusForbidden, CodeUnauthorized, "set HF_TOKEN to a token that has access"},
		{connectors.ErrForbidden, http.StatusForbidden, CodeForbidden, "the operator opens networks with `daemon --http-allow CIDR`"},
		{connectors.ErrMismatch, http.StatusUnprocessableEntity, CodeMismatch, ""},
		{connectors.ErrPointer, http.StatusUnprocessableEntity, CodePointer, "name the file itself"},
		{connectors.ErrUnsupported, http.StatusBadRequest, CodeInvalid, ""},
		{connectors.ErrInvalid, http.StatusBadRequest, CodeInvalid, ""},
		{blockstore.ErrQuota, http.StatusInsufficientStorage, CodeNoSpace, "what is pinned stays: `hypha-node pin rm`, or a larger --storage-max"},
		{blockstore.ErrNoSpace, http.StatusInsufficientStorage, CodeNoSpace, "free some space: `hypha-node gc`, `hypha-node pin rm`"},
		{syscall.ENOSPC, http.StatusInsufficientStorage, CodeNoSpace, "free some space: `hypha-node gc`, `hypha-node pin rm`"},
		{dag.ErrExists, http.StatusConflict, CodeConflict, "--force replaces it"},
		{dag.ErrNotFile, http.StatusBadRequest, CodeWrongType, "`hypha-node ls` lists it, `hypha-node get` writes it"},
		{dag.ErrNotDir, http.StatusBadRequest, CodeWrongType, ""},
		{car.ErrMalformed, http.StatusUnprocessableEntity, CodeMalformed, ""},
		{dag.ErrMalformed, http.StatusUnprocessableEntity, CodeMalformed, ""},
		{dag.ErrTooLarge, http.StatusUnprocessableEntity, CodeMalformed, ""},
		{jobs.ErrNotFound, http.StatusNotFound, CodeNotFound, "`hypha-node job ls` lists them"},
		{jobs.ErrExists, http.StatusConflict, CodeConflict, ""},
		{jobs.ErrID, http.StatusBadRequest, CodeInvalid, ""},
		{jobs.ErrSpec, http.StatusBadRequest, CodeInvalid, ""},
		{jobs.ErrWorkDir, http.StatusBadRequest, CodeInvalid, ""},
		{jobs.ErrStream, http.StatusBadRequest, CodeInvalid, ""},
		{jobs.ErrState, http.StatusConflict, CodeConflict, "`hypha-node job show` tells the state of a job"},
		{jobs.ErrClosed, http.StatusServiceUnavailable, CodeEnding, ""},
		{connectors.ErrNotFound, http.StatusNotFound, CodeNotFound, ""},
		{fs.ErrNotExist, http.StatusNotFound, CodeNotFound, ""},
		{connectors.ErrUpstream, http.StatusBadGateway, CodeUpstream, ""},
		{ingest.ErrClosed, http.StatusServiceUnavailable, CodeEnding, ""},
		{context.Canceled, http.StatusServiceUnavailable, CodeEnding, ""},
		{context.DeadlineExceeded, http.StatusGatewayTimeout, CodeTimeout, "--timeout waits longer"},
	}
}

// describe returns the wire form of any error.
func describe(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	e := &Error{Status: http.StatusInternalServerError, Code: CodeInternal, Detail: err.Error(), err: err}
	if origin, ok := errors.AsType[*connectors.Error](err); ok {
		e.Hint = origin.Hint
		switch { // each layer has said which block; once is enough
		case errors.Is(err, bitswap.ErrNoPeers):
			e.Detail = origin.Source + " is not stored here, and there are no peers to ask"
		case errors.Is(err, dag.ErrNoProgress):
			e.Detail = origin.Source + ": no peer has sent any of it for too long"
		}
	}
	for _, k := range kinds() {
		if !errors.Is(err, k.is) {
			continue
		}
		e.Status, e.Code = k.status, k.code
		if e.Hint == "" {
			e.Hint = k.hint
		}
		return e
	}
	if format.IsNotFound(err) {
		e.Status, e.Code = http.StatusNotFound, CodeNotFound
	}
	if _, ok := errors.AsType[cid.ErrInvalidCid](err); ok {
		e.Status, e.Code = http.StatusBadRequest, CodeInvalid
	}
	return e
}
