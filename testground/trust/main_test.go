package trust

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hypha-node/hypha-node/testground/rig"
)

// rounds multiplies every count of this package.
var rounds = flag.Int("rounds", 1, "how many times the size of one change")

// binary is the command under test, built once by TestMain.
var binary string

func TestMain(m *testing.M) {
	flag.Parse()
	dir, err := os.MkdirTemp("", "trust")
	if err == nil {
		binary, err = rig.Build(context.Background(), dir)
	}
	code := 1
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	} else {
		code = m.Run()
	}
	if err := os.RemoveAll(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(code)
}

// ok ends the test on an error.
func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// start starts a daemon on the repository; the caller ends it.
func start(t *testing.T, repo string, args ...string) *rig.Node {
	t.Helper()
	n, err := rig.StartNode(rig.Within(t), rig.Config{Binary: binary, Repo: repo, Args: args})
	ok(t, err)
	return n
}

// stop ends a daemon in order.
func stop(t *testing.T, n *rig.Node) {
	t.Helper()
	if err := n.Stop(); err != nil {
		t.Errorf("stop: %v", err)
	}
}

// hypha runs the command on a repository that no daemon has open.
func hypha(ctx context.Context, repo string, args ...string) (rig.Result, error) {
	return rig.Program{Path: binary, Args: append([]string{"--repo", repo}, args...)}.Run(ctx)
}

// right tells whether `cat` of the root gives the content of that seed.
func right(t *testing.T, repo, root string, seed uint64, size int64) (bool, rig.Result, error) {
	t.Helper()
	want, err := sum(seed, size)
	ok(t, err)
	got, r, err := catSum(rig.Within(t), repo, root)
	return got == want, r, err
}

// catSum returns the sha256 of what `cat` prints, and the command's error.
func catSum(ctx context.Context, repo, root string) (string, rig.Result, error) {
	hash := sha256.New()
	r, err := rig.Program{Path: binary, Args: []string{"--repo", repo, "cat", root}, Stdout: hash}.Run(ctx)
	return hex.EncodeToString(hash.Sum(nil)), r, err
}

// origin serves /SEED/SIZE/any/name: random bytes that follow from the seed,
// with ranges and a strong ETag. It counts what it sends.
type origin struct {
	*httptest.Server
	sent atomic.Int64 // bytes of bodies
	gone atomic.Bool  // it has no content any more
	// At is called when sent reaches mark.
	mark atomic.Int64
	hit  chan struct{}
}

// serve starts an origin that the test's end stops.
func serve(t *testing.T) *origin {
	t.Helper()
	o := &origin{hit: make(chan struct{}, 1)}
	o.Server = httptest.NewServer(http.HandlerFunc(o.handle))
	t.Cleanup(o.Close)
	return o
}

func (o *origin) handle(w http.ResponseWriter, r *http.Request) {
	parts := strings.SplitN(strings.TrimPrefix(r.URL.Path, "/"), "/", 3)
	if len(parts) != 3 || o.gone.Load() {
		http.NotFound(w, r)
		return
	}
	seed, err1 := strconv.ParseUint(parts[0], 10, 64)
	n, err2 := strconv.ParseInt(parts[1], 10, 64)
	if err1 != nil || err2 != nil {
		http.NotFound(w, r)
		return
	}
	content, err := io.ReadAll(rig.Random(seed, n))
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("ETag", fmt.Sprintf(`"%d-%d"`, seed, n))
	http.ServeContent(&counted{w, o}, r, path.Base(parts[2]), time.Time{}, bytes.NewReader(content))
}

// counted counts a body while it goes out.
type counted struct {
	http.ResponseWriter
	origin *origin
}

func (c *counted) Write(b []byte) (int, error) {
	n, err := c.ResponseWriter.Write(b)
	total := c.origin.sent.Add(int64(n))
	if mark := c.origin.mark.Load(); mark > 0 && total >= mark && c.origin.mark.CompareAndSwap(mark, 0) {
		c.origin.hit <- struct{}{}
	}
	return n, err
}

// after makes the channel ready once n more bytes have been sent.
func (o *origin) after(n int64) <-chan struct{} {
	select {
	case <-o.hit: // of an earlier mark
	default:
	}
	o.mark.Store(o.sent.Load() + n)
	return o.hit
}

// url is where the origin has the content of that seed.
func (o *origin) url(seed uint64, n int64) string {
	return fmt.Sprintf("%s/%d/%d/file-%d.bin", o.URL, seed, n, seed)
}

// sum is the sha256 of the content of that seed, in hex.
func sum(seed uint64, n int64) (string, error) {
	hash := sha256.New()
	_, err := io.Copy(hash, rig.Random(seed, n))
	return hex.EncodeToString(hash.Sum(nil)), err
}

// fetch fetches over a new job's socket; that the file which appears is not the
// right one is an error like any other.
func fetch(ctx context.Context, n *rig.Node, o *origin, seed uint64, size int64) (rig.Fetched, error) {
	job, err := n.CreateJob(ctx)
	if err != nil {
		return rig.Fetched{}, err
	}
	return fetchInto(ctx, job, o, seed, size)
}

// fetchInto is fetch with a job that is there already.
func fetchInto(ctx context.Context, job rig.Job, o *origin, seed uint64, size int64) (rig.Fetched, error) {
	got, err := job.Fetch(ctx, rig.URI(o.url(seed, size)))
	if err != nil {
		return rig.Fetched{}, err
	}
	if len(got) != 1 {
		return rig.Fetched{}, fmt.Errorf("fetch of one file answers %+v", got)
	}
	want, err := sum(seed, size)
	if err != nil {
		return rig.Fetched{}, err
	}
	inDir, err := rig.HashFile(filepath.Join(job.WorkDir, got[0].Path))
	if err != nil {
		return rig.Fetched{}, err
	}
	if inDir != want || got[0].Checksum != "sha256:"+want {
		return rig.Fetched{}, fmt.Errorf("%s: sha256 %s, answer %s, want %s", got[0].Path, inDir, got[0].Checksum, want)
	}
	return got[0], nil
}

// noTrace fails when a panic or a crash of the runtime is in a program's output.
func noTrace(t *testing.T, output string) {
	t.Helper()
	for _, word := range []string{"panic:", "fatal error:", "goroutine 1 [", "SIGBUS", "SIGSEGV"} {
		if strings.Contains(output, word) {
			t.Errorf("the program crashed: %s", output)
			return
		}
	}
}
