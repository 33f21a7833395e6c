package node

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/ipfs/go-cid"
	"go.uber.org/goleak"

	"github.com/hypha-node/hypha-node/api/control"
	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/bridge/rest"
	"github.com/hypha-node/hypha-node/jobs"
	"github.com/hypha-node/hypha-node/jobs/isolate"
)

func TestMain(m *testing.M) {
	if code, ours := isolate.Enter(os.Args); ours {
		syscall.Exit(code) // as os.Exit, without the second that it takes under -race
	}
	goleak.VerifyTestMain(m)
}

const (
	hello    = "hello world"
	helloCID = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// shortDir returns a directory whose path leaves room for sockets.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "hypha-test-") //nolint:usetesting // t.TempDir is too long for a socket
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
	return dir
}

// config returns the configuration of a node on loopback.
func config(t *testing.T, repo string) Config {
	return Config{
		Repo: repo, Holder: "test", Version: "1.2.3", Reserve: -1, RuntimeDir: shortDir(t),
		Listen: []string{"/ip4/127.0.0.1/tcp/0"},
	}
}

// run runs a node and returns a client of its socket, its identity, and what
// ends it.
func run(t *testing.T, c Config) (*control.Client, control.Identity, func()) {
	t.Helper()
	n, err := Open(t.Context(), c)
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ready, ended := make(chan control.Identity, 1), make(chan error, 1)
	go func() { ended <- n.Run(ctx, func(id control.Identity) { ready <- id }) }()
	client := control.NewClient(SocketPath(c.Repo, c.RuntimeDir))
	stop := func() {
		client.Close()
		cancel()
		must(t, <-ended)
		must(t, n.Close())
		must(t, n.Close())
	}
	select {
	case id := <-ready:
		return client, id, stop
	case err := <-ended:
		t.Fatalf("not ready: %v", err)
	}
	return nil, control.Identity{}, nil
}

// addText stores a text and returns its CID.
func addText(t *testing.T, c *control.Client, text string) string {
	t.Helper()
	got, err := c.AddContent(t.Context(), control.AddRequest{Name: "text"}, strings.NewReader(text))
	must(t, err)
	return got.CID
}

// TestTwoNodes moves a file from one node to another and finds it again after
// both have ended.
func TestTwoNodes(t *testing.T) {
	repoA, repoB := filepath.Join(t.TempDir(), "a"), filepath.Join(t.TempDir(), "b")
	a, idA, stopA := run(t, config(t, repoA))
	b, idB, stopB := run(t, config(t, repoB))
	if !idA.Online || idA.PeerID == "" || idA.PeerID == idB.PeerID || len(idA.Addresses) != 1 || idA.Version != "1.2.3" || idA.AgentVersion == "" {
		t.Errorf("%+v and %+v", idA, idB)
	}
	root := addText(t, a, strings.Repeat(hello, 500_000))
	_, err := b.Connect(t.Context(), control.ConnectRequest{Address: idA.Addresses[0]})
	must(t, err)
	var got bytes.Buffer
	if _, err := b.Cat(t.Context(), control.CatRequest{Path: root, Length: -1}, &got); err != nil || got.String() != strings.Repeat(hello, 500_000) {
		t.Errorf("%d bytes, %v", got.Len(), err)
	}
	stopA()
	stopB()

	c := config(t, repoA)
	c.Offline = true
	n, err := Open(t.Context(), c)
	must(t, err)
	defer func() { must(t, n.Close()) }()
	local := control.NewLocal(n.Handler())
	id, err := local.ID(t.Context())
	if err != nil || id.PeerID != idA.PeerID || id.Online {
		t.Errorf("offline: %+v, %v; was %s", id, err, idA.PeerID)
	}
	got.Reset()
	if _, err := local.Cat(t.Context(), control.CatRequest{Path: root, Length: 5}, &got); err != nil || got.String() != "hello" {
		t.Errorf("%q, %v", &got, err)
	}
}

// TestOffline makes nothing for a network, not even a key.
func TestOffline(t *testing.T) {
	c := config(t, filepath.Join(t.TempDir(), "repo"))
	c.Offline = true
	client, id, stop := run(t, c)
	if id.Online || id.PeerID != "" || id.Version == "" {
		t.Errorf("%+v", id)
	}
	if got := addText(t, client, hello); got != helloCID {
		t.Errorf("CID %s", got)
	}
	stop()
	if _, err := os.Lstat(filepath.Join(c.Repo, "identity.key")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an offline node made a key: %v", err)
	}
}

