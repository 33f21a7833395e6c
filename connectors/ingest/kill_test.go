package ingest_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"sync"
	"testing"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/connectors"
	"github.com/hypha-node/hypha-node/connectors/ingest"
)

var killSeed = flag.Uint64("kill.seed", 1, "seed of the points where TestKillPoints kills") //nolint:gochecknoglobals // a flag

// TestKillPointsChild fetches what TestKillPoints says, in a process of its own.
func TestKillPointsChild(t *testing.T) {
	dir := os.Getenv("CHILD_REPOSITORY")
	if dir == "" {
		return // not a child of TestKillPoints
	}
	d, err := blockstore.Open(t.Context(), dir, blockstore.Options{Reserve: -1})
	must(t, err)
	e := newEngine(t, ingest.Config{Store: d})
	ref := connectors.Ref{Type: connectors.TypeURI, Value: os.Getenv("CHILD_URL"), Checksum: os.Getenv("CHILD_CHECKSUM")}
	_, err = e.Fetch(t.Context(), item(t, e, ref), ingest.Options{})
	must(t, err)
	must(t, e.Close())
	must(t, d.Close())
}

// stopping is an origin that stops in mid-answer, when it has sent so much of its
// content, and says so.
type stopping struct {
	content []byte

	mu     sync.Mutex
	stop   int // byte before which it stops; -1: never
	hit    chan struct{}
	starts []int // first bytes that it was asked for
	sent   int   // the byte behind the last one that it sent
}

// until makes it stop at a byte, and returns what is closed when it does.
func (o *stopping) until(stop int) <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.stop, o.hit, o.starts = stop, make(chan struct{}), nil
	return o.hit
}

// told returns the first byte that was asked for since then, and how far it has sent.
func (o *stopping) told() (began, sent int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Min(o.starts), o.sent
}

// ServeHTTP sends the content up to where it stops.
func (o *stopping) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start, end := 0, len(o.content)
	if field := r.Header.Get("Range"); field != "" {
		if _, err := fmt.Sscanf(field, "bytes=%d-%d", &start, &end); err == nil {
			end++
		}
	}
	w.Header().Set("ETag", `"v1"`)
	w.Header().Set("Content-Length", fmt.Sprint(end-start))
	if r.Header.Get("Range") != "" {
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", start, end-1, len(o.content)))
		w.WriteHeader(http.StatusPartialContent)
	}
	o.mu.Lock()
	o.starts = append(o.starts, start)
	stop, hit := o.stop, o.hit
	o.mu.Unlock()
	for start < end {
		n := min(64<<10, end-start)
		if stop >= 0 {
			n = min(n, stop-start)
		}
		if n <= 0 {
			break
		}
		if _, err := w.Write(o.content[start : start+n]); err != nil {
			return
		}
		start += n
		o.mu.Lock()
		o.sent = max(o.sent, start)
		o.mu.Unlock()
	}
	if stop < 0 || start < stop {
		return
	}
	o.mu.Lock()
	if hit == o.hit && o.stop == stop {
		o.stop = -2 // once
		close(hit)
	}
	o.mu.Unlock()
	<-r.Context().Done()
}

// TestKillPoints kills a process with SIGKILL in the middle of a download, at 20
// random bytes of the content, the first and the last among them. Each time the next
// process goes on at most a window before what was sent, and nothing stays behind.
func TestKillPoints(t *testing.T) {
	const (
		size   = 64 << 20
		points = 20
		window = 32 << 20
		socket = 8 << 20 // what was sent may still be on its way
	)
	content := random(byte(*killSeed), size)
	sum := sha256.Sum256(content)
	rng := rand.New(rand.NewPCG(*killSeed, 20))
	stops := []int{0, size}
	for len(stops) < points {
		stops = append(stops, rng.IntN(size))
	}
	slices.Sort(stops)
	o := &stopping{content: content}
	server := httptest.NewUnstartedServer(o)
	server.Config.ConnState = func(c net.Conn, state http.ConnState) {
		if tcp, ok := c.(*net.TCPConn); ok && state == http.StateNew {
			_ = tcp.SetWriteBuffer(64 << 10)
		}
	}
	server.Start()
	defer server.Close()
	dir := t.TempDir()
	child := func(i int) *exec.Cmd {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKillPointsChild$", "-test.count=1")
		// Another address each time: the digest alone says what is gone on with.
		cmd.Env = append(os.Environ(), "CHILD_REPOSITORY="+dir, fmt.Sprintf("CHILD_URL=%s/%d", server.URL, i), "CHILD_CHECKSUM=sha256:"+hex.EncodeToString(sum[:]))
		return cmd
	}
	begun, again := 0, 0
	for i, stop := range stops {
		hit := o.until(stop)
		cmd := child(i)
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		must(t, cmd.Start())
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		select {
		case <-hit:
			must(t, cmd.Process.Kill())
			<-ended
		case err := <-ended:
			t.Fatalf("the process ended before byte %d: %v\n%s", stop, err, &out)
		}
		began, sent := o.told()
		if began > begun || begun-began > window+socket {
			t.Errorf("kill at byte %d of %d: the next process began at %d", begun, size, began)
		}
		again, begun = again+begun-began, sent
	}
	o.until(-1)
	out, err := child(points).CombinedOutput()
	if err != nil {
		t.Fatalf("the last process: %v\n%s", err, out)
	}
	d, err := blockstore.Open(t.Context(), dir, blockstore.Options{Reserve: -1})
	must(t, err)
	defer func() { must(t, d.Close()) }()
	a, err := d.Alias(t.Context(), "sha256:"+hex.EncodeToString(sum[:]))
	must(t, err)
	f, err := d.File(t.Context(), a.Root)
	must(t, err)
	checkStored(t, d, f, content)
	r := repository{t: t, dir: dir}
	if left := r.parts(); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	t.Logf("%d kills, %d MiB fetched again of %d", points, again>>20, size>>20)
}
