package conformance

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hypha-node/hypha-node/connectors"
	"github.com/hypha-node/hypha-node/testground/rig"
)

// patience is how long something may take that takes milliseconds.
const patience = 2 * time.Minute

// dial opens a raw connection to a socket.
func dial(t *testing.T, socket string) net.Conn {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(rig.Within(t), "unix", socket)
	ok(t, err)
	ok(t, conn.SetDeadline(time.Now().Add(patience)))
	t.Cleanup(func() { conn.Close() })
	return conn
}

// TestT01KeepAlive: several requests on one connection, with any Host, also
// when they are sent at once.
func TestT01KeepAlive(t *testing.T) {
	j := newJob(t, shared.nodes[0])
	conn := dial(t, j.Socket)
	in := bufio.NewReader(conn)
	answer := func() (status, minor int, ends bool) {
		t.Helper()
		resp, err := http.ReadResponse(in, nil)
		ok(t, err)
		_, err = io.Copy(io.Discard, resp.Body)
		ok(t, err)
		ok(t, resp.Body.Close())
		return resp.StatusCode, resp.ProtoMinor, resp.Close
	}
	for _, host := range []string{"hypha", "localhost", "bridge:80", "127.0.0.1", "[::1]:8080", "example.org"} {
		fmt.Fprintf(conn, "GET /healthz HTTP/1.1\r\nHost: %s\r\n\r\n", host)
		if status, minor, ends := answer(); status != http.StatusOK || minor != 1 || ends {
			t.Errorf("host %s: status %d, HTTP/1.%d, close %v", host, status, minor, ends)
		}
	}
	const many = 5
	_, err := io.WriteString(conn, strings.Repeat("GET /job HTTP/1.1\r\nHost: h\r\n\r\n", many))
	ok(t, err)
	for range many {
		if status, _, _ := answer(); status != http.StatusOK {
			t.Errorf("pipelined: status %d", status)
		}
	}
}

// TestT01AcceptsUnderLoad: while 200 requests are under way, none of which can
// end, the socket accepts and answers others.
func TestT01AcceptsUnderLoad(t *testing.T) {
	const callers = 200
	j := newJob(t, shared.nodes[0])
	url, f := shared.origin.putGated(t, "slow.bin", random(t, 101, 1<<20), 1000)
	var wg sync.WaitGroup
	errs := make(chan error, callers)
	for range callers {
		wg.Go(func() {
			a, err := j.try(rig.Within(t), http.MethodPost, "/resources/fetch", map[string]any{"fetch": rig.URI(url)})
			if err == nil && a.status != http.StatusOK {
				err = fmt.Errorf("status %d: %s", a.status, a.body)
			}
			errs <- err
		})
	}
	await(t, "the download", f.reached)
	for range 20 { // each on a connection of its own
		conn := dial(t, j.Socket)
		_, err := io.WriteString(conn, "GET /healthz HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
		ok(t, err)
		text, err := io.ReadAll(conn)
		ok(t, err)
		if !strings.HasPrefix(string(text), "HTTP/1.1 200 ") {
			t.Fatalf("answer under load: %s", text)
		}
	}
	f.release()
	wg.Wait()
	for range callers {
		ok(t, <-errs)
	}
	if sent := f.bytes(); sent != 1<<20 {
		t.Errorf("%d callers cost the origin %d bytes", callers, sent)
	}
}

// TestT02SocketMode: whoever looks at the socket, at any moment and under a
// umask that hides nothing, sees 0600 in a directory of 0700.
func TestT02SocketMode(t *testing.T) {
	old := syscall.Umask(0)
	n := start(t, filepath.Join(shortDir(t), "r"), nil)
	syscall.Umask(old)
	first := createJob(t, n)
	top := filepath.Dir(filepath.Dir(first.Socket)) // sockets of several jobs lie below it
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 8 {
			if _, err := n.Run(rig.Within(t), "job", "create", "--json"); err != nil {
				t.Error(err)
			}
		}
	}()
	sockets := 0
	for working := true; working; {
		select {
		case <-done:
			working = false // and look once more
		default:
		}
		sockets = 0
		err := filepath.WalkDir(top, func(name string, d fs.DirEntry, err error) error {
			if os.IsNotExist(err) || err != nil && filepath.Dir(name) == "/tmp" {
				return nil
			}
			if err != nil || d.Type() != fs.ModeSocket {
				return err
			}
			info, err := os.Lstat(name)
			if os.IsNotExist(err) {
				return nil
			}
			ok(t, err)
			dir, err := os.Stat(filepath.Dir(name))
			ok(t, err)
			sockets++
			if info.Mode().Perm() != 0o600 || dir.Mode().Perm() != 0o700 {
				t.Fatalf("%s: %v in %v", name, info.Mode(), dir.Mode())
			}
			return nil
		})
		ok(t, err)
	}
	if sockets < 9 {
		t.Errorf("saw %d sockets, want 9", sockets)
	}
}

