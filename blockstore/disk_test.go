package blockstore_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"

	"github.com/hypha-node/hypha-node/blockstore"
)

// openDisk opens a store in dir that is closed with the test, with no reserve
// but what the index needs.
func openDisk(t testing.TB, dir string) *blockstore.Disk {
	t.Helper()
	d, err := blockstore.Open(context.Background(), dir, blockstore.Options{Holder: "test", Reserve: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// content returns n bytes that follow from seed.
func content(seed uint64, n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16), byte(seed >> 24)})
	if _, err := r.Read(b); err != nil {
		panic(err)
	}
	return b
}

func block(codec uint64, data []byte) blocks.Block {
	c, err := cid.V1Builder{Codec: codec, MhType: 0x12}.Sum(data)
	if err != nil {
		panic(err)
	}
	b, err := blocks.NewBlockWithCid(data, c)
	if err != nil {
		panic(err)
	}
	return b
}

// testFile is a file of several leaves and one node (whose bytes are made up:
// the store does not look into it).
type testFile struct {
	blockstore.File
	leaves []blocks.Block
	node   blocks.Block
	data   []byte
}

func newTestFile(seed uint64, leaves, leaf int) testFile {
	var f testFile
	f.data = content(seed, leaves*leaf)
	for i := range leaves {
		f.leaves = append(f.leaves, block(cid.Raw, f.data[i*leaf:(i+1)*leaf]))
	}
	f.node = block(cid.DagProtobuf, fmt.Appendf(nil, "node of file %d", seed))
	f.File = blockstore.File{Root: f.node.Cid(), Size: int64(len(f.data)), SHA256: sha256.Sum256(f.data)}
	return f
}

func (f testFile) write(ctx context.Context, s blockstore.Store, aliases map[string][]byte) error {
	w, err := s.NewFile(ctx, f.Size)
	if err != nil {
		return err
	}
	var off int64
	for _, leaf := range f.leaves {
		if err := w.WriteLeaf(off, leaf.Cid(), leaf.RawData()); err != nil {
			return errors.Join(err, w.Abort())
		}
		off += int64(len(leaf.RawData()))
	}
	if err := w.PutNode(f.node); err != nil {
		return errors.Join(err, w.Abort())
	}
	if err := w.Commit(ctx, f.File, aliases); err != nil {
		return errors.Join(err, w.Abort())
	}
	return nil
}

// check holds that the file is there and right.
func (f testFile) check(t testing.TB, s blockstore.Store) {
	t.Helper()
	ctx := context.Background()
	got, err := s.File(ctx, f.Root)
	if err != nil || got != f.File {
		t.Errorf("File = %+v, %v; want %+v", got, err, f.File)
	}
	for _, blk := range append(f.leaves, f.node) {
		b, err := s.Get(ctx, blk.Cid())
		if err != nil {
			t.Errorf("Get: %v", err)
			continue
		}
		if !bytes.Equal(b.RawData(), blk.RawData()) {
			t.Errorf("Get %s returned other bytes", blk.Cid())
		}
	}
}

func TestDisk(t *testing.T) {
	dir := t.TempDir()
	ctx := t.Context()
	d := openDisk(t, dir)
	f := newTestFile(1, 5, 1<<20)
	if err := f.write(ctx, d, map[string][]byte{"url:x": []byte(`{"etag":1}`)}); err != nil {
		t.Fatal(err)
	}
	small := block(cid.Raw, []byte("small"))
	if err := d.Put(ctx, small); err != nil {
		t.Fatal(err)
	}
	for range 2 { // now, and after reopening
		f.check(t, d)
		c, err := d.OpenFile(ctx, f.Root)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(io.NewSectionReader(c, c.Off, c.Size))
		if err != nil || !bytes.Equal(b, f.data) {
			t.Errorf("OpenFile: %d bytes, %v", len(b), err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		for _, key := range []string{"url:x", fmt.Sprintf("sha256:%x", f.SHA256)} {
			if a, err := d.Alias(ctx, key); err != nil || a.Root != f.Root {
				t.Errorf("Alias %s = %v, %v", key, a, err)
			}
		}
		if b, err := d.Get(ctx, small.Cid()); err != nil || string(b.RawData()) != "small" {
			t.Errorf("Get small = %v, %v", b, err)
		}
		if _, err := d.Get(ctx, block(cid.Raw, []byte("absent")).Cid()); !ipld.IsNotFound(err) {
			t.Errorf("Get absent = %v", err)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		d = openDisk(t, dir)
	}
}
