package ipfs_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/hypha-node/hypha-node/bitswap"
	"github.com/hypha-node/hypha-node/connectors"
	"github.com/hypha-node/hypha-node/connectors/ipfs"
	"github.com/hypha-node/hypha-node/dag"
	"github.com/ipfs/go-cid"
)

// fetch copies a DAG to a node and fails the test when that fails.
func fetch(t testing.TB, n *node, root cid.Cid) dag.Entry {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	e, err := n.conn.Fetch(ctx, root, dag.CopyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestFetchFile(t *testing.T) {
	a, b := newNode(t), newNode(t)
	for _, size := range []int{0, 1, 1 << 20, 1<<20 + 1, 20<<20 + 7} {
		want := content(t, size)
		f := a.add(t, want)
		connect(t, b, a)
		e := fetch(t, b, f.Root)
		if e.Type != dag.TypeFile || e.Size != f.Size || *e.SHA256 != f.SHA256 {
			t.Errorf("fetched %+v, want %+v", e, f)
		}
		if got := b.read(t, f.Root); !bytes.Equal(got, want) {
			t.Errorf("content of %d bytes differs", size)
		}
		if rec, err := b.store.File(t.Context(), f.Root); err != nil || rec.SHA256 != f.SHA256 {
			t.Errorf("record is %+v, %v", rec, err)
		}
	}
}

func TestFetchTree(t *testing.T) {
	a, b := newNode(t), newNode(t)
	root, files := a.addTree(t, 2000, 500)
	connect(t, b, a)
	if e := fetch(t, b, root); e.Type != dag.TypeDir {
		t.Errorf("fetched %+v", e)
	}
	a.stop() // the rest is b's own
	seen := 0
	for e, err := range dag.Walk(t.Context(), b.store, root, dag.Limits{}) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Type != dag.TypeFile {
			continue
		}
		seen++
		if size, ok := files[e.Path]; !ok || size != e.Size {
			t.Errorf("%s has %d bytes, want %d", e.Path, e.Size, size)
		}
		if got := b.read(t, e.Cid); int64(len(got)) != e.Size {
			t.Errorf("%s: %d bytes are stored", e.Path, len(got))
		}
	}
	if seen != len(files) {
		t.Errorf("%d of %d files came", seen, len(files))
	}
}

func TestFetchWhatIsHereAsksNobody(t *testing.T) {
	a := newNode(t)
	f := a.add(t, content(t, 3<<20))
	root, _ := a.addTree(t, 10, 10)
	a.ex.Close() // nobody can be asked now
	for _, c := range []cid.Cid{f.Root, root} {
		fetch(t, a, c)
		if _, err := ipfs.New(a.store, nil).Fetch(t.Context(), c, dag.CopyOptions{}); err != nil {
			t.Errorf("offline: %v", err)
		}
	}
}

func TestFetchWithNobodyToAsk(t *testing.T) {
	a, b := newNode(t), newNode(t)
	c := a.add(t, content(t, 10)).Root
	for name, conn := range map[string]*ipfs.Connector{"no peers": b.conn, "offline": ipfs.New(b.store, nil)} {
		_, err := conn.Fetch(t.Context(), c, dag.CopyOptions{})
		mentions(t, err, c)
		if !errors.Is(err, connectors.ErrNotFound) {
			t.Errorf("%s: error is %v", name, err)
		}
		_, err = conn.Getter(t.Context()).Get(t.Context(), c)
		mentions(t, err, c)
		var detail *connectors.Error
		if !errors.Is(err, connectors.ErrNotFound) || !errors.As(err, &detail) || detail.Hint == "" {
			t.Errorf("%s: error is %v", name, err)
		}
	}
	if _, err := b.conn.Fetch(t.Context(), c, dag.CopyOptions{}); !errors.Is(err, bitswap.ErrNoPeers) {
		t.Errorf("error is %v", err)
	}
}

// without returns a copy of a node's file in another node whose last leaf is
// missing, and that leaf.
func without(t *testing.T, from, to *node, f dag.File) cid.Cid {
	t.Helper()
	root, err := from.store.Get(t.Context(), f.Root)
	if err != nil {
		t.Fatal(err)
	}
	links, err := dag.Links(f.Root, root.RawData())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range append(slices.Clone(links[:len(links)-1]), f.Root) {
		blk, err := from.store.Get(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		if err := to.store.Put(t.Context(), blk); err != nil {
			t.Fatal(err)
		}
	}
	return links[len(links)-1]
}

func TestFetchMissingLeaf(t *testing.T) {
	whole, part, c := newNode(t), newNode(t), newNode(t)
	f := whole.add(t, content(t, 5<<20))
	leaf := without(t, whole, part, f)
	connect(t, c, part)
	_, err := c.impatient().Fetch(t.Context(), f.Root, dag.CopyOptions{})
	mentions(t, err, leaf)
	if !errors.Is(err, connectors.ErrNotFound) || !errors.Is(err, dag.ErrNoProgress) {
		t.Errorf("error is %v", err)
	}
	if _, err := c.store.File(t.Context(), f.Root); err == nil {
		t.Error("half a file was recorded")
	}
	_, err = c.impatient().Getter(t.Context()).Get(t.Context(), leaf)
	mentions(t, err, leaf)
	if !errors.Is(err, connectors.ErrNotFound) || !errors.Is(err, dag.ErrNoProgress) {
		t.Errorf("error is %v", err)
	}
}

func TestFetchFindsSecondProvider(t *testing.T) {
	boot := newNode(t)
	whole, part, c := newNode(t, boot), newNode(t), newNode(t, boot)
	f := whole.add(t, content(t, 5<<20))
	without(t, whole, part, f)
	if err := whole.ex.Provide(t.Context(), f.Root); err != nil {
		t.Fatal(err)
	}
	connect(t, c, part)
	fetch(t, c, f.Root)
	if got := c.read(t, f.Root); int64(len(got)) != f.Size {
		t.Errorf("%d of %d bytes", len(got), f.Size)
	}
}

func TestProviderDiesInMidTransfer(t *testing.T) {
	a, b, c := newNode(t), newNode(t), newNode(t)
	want := content(t, 96<<20)
	f := a.add(t, want)
	b.add(t, want)
	connect(t, c, a)
	var came atomic.Int64
	dying := make(chan struct{})
	died := make(chan struct{})
	go func() {
		defer close(died)
		<-dying
		connect(t, c, b)
		a.stop()
	}()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, err := c.conn.Fetch(ctx, f.Root, dag.CopyOptions{Progress: func(n int64) {
		if total := came.Add(n); total > 8<<20 && total-n <= 8<<20 {
			close(dying)
			<-died // nothing more is taken in before a is gone
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	if got := c.read(t, f.Root); !bytes.Equal(got, want) {
		t.Error("content differs")
	}
}

func TestGetterStoresWhatItGets(t *testing.T) {
	a, b := newNode(t), newNode(t)
	want := content(t, 5<<20)
	f := a.add(t, want)
	connect(t, b, a)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	r, err := dag.Open(ctx, b.conn.Getter(ctx), f.Root)
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	if _, err := r.CopyRange(ctx, &got, 0, -1); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), want) {
		t.Error("content differs")
	}
	a.stop()
	if again := b.read(t, f.Root); !bytes.Equal(again, want) {
		t.Error("stored content differs")
	}
}
