package client

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/hypha-node/hypha-node/bridge"
)

// Error is a refusal of the bridge.
type Error struct {
	Status     int                `json:"-"`          // HTTP status; 0 when it came in a stream
	Code       string             `json:"error"`      // "not_found", "invalid_path", …
	Class      string             `json:"class"`      // "connector_error", "network_error", "io_error" or ""
	Detail     string             `json:"detail"`     // for people
	Hint       string             `json:"hint"`       // the next step, or ""
	RequestID  string             `json:"request_id"` // as in the node's log
	Path       string             `json:"path"`       // the file that failed, or ""
	Completed  []bridge.Result    `json:"completed"`  // of a fetch: files that were finished before
	Results    []bridge.Delivered `json:"results"`    // of a send: every peer
	RetryAfter time.Duration      `json:"-"`          // 0 if the bridge did not say
}

// Error returns "detail (code)".
func (e *Error) Error() string { return fmt.Sprintf("%s (%s)", e.Detail, e.Code) }

// refusal makes an Error of an answer, also of one that is not ours.
func refusal(resp *http.Response, data []byte) error {
	e := &Error{}
	if err := json.Unmarshal(data, e); err != nil || e.Code == "" {
		*e = Error{Code: strings.ToLower(strings.ReplaceAll(http.StatusText(resp.StatusCode), " ", "_")), Detail: resp.Status}
	}
	e.Status = resp.StatusCode
	if s, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && s > 0 {
		e.RetryAfter = time.Duration(s) * time.Second
	}
	return e
}
