package conformance

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hypha-node/hypha-node/testground/rig"
)

// TestF11: objects of a bucket, by key and by prefix, from a real S3 server with
// the node's credentials; the second job gets the same without a byte of them.
func TestF11(t *testing.T) {
	name, err := rig.FindVersityGW()
	if err != nil {
		t.Skipf("no versitygw: %v", err)
	}
	g, err := rig.StartVersityGW(rig.Within(t), name)
	ok(t, err)
	t.Cleanup(func() { ok(t, g.Stop()) })
	_, err = g.Curl(rig.Within(t), "/models", "-X", "PUT")
	ok(t, err)
	file := filepath.Join(t.TempDir(), "file")
	sum, err := rig.WriteRandom(file, 11, 1<<20+1)
	ok(t, err)
	ok(t, g.PutAll(rig.Within(t), "models", file, []string{"m/a.bin", "m/sub/b%20%2B.bin", "m/c.txt"}))

	repo := filepath.Join(shortDir(t), "n")
	ok(t, os.Mkdir(repo, 0o700))
	ok(t, os.WriteFile(filepath.Join(repo, "config.toml"), []byte(g.Config("default")), 0o600))
	n := start(t, repo, nil)
	for i := range 2 {
		j := newJob(t, n)
		g.Requests()
		for body, want := range map[string][]string{
			`{"type":"s3","bucket":"models","key":"m/a.bin"}`:                                                {"artifacts/a.bin"},
			`{"fetch":{"type":"S3","bucket":"models","key":"m/a.bin","filename":"x/y.bin"},"out_dir":"out"}`: {"out/x/y.bin"},
			`{"type":"s3","bucket":"models","prefix":"m/","ignore_patterns":["*.txt"]}`:                      {"artifacts/a.bin", "artifacts/sub/b +.bin"},
			`{"fetch":"s3://models/m/*.txt","out_dir":"p"}`:                                                  {"p/c.txt"},
		} {
			got := j.fetch(t, body)
			if len(got) != len(want) {
				t.Fatalf("%s: %+v, want %q", body, got, want)
			}
			for k, f := range got {
				if f.Path != want[k] || f.Checksum != "sha256:"+sum || f.Metadata.Source != "s3" || f.Metadata.ETag == "" || i == 1 && !f.Metadata.Cached {
					t.Errorf("%s: %+v, want %s", body, f, want[k])
				}
			}
		}
		// What is named by its key is asked for with a condition, which gives no byte
		// (its answer is cached), what is listed is not asked for.
		named := 0
		for _, r := range g.Requests() {
			if r == "GET /models/m/a.bin" {
				named++
			} else if i == 1 && strings.HasPrefix(r, "GET /models/m") {
				t.Errorf("the second job made the node ask %q", r)
			}
		}
		if i == 1 && named != 2 {
			t.Errorf("the second job asked %d times for what it names, want 2", named)
		}
	}
}

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
