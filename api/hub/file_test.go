package hub_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hypha-node/hypha-node/api/hub"
	"github.com/hypha-node/hypha-node/internal/hubtest"
)

// TestFile gets files that are not stored, and then again: the bytes, their
// header and ranges are the same, and the second time costs nothing.
func TestFile(t *testing.T) {
	r := start(t, nil)
	large, commit := bytesOf(t, hubtest.Random(1, largeSize)), r.up.Head("model/org/model")
	sha, err := hubtest.Random(1, largeSize).SHA256()
	must(t, err)
	for _, round := range []string{"from the origin", "from the store"} {
		at := "/org/model/resolve/" + commit + "/"
		head := r.do("HEAD " + at + "sub/large.bin")
		head.want(t, round, 200, nil)
		head.wantHeader(t, round, "Etag: \""+sha+"\"", "X-Linked-Etag: \""+sha+"\"", fmt.Sprintf("X-Linked-Size: %d", largeSize),
			fmt.Sprintf("Content-Length: %d", largeSize), "X-Repo-Commit: "+commit, "Accept-Ranges: bytes",
			"X-Xet-Hash: -", "Link: -", "Location: -", "Content-Type: application/octet-stream")
		whole := r.do("GET " + at + "sub/large.bin")
		whole.want(t, round, 200, large)
		whole.wantHeader(t, round, "Etag: \""+sha+"\"", "Content-Range: -", "X-Repo-Commit: "+commit)
		r.do("GET "+at+"config.json").want(t, round, 200, []byte(`{"layers":2}`))
		r.do("GET "+at+"empty.txt").want(t, round, 200, []byte{})
		r.do("GET "+at+"with%20space/%C3%BCn%C3%AF%2B%26.txt").want(t, round, 200, []byte("quoted"))
		part := r.do("GET "+at+"sub/large.bin", "Range: bytes=1048570-1048580")
		part.want(t, round, 206, large[1048570:1048581])
		part.wantHeader(t, round, fmt.Sprintf("Content-Range: bytes 1048570-1048580/%d", largeSize), "Content-Length: 11")
		r.do("GET "+at+"sub/large.bin", "If-None-Match: \""+sha+"\"").want(t, round, 304, []byte{})
		pointer := fmt.Sprintf("version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize %d\n", sha, largeSize)
		r.do("GET /org/model/raw/"+commit+"/sub/large.bin").want(t, round, 200, []byte(pointer))
		r.do("GET /org/model/raw/"+commit+"/config.json").want(t, round, 200, []byte(`{"layers":2}`))
		if round == "from the origin" {
			if n := r.downloads(); n != 1 {
				t.Errorf("the file was fetched %d times", n)
			}
			r.stopHub()
			r.up.ResetRequests()
		}
	}
	if n := len(r.up.Requests()); n != 0 {
		t.Errorf("the second round cost %d requests", n)
	}
}

// TestKinds gets a file of each kind of repository, by branch.
func TestKinds(t *testing.T) {
	r := start(t, nil)
	for path, content := range map[string]hubtest.Content{
		"/plain/resolve/main/a.txt":                    hubtest.Bytes([]byte("a")),
		"/datasets/org/data/resolve/HEAD/train.csv":    hubtest.Random(3, 2<<20),
		"/spaces/org/space/resolve/main/app.py":        hubtest.Bytes([]byte("print()")),
		"/org/model/resolve/refs%2Fpr%2F1/config.json": hubtest.Bytes([]byte(`{"layers":2}`)),
		"/org/model/resolve/refs/pr/1/config.json":     hubtest.Bytes([]byte(`{"layers":2}`)),
	} {
		r.do("GET "+path).want(t, path, 200, bytesOf(t, content))
	}
}

// TestWhileItComes holds that clients get what is there of a file at once, the
// first and who comes later, from one download, while the origin holds the rest
// back; that the end is not sent before the whole is verified; and that a client
// that has gone costs nobody anything.
func TestWhileItComes(t *testing.T) {
	r := start(t, nil)
	large := bytesOf(t, hubtest.Random(1, largeSize))
	r.up.Plant(hubtest.Fault{CDN: true, Times: 1, Stall: true, At: 4 << 20})
	const path = "GET /org/model/resolve/main/sub/large.bin"
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var bodies []io.ReadCloser
	for i := range 3 {
		resp := r.open1(ctx, path)
		defer resp.Body.Close()
		b := make([]byte, 3<<20)
		if _, err := io.ReadFull(resp.Body, b); err != nil || !bytes.Equal(b, large[:len(b)]) {
			t.Fatalf("client %d: %v", i, err)
		}
		bodies = append(bodies, resp.Body)
	}
	if n := r.downloads(); n != 1 {
		t.Errorf("%d downloads, want 1", n)
	}
	must(t, bodies[0].Close()) // the first client goes
	ranged := r.open1(ctx, path, "Range: bytes=100-")
	defer ranged.Body.Close()
	b := make([]byte, 1<<20)
	if _, err := io.ReadFull(ranged.Body, b); err != nil || !bytes.Equal(b, large[100:100+len(b)]) {
		t.Fatalf("range: %v", err)
	}
}