// TestPrivate: everything in the repository, the socket too, is the owner's
// alone while the node runs, and the socket goes with it.
func TestPrivate(t *testing.T) {
	c := config(t, filepath.Join(shortDir(t), "repo"))
	client, _, stop := run(t, c)
	addText(t, client, hello)
	_, err := client.JobCreate(t.Context(), control.JobRequest{})
	must(t, err)
	sockets := 0
	must(t, filepath.WalkDir(c.Repo, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s is %v", name, info.Mode())
		}
		if d.Type()&fs.ModeSocket != 0 {
			sockets++
		}
		return err
	}))
	if sockets != 2 {
		t.Errorf("%d sockets, want that of the node and that of the job", sockets)
	}
	stop()
	if _, err := os.Lstat(filepath.Join(c.Repo, socketName)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket stays: %v", err)
	}
}

// TestInUse refuses a repository that is open, and leaves it alone.
func TestInUse(t *testing.T) {
	c := config(t, filepath.Join(t.TempDir(), "repo"))
	client, _, stop := run(t, c)
	defer stop()
	if _, err := Open(t.Context(), c); !errors.Is(err, blockstore.ErrInUse) || !strings.Contains(err.Error(), "in use by test") {
		t.Errorf("Open: %v", err)
	}
	if _, err := Rebuild(t.Context(), c); !errors.Is(err, blockstore.ErrInUse) {
		t.Errorf("Rebuild: %v", err)
	}
	addText(t, client, hello)
}

// TestOpenFails closes what was opened when a later part can't be.
func TestOpenFails(t *testing.T) {
	c := config(t, filepath.Join(t.TempDir(), "repo"))
	c.Listen = []string{"nonsense"}
	if n, err := Open(t.Context(), c); err == nil {
		t.Errorf("%v", n)
	}
	c.Listen = nil
	c.Offline = true
	n, err := Open(t.Context(), c) // the lock is free again
	must(t, err)
	must(t, n.Close())
}

// TestRunFails ends everything when the socket can't be made.
func TestRunFails(t *testing.T) {
	c := config(t, filepath.Join(shortDir(t), "repo"))
	must(t, os.MkdirAll(filepath.Join(c.Repo, socketName), 0o700))
	n, err := Open(t.Context(), c)
	must(t, err)
	if err := n.Run(t.Context(), nil); !errors.Is(err, rest.ErrSocketPath) {
		t.Errorf("Run: %v", err)
	}
	must(t, n.Close())
}

// TestEnds ends a node in the middle of a fetch that would last for ever: the
// client is told, nothing hangs, no half file stays.
func TestEnds(t *testing.T) {
	asked := make(chan struct{}, 1)
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "1000000000")
		if _, err := w.Write(make([]byte, 1<<20)); err == nil {
			asked <- struct{}{}
		}
		<-r.Context().Done()
	}))
	defer origin.Close()
	c := config(t, filepath.Join(t.TempDir(), "repo"))
	client, _, stop := run(t, c)
	out := t.TempDir()
	failed := make(chan error, 1)
	go func() {
		var last error
		for _, err := range client.Fetch(t.Context(), control.FetchRequest{Refs: []json.RawMessage{[]byte(`"` + origin.URL + `/endless"`)}, Output: out}) {
			last = err
		}
		failed <- last
	}()
	<-asked
	stop()
	if err := <-failed; err == nil {
		t.Error("a fetch that was cut looks complete")
	}
	entries, err := os.ReadDir(out)
	if err != nil || len(entries) != 0 {
		t.Errorf("%v, %v", entries, err)
	}
}

