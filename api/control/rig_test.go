package control

import (
	"context"
	"errors"
	"iter"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/hypha-node/hypha-node/bitswap"
	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/connectors"
	httpconn "github.com/hypha-node/hypha-node/connectors/http"
	"github.com/hypha-node/hypha-node/connectors/ingest"
	"github.com/hypha-node/hypha-node/connectors/ipfs"
	"github.com/hypha-node/hypha-node/jobs"
)

// rig is a server over a real repository, and a client of it.
type rig struct {
	*Client
	server *Server
	dir    string // for the test's own files
	repo   string

	origin string            // URL of a server of files
	files  map[string]string // what it serves, by path
	hits   atomic.Int64      // requests that it had
}

// both runs a test with a client over a socket and with one in process.
func both(t *testing.T, test func(t *testing.T, r *rig)) {
	t.Helper()
	for _, name := range []string{"socket", "local"} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.Client = NewLocal(r.server)
			if name == "socket" {
				r.Client = serve(t, r.server)
			}
			t.Cleanup(r.Close)
			test(t, r)
		})
	}
}

// newRig opens a repository and wires a server, offline.
func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{dir: t.TempDir(), repo: filepath.Join(t.TempDir(), "repo"), files: map[string]string{}}
	modified := time.Unix(1_700_000_000, 0)
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.hits.Add(1)
		text, ok := r.files[strings.TrimPrefix(req.URL.Path, "/")]
		if !ok {
			http.NotFound(w, req)
			return
		}
		http.ServeContent(w, req, "", modified, strings.NewReader(text))
	}))
	t.Cleanup(origin.Close)
	r.origin = origin.URL

	store, err := blockstore.Open(t.Context(), r.repo, blockstore.Options{Holder: "test", Reserve: -1})
	must(t, err)
	t.Cleanup(func() { must(t, store.Close()) })
	web := httpconn.New(httpconn.Config{Retries: -1})
	t.Cleanup(web.Close)
	source := ipfs.New(store, nil)
	engine := ingest.New(ingest.Config{Store: store, Connectors: connectors.Set{web, source}, Blocks: source})
	t.Cleanup(func() { must(t, engine.Close()) })
	supervisor, err := jobs.Open(t.Context(), jobs.Config{
		Dir: filepath.Join(r.repo, "jobs"), RuntimeDir: shortDir(t),
		Records: store.Records("jobs"), Engine: engine, Store: store,
	})
	must(t, err)
	t.Cleanup(func() { must(t, supervisor.Close()) })
	r.server = NewServer(Config{
		Repo: r.repo, Version: "test", Store: store, Engine: engine, Blocks: source, Jobs: supervisor,
		PeerID: func() (string, error) { return "12D3KooWTest", nil },
	})
	return r
}

// serve serves a handler on a socket and returns a client of it.
func serve(t *testing.T, h http.Handler) *Client {
	t.Helper()
	path := filepath.Join(shortDir(t), "api.sock")
	var conf net.ListenConfig
	l, err := conf.Listen(t.Context(), "unix", path)
	must(t, err)
	s := &http.Server{Handler: h, ReadHeaderTimeout: time.Minute}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		must(t, s.Shutdown(context.WithoutCancel(t.Context())))
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return NewClient(path)
}

// shortDir returns a directory whose path is short enough for sockets.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "hypha-test-") //nolint:usetesting // t.TempDir is too long for a socket
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
	return dir
}

// write makes a file of the test's own and returns its path.
func (r *rig) write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(r.dir, filepath.FromSlash(name))
	must(t, os.MkdirAll(filepath.Dir(path), 0o700))
	must(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// must ends the test when something failed that should not.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// items returns the items of a stream.
func items[T any](events iter.Seq2[Event[T], error]) ([]T, error) {
	var list []T
	for ev, err := range events {
		if err != nil {
			return list, err
		}
		if ev.Item != nil {
			list = append(list, *ev.Item)
		}
	}
	return list, nil
}

// wantError checks the code, and the text if it is not "".
func wantError(t *testing.T, err error, code, text string) {
	t.Helper()
	e, ok := errors.AsType[*Error](err)
	if !ok || e.Code != code || !strings.Contains(e.Detail, text) {
		t.Errorf("error %v (%+v), want code %s and %q", err, e, code, text)
	}
}

// network stands for an exchange: what operations tell it is kept.
type network struct {
	provided []cid.Cid
	notified int
	dialled  string
	refuses  bool
}

var _ Network = (*network)(nil)

func (*network) ID() bitswap.Identity {
	return bitswap.Identity{PeerID: "12D3KooWOther", Addresses: []string{"/ip4/127.0.0.1/tcp/1/p2p/12D3KooWOther"}, AgentVersion: "agent/1"}
}

func (*network) Peers() []bitswap.PeerInfo {
	return []bitswap.PeerInfo{{ID: "12D3KooWPeer", Address: "/ip4/127.0.0.1/tcp/2", Direction: "in", Transport: "tcp", Agent: "x", Latency: 3 * time.Millisecond}}
}

func (n *network) Connect(_ context.Context, addr string) (string, error) {
	if n.dialled = addr; n.refuses {
		return "", errors.New("connection refused")
	}
	return "12D3KooWPeer", nil
}

func (n *network) Provide(_ context.Context, roots ...cid.Cid) error {
	n.provided = append(n.provided, roots...)
	return nil
}

func (n *network) Notify() { n.notified++ }

// Stats counts nothing.
func (n *network) Stats(context.Context) (bitswap.Stats, error) { return bitswap.Stats{Peers: 1}, nil }
