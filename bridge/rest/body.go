package rest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"strings"
	"time"
)

const (
	maxBody   = 2 << 20  // bytes of a request body: what the original takes
	smallBody = 64 << 10 // bytes that every connection may hold without a slot
	bigBodies = 16       // larger bodies held at once: 32 MiB
	maxDepth  = 32       // nested arrays and objects of a body
)

// readBody returns the JSON body of a request, checked for type, size and depth.
func (h *Handler) readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if err := checkMedia(r.Header); err != nil {
		return nil, err
	}
	if r.ContentLength > maxBody {
		return nil, errBody
	}
	timer := time.NewTimer(h.conf.BodyTimeout)
	defer timer.Stop()
	in := http.MaxBytesReader(w, r.Body, maxBody)
	body, err := io.ReadAll(io.LimitReader(in, smallBody))
	if err == nil && len(body) == smallBody {
		select {
		case h.bigBody <- struct{}{}:
			defer func() { <-h.bigBody }()
		case <-timer.C:
			return nil, errTimeout
		case <-r.Context().Done():
			return nil, r.Context().Err()
		}
		rest := bytes.NewBuffer(body)
		_, err = rest.ReadFrom(in)
		body = rest.Bytes()
	}
	if err != nil {
		return nil, bodyError(err)
	}
	// From here on the server watches the connection for the client's end: a
	// deadline would look like one.
	if err := deadline(http.NewResponseController(w).SetReadDeadline, 0); err != nil {
		return nil, err
	}
	return body, checkJSON(body)
}

// bodyError says why a body could not be read.
func bodyError(err error) error {
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return errBody
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return errTimeout
	}
	return fmt.Errorf("%w: %w", errJSON, err)
}

// checkMedia refuses everything but plain JSON.
func checkMedia(header http.Header) error {
	kind, _, err := mime.ParseMediaType(header.Get("Content-Type"))
	if err != nil || kind != "application/json" {
		return errMedia
	}
	if enc := header.Get("Content-Encoding"); enc != "" && !strings.EqualFold(enc, "identity") {
		return errMedia
	}
	return nil
}

// checkJSON tells whether body is one JSON value of bounded depth.
func checkJSON(body []byte) error {
	if deepest(body) > maxDepth {
		return fmt.Errorf("%w that nests at most %d levels", errJSON, maxDepth)
	}
	var v json.RawMessage
	if err := json.Unmarshal(body, &v); err != nil {
		return fmt.Errorf("%w: %w", errJSON, err)
	}
	return nil
}

// deepest returns how deep brackets nest outside of strings, in one pass and
// without recursion.
func deepest(body []byte) int {
	depth, most := 0, 0
	for i := 0; i < len(body); i++ {
		switch body[i] {
		case '[', '{':
			depth++
			most = max(most, depth)
		case ']', '}':
			depth--
		case '"':
			for i++; i < len(body) && body[i] != '"'; i++ {
				if body[i] == '\\' {
					i++
				}
			}
		}
	}
	return most
}
