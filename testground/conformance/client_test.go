package conformance

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hypha-node/hypha-node/testground/rig"
)

// job is a job of a node with a client of its socket.
type job struct {
	rig.Job
	node *rig.Node
	http *http.Client
}

// newJob creates a job, which the test's end removes.
func newJob(t *testing.T, n *rig.Node, args ...string) *job {
	t.Helper()
	j := createJob(t, n, args...)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
		defer cancel()
		if _, err := n.Run(ctx, "job", "rm", j.ID); err != nil {
			select {
			case <-n.Ended():
			default:
				t.Errorf("job rm: %v", err)
			}
		}
	})
	return j
}

// createJob creates a job that the test removes itself.
func createJob(t *testing.T, n *rig.Node, args ...string) *job {
	t.Helper()
	j := &job{node: n}
	ok(t, json.Unmarshal([]byte(run(t, n, append([]string{"job", "create", "--json"}, args...)...)), &j.Job))
	j.http = overSocket(t, j.Socket)
	return j
}

// overSocket returns a client of a socket.
func overSocket(t *testing.T, socket string) *http.Client {
	t.Helper()
	transport := &http.Transport{
		DisableCompression:    true,
		MaxIdleConnsPerHost:   256,
		ExpectContinueTimeout: patience,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// post posts a body: a string as it is, anything else as JSON. Headers are
// names and values in turn.
func (j *job) post(t *testing.T, route string, body any, headers ...string) answer {
	t.Helper()
	return j.call(t, http.MethodPost, route, body, headers...)
}

// get gets a route.
func (j *job) get(t *testing.T, route string) answer {
	t.Helper()
	return j.call(t, http.MethodGet, route, nil)
}

// call makes a request and reads the whole answer.
func (j *job) call(t *testing.T, method, route string, body any, headers ...string) answer {
	t.Helper()
	a, err := j.try(rig.Within(t), method, route, body, headers...)
	ok(t, err)
	return a
}

// try is call for other goroutines than the test's.
func (j *job) try(ctx context.Context, method, route string, body any, headers ...string) (answer, error) {
	resp, err := j.open(ctx, method, route, body, headers...)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, data}, err
}

// open makes a request; the caller closes the answer's body.
func (j *job) open(ctx context.Context, method, route string, body any, headers ...string) (*http.Response, error) {
	var r io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		r = strings.NewReader(b)
	default:
		text, err := json.Marshal(b)
		if err != nil {
			return nil, err
		}
		r = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://hypha"+route, r)
	if err != nil {
		return nil, err
	}
	if r != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		if req.Header.Set(headers[i], headers[i+1]); headers[i+1] == "" {
			req.Header.Del(headers[i])
		}
	}
	return j.http.Do(req)
}

// into decodes an answer that must have that status.
func (a answer) into(t *testing.T, status int, v any) {
	t.Helper()
	if a.status != status {
		t.Fatalf("status %d, want %d: %s", a.status, status, a.body)
	}
	if kind := a.header.Get("Content-Type"); !strings.HasPrefix(kind, "application/json") {
		t.Errorf("Content-Type %q of %s", kind, a.body)
	}
	if err := json.Unmarshal(a.body, v); err != nil {
		t.Fatalf("%v: %s", err, a.body)
	}
}

// refusal is the body of an answer that says no.
type refusal struct {
	Error     string          `json:"error"`
	Class     string          `json:"class"`
	Detail    string          `json:"detail"`
	Hint      string          `json:"hint"`
	Path      string          `json:"path"`
	Completed []fetched       `json:"completed"`
	Results   json.RawMessage `json:"results"`
}

// refused decodes an answer that must be a refusal of that status and code.
func (a answer) refused(t *testing.T, status int, code string) refusal {
	t.Helper()
	var r refusal
	a.into(t, status, &r)
	if r.Error != code || r.Detail == "" {
		t.Errorf("refusal %s, want code %q and a detail", a.body, code)
	}
	return r
}

// fetched is one element of the answer to a fetch.
type fetched struct {
	Path     string `json:"path"`
	Size     int64  `json:"size"`
	Checksum string `json:"checksum"`
	CID      string `json:"cid"`
	Metadata struct {
		Source    string `json:"source"`
		Timestamp string `json:"timestamp"`
		Revision  string `json:"revision"`
		ETag      string `json:"etag"`
		Cached    bool   `json:"cached"`
		From      string `json:"from"`
	} `json:"metadata"`
}

// fetch posts a body to /resources/fetch that must work.
func (j *job) fetch(t *testing.T, body any) []fetched {
	t.Helper()
	var files []fetched
	j.post(t, "/resources/fetch", body).into(t, http.StatusOK, &files)
	for _, f := range files {
		j.holds(t, f.Path, f.Size, f.Checksum)
	}
	return files
}

// holds checks a file of the work directory against what an answer says of it.
func (j *job) holds(t *testing.T, path string, size int64, checksum string) {
	t.Helper()
	name := filepath.Join(j.WorkDir, filepath.FromSlash(path))
	info, err := os.Lstat(name)
	ok(t, err)
	if !info.Mode().IsRegular() || info.Mode().Perm() != 0o600 || info.Size() != size {
		t.Errorf("%s: %v, %d bytes; the answer says %d", path, info.Mode(), info.Size(), size)
	}
	sum, err := rig.HashFile(name)
	ok(t, err)
	if "sha256:"+sum != checksum {
		t.Errorf("%s: sha256:%s, the answer says %s", path, sum, checksum)
	}
}

// write writes a file into the work directory, as an executor does.
func (j *job) write(t *testing.T, path string, content []byte) {
	t.Helper()
	name := filepath.Join(j.WorkDir, filepath.FromSlash(path))
	ok(t, os.MkdirAll(filepath.Dir(name), 0o700))
	ok(t, os.WriteFile(name, content, 0o600))
}

// list returns the names in a directory of the work directory, none if it is
// not there.
func (j *job) list(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(j.WorkDir, filepath.FromSlash(dir)))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}