// TestSocketPath puts the socket elsewhere when its path would be too long.
func TestSocketPath(t *testing.T) {
	runtime := shortDir(t)
	if got := SocketPath("/repo", runtime); got != "/repo/api.sock" {
		t.Errorf("%s", got)
	}
	long := filepath.Join(t.TempDir(), strings.Repeat("x", 100))
	must(t, os.Mkdir(long, 0o700))
	link := filepath.Join(runtime, "link")
	must(t, os.Symlink(long, link))
	path := SocketPath(long, runtime)
	if rest.CheckSocketPath(path) != nil || filepath.Dir(filepath.Dir(path)) != runtime {
		t.Errorf("%s", path)
	}
	c := config(t, long)
	c.RuntimeDir, c.Offline = runtime, true
	client, _, stop := run(t, c)
	defer stop()
	addText(t, client, hello)
	conn, err := new(net.Dialer).DialContext(t.Context(), "unix", path)
	must(t, err)
	must(t, conn.Close())
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

func TestEndpoints(t *testing.T) {
	got := endpoints("", "http://hub", "https://hub", "http://10.0.0.1:8080/x", "https://[::1]:9", "https://[::1]", "%")
	want := []string{"hub:80", "hub:443", "10.0.0.1:8080", "[::1]:9", "[::1]:443"}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestRebuild finds everything again when the index is gone.
func TestRebuild(t *testing.T) {
	c := config(t, filepath.Join(t.TempDir(), "repo"))
	c.Offline = true
	client, _, stop := run(t, c)
	root := addText(t, client, strings.Repeat(hello, 500_000))
	stop()
	must(t, os.RemoveAll(filepath.Join(c.Repo, "index")))
	r, err := Rebuild(t.Context(), c)
	if err != nil || r.Files == 0 {
		t.Errorf("%+v, %v", r, err)
	}
	client, _, stop = run(t, c)
	defer stop()
	if n, err := client.Cat(t.Context(), control.CatRequest{Path: root, Length: -1}, io.Discard); err != nil || n != 500_000*int64(len(hello)) {
		t.Errorf("%d bytes, %v", n, err)
	}
}

// TestRoots announces and serves what anybody may have, and nothing that a credential paid
// for.
func TestRoots(t *testing.T) {
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, err := io.WriteString(w, hello+r.URL.Path+r.Header.Get("Authorization"))
		if err != nil {
			t.Error(err)
		}
	}))
	defer origin.Close()
	c := config(t, filepath.Join(t.TempDir(), "repo"))
	c.Offline = true
	n, err := Open(t.Context(), c)
	must(t, err)
	defer func() { must(t, n.Close()) }()
	client := control.NewLocal(n.Handler())
	fetch := func(ref string) (root string) {
		for ev, err := range client.Fetch(t.Context(), control.FetchRequest{Refs: []json.RawMessage{json.RawMessage(ref)}}) {
			must(t, err)
			if ev.Item != nil {
				root = ev.Item.CID
			}
		}
		return root
	}
	public := fetch(`"` + origin.URL + `/public"`)
	private := fetch(`{"type":"uri","value":"` + origin.URL + `/private","headers":{"Authorization":"Bearer x"}}`)
	if public == "" || private == "" || public == private {
		t.Fatalf("%q and %q", public, private)
	}
	var roots []string
	for root, err := range n.roots(t.Context()) {
		must(t, err)
		roots = append(roots, root.String())
	}
	if len(roots) != 1 || roots[0] != public {
		t.Errorf("announced %q, want %s alone; %s is private", roots, public, private)
	}
	for text, want := range map[string]bool{public: true, private: false} {
		root, err := cid.Decode(text)
		must(t, err)
		for _, codec := range []uint64{cid.Raw, cid.DagProtobuf, cid.DagCBOR} {
			c := cid.NewCidV1(codec, root.Hash())
			if got, err := n.store.Scope("").Has(t.Context(), c); got != want || err != nil {
				t.Errorf("%s is served: %v, %v, want %v", c, got, err, want)
			}
		}
	}
}

// TestJobsResume: when a node is ready again, the bridges of its earlier jobs
// answer, and a job that is created at that moment is not taken for one of them.
func TestJobsResume(t *testing.T) {
	c := config(t, filepath.Join(t.TempDir(), "repo"))
	c.Offline = true
	client, _, stop := run(t, c)
	var made []jobs.Job
	for range 5 {
		j, err := client.JobCreate(t.Context(), control.JobRequest{})
		must(t, err)
		made = append(made, j)
	}
	stop()
	for range 3 {
		var log lockedBuffer
		c.Logger = slog.New(slog.NewTextHandler(&log, nil))
		client, _, stop = run(t, c)
		for _, j := range made {
			conn, err := new(net.Dialer).DialContext(t.Context(), "unix", j.Socket)
			must(t, err)
			must(t, conn.Close())
		}
		j, err := client.JobCreate(t.Context(), control.JobRequest{})
		must(t, err)
		made = append(made, j)
		for ev, err := range client.Jobs(t.Context()) {
			must(t, err)
			if ev.Item != nil && ev.Item.State == jobs.StateFailed {
				t.Errorf("%+v", *ev.Item)
			}
		}
		stop()
		if strings.Contains(log.String(), "level=ERROR") {
			t.Errorf("log: %s", log.String())
		}
	}
}

// lockedBuffer is a buffer that many may write to.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