// TestT03LaunchContract: what an executor is started with.
func TestT03LaunchContract(t *testing.T) {
	script := filepath.Join(t.TempDir(), "show.sh")
	ok(t, os.WriteFile(script, []byte(`
printf '%s\n' "$SOCKET_PATH" "$WORK_DIR" "$JOB_JSON" "$JOB_FILE" "$HYPHA_JOB_ID" "$HYPHA_BRIDGE" "$PWD"
test -S "$SOCKET_PATH" && test -d "$WORK_DIR" && stat -c %a "$JOB_FILE" && cat "$JOB_FILE" && echo
printf '%s\n' "$@"
`), 0o600))
	out := run(t, shared.nodes[0], "job", "run", "--config", `{"lr":1e-3,"n":9007199254740993}`, "--",
		"/bin/sh", script, "{SOCKET_PATH}", "--dir={WORK_DIR}/x", "{JOB_JSON}", "{JOB_FILE}", "{JOB_ID}", "{UNKNOWN} {} {job_id}")
	lines := strings.Split(out, "\n")
	if len(lines) != 15 {
		t.Fatalf("%d lines:\n%s", len(lines), out)
	}
	socket, dir, text, file, id := lines[0], lines[1], lines[2], lines[3], lines[4]
	for i, want := range map[int]string{
		5: "unix://" + socket, 6: dir, 7: "600", 8: text,
		9: socket, 10: "--dir=" + dir + "/x", 11: text, 12: file, 13: id, 14: "{UNKNOWN} {} {job_id}",
	} {
		if lines[i] != want {
			t.Errorf("line %d: %q, want %q", i, lines[i], want)
		}
	}
	var desc struct {
		JobID    string `json:"job_id"`
		Executor struct {
			Config json.RawMessage `json:"config"`
		} `json:"executor"`
	}
	ok(t, json.Unmarshal([]byte(text), &desc))
	if desc.JobID != id || string(desc.Executor.Config) != `{"lr":1e-3,"n":9007199254740993}` {
		t.Errorf("JOB_JSON %s", text)
	}
}

// TestT04BadRequests: the right status and a stable code for whatever can't be
// served, in JSON, and the connection goes on.
func TestT04BadRequests(t *testing.T) {
	j := newJob(t, shared.nodes[0])
	const fetch = "/resources/fetch"
	for _, tc := range []struct {
		name, method, route, body string
		headers                   []string
		status                    int
		code                      string
	}{
		{"no JSON", "POST", fetch, `{"fetch":`, nil, 400, "invalid_json"},
		{"two values", "POST", fetch, `{} {}`, nil, 400, "invalid_json"},
		{"nothing", "POST", fetch, ``, nil, 400, "invalid_json"},
		{"too deep", "POST", fetch, strings.Repeat("[", 5000), nil, 400, "invalid_json"},
		{"no type", "POST", fetch, `{}`, []string{"Content-Type", ""}, 415, "unsupported_media_type"},
		{"another type", "POST", fetch, `{}`, []string{"Content-Type", "text/plain"}, 415, "unsupported_media_type"},
		{"encoded", "POST", fetch, `{}`, []string{"Content-Encoding", "gzip"}, 415, "unsupported_media_type"},
		{"wrong shape", "POST", fetch, `{"fetch":7}`, nil, 422, "invalid_request"},
		{"wrong field", "POST", fetch, `{"type":"uri","value":{}}`, nil, 422, "invalid_request"},
		{"array", "POST", fetch, `[]`, nil, 422, "invalid_request"},
		{"over 2 MiB", "POST", fetch, `{"pad":"` + strings.Repeat("x", 2<<20) + `"}`, nil, 413, "too_large"},
		{"unknown route", "GET", "/nowhere", ``, nil, 404, "not_found"},
		{"unclean route", "GET", "//job", ``, nil, 404, "not_found"},
		{"dots", "GET", "/resources/../job", ``, nil, 404, "not_found"},
		{"wrong verb", "DELETE", fetch, ``, nil, 405, "method_not_allowed"},
		{"wrong verb of a GET", "POST", "/job", `{}`, nil, 405, "method_not_allowed"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var body any = tc.body
			if tc.body == "" && tc.method != "POST" {
				body = nil
			}
			a := j.call(t, tc.method, tc.route, body, tc.headers...)
			a.refused(t, tc.status, tc.code)
			if tc.status == 405 && a.header.Get("Allow") == "" {
				t.Error("no Allow")
			}
			var after map[string]any
			j.get(t, "/job").into(t, http.StatusOK, &after)
		})
	}
	j.post(t, "/resources/nothing", "{}", "Accept", "text/event-stream").refused(t, 404, "not_found")
	// Fields that nobody knows are no error.
	url, _ := shared.origin.put(t, "f", []byte("x"))
	j.fetch(t, map[string]any{"fetch": map[string]any{"type": "uri", "value": url, "later": []int{1}}, "future": true, "out_dir": nil})
}

