package conformance

import (
	"encoding/json"
	"net/http"
	"testing"
)

// TestF11Refused: endpoints, credentials and addresses of S3 are the operator's,
// who has configured none here.
func TestF11Refused(t *testing.T) {
	j := newJob(t, shared.nodes[0])
	for _, tc := range []struct {
		name   string
		ref    any
		status int
		code   string
	}{
		{"not configured", map[string]any{"type": "s3", "bucket": "bucket", "key": "key"}, http.StatusForbidden, "forbidden_address"},
		{"not configured, as a URI", json.RawMessage(`"s3://bucket/key"`), http.StatusForbidden, "forbidden_address"},
		{"unknown endpoint", map[string]any{"type": "S3", "bucket": "bucket", "key": "key", "endpoint": "lab"}, http.StatusBadRequest, "invalid_request"},
		{"an address", map[string]any{"type": "s3", "bucket": "bucket", "key": "key", "endpoint": "http://169.254.169.254"}, http.StatusBadRequest, "invalid_request"},
		{"a token", map[string]any{"type": "s3", "bucket": "bucket", "key": "key", "token": "t"}, http.StatusBadRequest, "invalid_request"},
		{"no key", map[string]any{"type": "s3", "bucket": "bucket"}, http.StatusBadRequest, "invalid_request"},
		{"another bucket by a path", json.RawMessage(`"s3://bucket/../other/key"`), http.StatusBadRequest, "invalid_request"},
	} {
		t.Run(tc.name, func(t *testing.T) { j.post(t, "/resources/fetch", tc.ref).refused(t, tc.status, tc.code) })
	}
}
