package ipfs_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"go.uber.org/goleak"

	"github.com/hypha-node/hypha-node/bitswap"
	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/connectors/ipfs"
	"github.com/hypha-node/hypha-node/dag"
	"github.com/ipfs/go-cid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait of the tests; it is a safety net, not a measure.
const patience = 60 * time.Second

// node is a node under test: a store on disk, an exchange, a connector.
type node struct {
	store *blockstore.Disk
	ex    *bitswap.Exchange
	conn  *ipfs.Connector
	stop  func()
}

// newNode starts a node on loopback that looks for others after a second without
// a block. It lives as long as the test, or until stop.
func newNode(t testing.TB, bootstrap ...*node) *node {
	t.Helper()
	store, err := blockstore.Open(t.Context(), t.TempDir(), blockstore.Options{Reserve: -1})
	if err != nil {
		t.Fatal(err)
	}
	key, _, err := crypto.GenerateEd25519Key(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	var boot []string
	for _, b := range bootstrap {
		boot = append(boot, b.addr(t))
	}
	ex, err := bitswap.New(t.Context(), bitswap.Config{
		Identity: key, Listen: []string{"/ip4/127.0.0.1/tcp/0"}, Bootstrap: boot,
		Store: store, Datastore: store.Datastore("dht"),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- ex.Run(ctx) }()
	n := &node{store: store, ex: ex, conn: ipfs.New(store, ex)}
	n.conn.Stall, n.conn.Timeout = time.Second, patience
	stopped := false
	n.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		for _, err := range []error{<-ended, ex.Close(), store.Close()} {
			if err != nil {
				t.Error(err)
			}
		}
	}
	t.Cleanup(n.stop)
	return n
}

// impatient returns a node's connector for content that nobody has.
func (n *node) impatient() *ipfs.Connector { return n.conn.WithTimeout(3 * time.Second) }

// addr returns an address of the node.
func (n *node) addr(t testing.TB) string {
	t.Helper()
	addrs := n.ex.ID().Addresses
	if len(addrs) == 0 {
		t.Fatal("the node listens nowhere")
	}
	return addrs[0]
}

// connect dials b from a.
func connect(t testing.TB, a, b *node) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := a.ex.Connect(ctx, b.addr(t)); err != nil {
		t.Fatal(err)
	}
}

// content returns n bytes that differ everywhere.
func content(t testing.TB, n int) []byte {
	t.Helper()
	b := make([]byte, n)
	if _, err := rand.Read(b); err != nil {
		t.Fatal(err)
	}
	return b
}

// add takes content into the node's store.
func (n *node) add(t testing.TB, b []byte) dag.File {
	t.Helper()
	f, err := dag.Import(t.Context(), n.store, bytes.NewReader(b), dag.ImportOptions{Size: int64(len(b))})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// addTree takes a tree of count files of size bytes and some odd entries into
// the node's store, and returns it with the paths and sizes of its files.
func (n *node) addTree(t testing.TB, count, size int) (cid.Cid, map[string]int64) {
	t.Helper()
	dir := t.TempDir()
	files := make(map[string]int64)
	write := func(name string, b []byte) {
		p := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(p), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, b, 0o600); err != nil {
			t.Fatal(err)
		}
		files[name] = int64(len(b))
	}
	all := content(t, count*size)
	for i := range count {
		write(fmt.Sprintf("part-%d/file-%d", i%7, i), all[i*size:(i+1)*size])
	}
	write("empty", nil)
	write("large", content(t, 3<<20))
	if err := os.Symlink("large", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	e, err := dag.ImportTree(t.Context(), n.store, root, ".", dag.TreeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := root.Close(); err != nil {
		t.Fatal(err)
	}
	return e.Cid, files
}

// read returns the content of a stored file.
func (n *node) read(t testing.TB, root cid.Cid) []byte {
	t.Helper()
	r, err := dag.Open(t.Context(), n.store, root)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if _, err := r.CopyRange(t.Context(), &b, 0, -1); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// mentions fails the test unless an error names a CID.
func mentions(t testing.TB, err error, c cid.Cid) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), c.String()) {
		t.Errorf("error %v does not name %s", err, c)
	}
}