// TestT05Codes: the codes of a fetch that is well formed and fails.
func TestT05Codes(t *testing.T) {
	j := newJob(t, shared.nodes[0])
	url, _ := shared.origin.put(t, "f.bin", []byte("content"))
	missing := shared.origin.base(t) + "missing"
	pointer, _ := shared.origin.put(t, "pointer", []byte(connectors.PointerStart+"oid sha256:"+strings.Repeat("0", 64)+"\nsize 5\n"))
	for _, tc := range []struct {
		name   string
		body   any
		status int
		code   string
		class  string
	}{
		{"out of the directory", map[string]any{"fetch": rig.URI(url), "out_dir": "../x"}, 400, "invalid_path", ""},
		{"absolute", map[string]any{"fetch": rig.URI(url), "out_dir": "/tmp"}, 400, "invalid_path", ""},
		{"the node's own", map[string]any{"fetch": rig.URI(url), "out_dir": ".hypha"}, 400, "invalid_path", ""},
		{"no such file", map[string]any{"fetch": rig.URI(missing)}, 404, "not_found", "connector_error"},
		{"no such file of a repository", hfRef("nothing.bin"), 404, "not_found", "connector_error"},
		{"another content", map[string]any{"type": "uri", "value": url, "checksum": digest([]byte("other"))}, 422, "checksum_mismatch", "connector_error"},
		{"an unknown type", map[string]any{"type": "carrier-pigeon", "value": "x"}, 400, "invalid_request", ""},
		{"a type that is not served", map[string]any{"type": "scheduler", "peer": shared.ids[1], "dataset": "d"}, 422, "unsupported_reference", ""},
		{"gated", map[string]any{"type": "huggingface", "repository": "org/gated", "filenames": []string{"secret.bin"}}, 403, "gated", "connector_error"},
		{"a private address", map[string]any{"type": "uri", "value": "http://169.254.169.254/latest/meta-data"}, 403, "forbidden_address", "connector_error"},
		{"a file of the node", map[string]any{"type": "file", "value": "file:///etc/passwd"}, 403, "forbidden_address", "connector_error"},
		{"a pointer of git LFS", map[string]any{"type": "uri", "value": pointer}, 422, "lfs_pointer", "connector_error"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if r := j.post(t, "/resources/fetch", tc.body).refused(t, tc.status, tc.code); r.Class != tc.class {
				t.Errorf("class %q, want %q", r.Class, tc.class)
			}
		})
	}
	if names := j.list(t, "artifacts"); len(names) > 0 {
		t.Errorf("refusals left %q", names)
	}
	// A node that knows nobody has nobody to wait for.
	alone := newJob(t, start(t, filepath.Join(shortDir(t), "r"), nil, "--offline"))
	alone.post(t, "/resources/fetch", map[string]any{"type": "cids", "values": []string{
		"bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e",
	}}).refused(t, 404, "not_found")
}