// TestAtOnce holds that many clients cost the origin one download.
func TestAtOnce(t *testing.T) {
	r := start(t, nil)
	large := bytesOf(t, hubtest.Random(1, largeSize))
	var clients sync.WaitGroup
	for range 16 {
		clients.Go(func() {
			r.do("GET /org/model/resolve/main/sub/large.bin").want(t, "one of many", 200, large)
		})
	}
	clients.Wait()
	if n := r.downloads(); n != 1 {
		t.Errorf("%d downloads, want 1", n)
	}
}

// TestGoesOn holds that a download goes on when its only client has gone.
func TestGoesOn(t *testing.T) {
	r := start(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	resp := r.open1(ctx, "GET /org/model/resolve/main/sub/large.bin")
	_, err := io.ReadFull(resp.Body, make([]byte, 1<<20))
	must(t, err)
	cancel()
	must(t, errors.Join(resp.Body.Close()))
	r.do("GET /org/model/resolve/main/sub/large.bin").want(t, "the next client", 200, bytesOf(t, hubtest.Random(1, largeSize)))
	if n := r.downloads(); n != 1 {
		t.Errorf("%d downloads, want 1", n)
	}
}

// TestWrongContent holds that content without its digest never looks complete,
// not even to a client that goes on where it was cut, and that nothing of it is
// kept.
func TestWrongContent(t *testing.T) {
	r := start(t, nil)
	large := bytesOf(t, hubtest.Random(1, largeSize))
	const path = "GET /org/model/resolve/main/sub/large.bin"
	r.up.Plant(hubtest.Fault{CDN: true, Times: 2, Corrupt: true, At: 1000})
	cut := false
	for _, fields := range [][]string{nil, {"Range: bytes=0-2000000"}} {
		cut = r.do(path, fields...).wantFailed(t, strings.Join(fields, "")) || cut
	}
	r.up.ClearFaults()
	for _, what := range []string{"before it is stored", "when it is stored"} {
		if cut { // by a client that has bytes which may be wrong
			r.do(path, "Range: bytes=5177347-").want(t, "going on "+what, 502, nil)
		}
		r.do(path).want(t, "another try", 200, large)
	}
	r.up.Plant(hubtest.Fault{Path: "config.json", Times: 1, Corrupt: true, At: 1})
	r.do("GET /org/model/resolve/main/config.json").want(t, "a small file", 502, nil)
	r.do("GET /org/model/resolve/main/config.json").want(t, "a small file again", 200, []byte(`{"layers":2}`))
}

// TestBrokenOrigin holds that an origin that breaks off cuts the answer.
func TestBrokenOrigin(t *testing.T) {
	r := start(t, nil)
	r.up.Plant(hubtest.Fault{CDN: true, Cut: true, At: 3 << 20})
	r.do("GET /org/model/resolve/main/sub/large.bin").wantFailed(t, "cut")
	r.up.ClearFaults()
	r.up.Plant(hubtest.Fault{CDN: true, Status: 503})
	r.do("GET /org/model/resolve/main/sub/large.bin").want(t, "unavailable", 502, nil)
	r.up.ClearFaults()
	// A hub that has the pointer and not the file.
	pointer := "version https://git-lfs.github.com/spec/v1\noid sha256:" + strings.Repeat("ab", 32) + "\nsize 5\n"
	commit, err := r.up.Commit("model/org/model", map[string]hubtest.Content{"pointer.txt": hubtest.Bytes([]byte(pointer))})
	must(t, err)
	a := r.do("GET /org/model/resolve/" + commit + "/pointer.txt")
	a.want(t, "a pointer in the place of the file", 502, nil)
	if bytes.Contains(a.body, []byte("oid sha256")) || !strings.Contains(a.header.Get("X-Error-Message"), "pointer") {
		t.Errorf("a pointer: %s, %q", a.body, a.header.Get("X-Error-Message"))
	}
}

// TestSlowClient holds that a client that takes nothing is given up.
func TestSlowClient(t *testing.T) {
	log := &served{done: make(chan struct{}, 1)}
	r := start(t, func(c *hub.Config) { c.Patience, c.Logger = 50*time.Millisecond, slog.New(log) })
	_, err := r.up.Commit("model/org/model", map[string]hubtest.Content{"huge.bin": hubtest.Random(5, 48<<20)}) // no socket buffers that much
	must(t, err)
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", strings.TrimPrefix(r.web.URL, "http://"))
	must(t, err)
	defer conn.Close()
	_, err = conn.Write([]byte("GET /org/model/resolve/main/huge.bin HTTP/1.1\r\nHost: x\r\n\r\n"))
	must(t, err)
	<-log.done
}

// served is a log that tells when a request is over.
type served struct{ done chan struct{} }

func (*served) Enabled(context.Context, slog.Level) bool { return true }
func (l *served) WithAttrs([]slog.Attr) slog.Handler     { return l }
func (l *served) WithGroup(string) slog.Handler          { return l }

// Handle looks for the end of a request.
func (l *served) Handle(_ context.Context, r slog.Record) error {
	if r.Message == "hub served" {
		select {
		case l.done <- struct{}{}:
		default:
		}
	}
	return nil
}
