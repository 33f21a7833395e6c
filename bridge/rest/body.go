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

	"github.com/hypha-node/hypha-node/bridge"
	"github.com/hypha-node/hypha-node/connectors"
)

const (
	maxBody   = 1 << 20  // bytes of a request body
	smallBody = 64 << 10 // bytes that every connection may hold without a slot
	bigBodies = 16       // larger bodies held at once: 16 MiB
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

// parseFetch reads the body of POST /resources/fetch in every dialect:
//
//	{"fetch":R,"out_dir"?}      the reference beside the directory
//	{"resource":R,"out_dir"?}   the same, where the top level has no "type"
//	R                           the bare reference, "out_dir" allowed in it
//
// where R is an object or a URI as a string.
func parseFetch(body []byte) (bridge.FetchRequest, error) {
	var req bridge.FetchRequest
	body = bytes.TrimSpace(body)
	raw := json.RawMessage(body)
	field := ""
	if len(body) > 0 && body[0] == '{' {
		top := map[string]json.RawMessage{}
		if err := json.Unmarshal(body, &top); err != nil {
			return req, fmt.Errorf("%w: %w", errJSON, err)
		}
		out, err := text(top, "out_dir")
		if err != nil {
			return req, err
		}
		req.OutDir = out
		field, raw = reference(top, body)
	}
	if err := checkShape(field, raw); err != nil {
		return req, err
	}
	var ref connectors.Ref
	if err := ref.UnmarshalJSON(raw); err != nil {
		return req, err
	}
	req.Ref = ref
	return req, nil
}

// reference finds the reference in an object and the field that holds it, ""
// for the object itself.
func reference(top map[string]json.RawMessage, body []byte) (field string, raw json.RawMessage) {
	if raw, ok := present(top, "fetch"); ok {
		return "fetch", raw
	}
	if _, typed := top["type"]; !typed {
		if raw, ok := present(top, "resource"); ok {
			return "resource", raw
		}
	}
	return "", body
}

// present returns a field that is there and not null.
func present(top map[string]json.RawMessage, name string) (json.RawMessage, bool) {
	raw, ok := top[name]
	return raw, ok && string(raw) != "null"
}

// text returns a string field, "" if it is absent or null.
func text(top map[string]json.RawMessage, name string) (string, error) {
	raw, ok := present(top, name)
	if !ok {
		return "", nil
	}
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		return "", &shapeError{field: name, problem: "must be a string"}
	}
	return s, nil
}

// shapes says which JSON the fields of a reference are, by their first byte: a
// wrong type is the request's fault (422) before it is the reference's (400).
func shapes() map[string]string {
	const str, list, strOrList, strOrObject = `"`, `[`, `"[`, `"{`
	return map[string]string{
		"type": str, "value": strOrList, "uri": str, "url": str, "repository": str, "repo_id": str,
		"revision": str, "repo_type": str, "token": str, "checksum": str, "filename": str, "dataset": str,
		"filenames": strOrList, "values": strOrList, "allow_patterns": strOrList, "ignore_patterns": strOrList,
		"headers": `{`, "peers": list, "strategy": strOrObject,
	}
}

// checkShape refuses a reference whose fields have the wrong JSON types.
func checkShape(field string, raw json.RawMessage) error {
	if len(raw) > 0 && raw[0] == '"' {
		return nil
	}
	if len(raw) == 0 || raw[0] != '{' {
		return &shapeError{field: field, problem: "must be a reference: an object or a URI"}
	}
	fields := map[string]json.RawMessage{}
	if err := json.Unmarshal(raw, &fields); err != nil {
		return fmt.Errorf("%w: %w", errJSON, err)
	}
	if _, ok := present(fields, "type"); !ok {
		return &shapeError{field: join(field, "type"), problem: "is missing"}
	}
	for name, first := range shapes() {
		value, ok := present(fields, name)
		if ok && !strings.Contains(first, string(value[:1])) {
			return &shapeError{field: join(field, name), problem: "has the wrong JSON type"}
		}
	}
	return nil
}

// join returns the path of a field inside another.
func join(outer, inner string) string {
	if outer == "" {
		return inner
	}
	return outer + "." + inner
}
