package storetest

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/boxo/ipld/unixfs"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/ipfs/go-datastore"
	ipld "github.com/ipfs/go-ipld-format"
	mh "github.com/multiformats/go-multihash"

	"github.com/hypha-node/hypha-node/blockstore"
)

// maxBlock is the most that a block may hold, in bytes (docs/terms.md).
const maxBlock = 2 << 20

// Corrupter is a store whose stored bytes a test can spoil.
type Corrupter interface {
	// Corrupt changes stored bytes of the block, which has some, behind the
	// store's back and reports whether it could.
	Corrupt(c cid.Cid) bool
}

// Reopener is a store that outlives its process.
type Reopener interface {
	// Reopen closes the store and opens it again; the suite closes what it returns.
	Reopen(t *testing.T) blockstore.Store
}

// Limiter is a store that can be made full.
type Limiter interface {
	// SetLimit leaves room for about n bytes of blocks in all.
	SetLimit(n int64)
}

// recorder and datastorer are what only some stores offer to other packages.
type (
	recorder interface {
		Records(bucket string) blockstore.Records
	}
	datastorer interface {
		Datastore(prefix string) datastore.Batching
	}
)

// group is a set of tests, each of which gets a store of its own.
type group map[string]func(t *testing.T, s blockstore.Store)

// Run tests a store. open returns a fresh, empty store for each test, which the
// suite closes; closing it twice must do no harm.
func Run(t *testing.T, open func(t *testing.T) blockstore.Store) {
	t.Helper()
	for name, g := range map[string]group{
		"blocks": blockTests(), "keys": keyTests(), "files": fileTests(), "writer": writerTests(),
		"aliases": aliasTests(), "pins": pinTests(), "records": recordTests(), "datastore": datastoreTests(),
		"scopes": scopeTests(), "faults": faultTests(), "reopen": reopenTests(), "closed": closedTests(), "concurrent": concurrentTests(),
	} {
		t.Run(name, func(t *testing.T) {
			for name, test := range g {
				t.Run(name, func(t *testing.T) {
					s := open(t)
					t.Cleanup(func() {
						if err := s.Close(); err != nil {
							t.Errorf("Close: %v", err)
						}
					})
					test(t, s)
				})
			}
		})
	}
	t.Run("model", func(t *testing.T) { testModel(t, open) })
}

// sample is a UnixFS file of raw leaves under one node, or of one raw leaf alone.
type sample struct {
	blockstore.File
	content []byte
	leaves  []leaf
	node    blocks.Block // nil for one leaf
}

type leaf struct {
	off  int64
	cid  cid.Cid
	data []byte
}

// newSample makes a file of size random bytes in leaves of at most chunk bytes.
// The same seed gives the same file.
func newSample(t *testing.T, seed uint64, size, chunk int) sample {
	t.Helper()
	s := sample{content: randomBytes(seed, size)}
	s.Size, s.SHA256 = int64(size), sha256.Sum256(s.content)
	top, fsNode := new(merkledag.ProtoNode), unixfs.NewFSNode(unixfs.TFile)
	for off := 0; off == 0 || off < size; off += chunk {
		data := s.content[off:min(off+chunk, size)]
		c := rawCID(t, data)
		s.leaves = append(s.leaves, leaf{int64(off), c, data})
		fsNode.AddBlockSize(uint64(len(data)))
		must(t, top.AddRawLink("", &ipld.Link{Size: uint64(len(data)), Cid: c}))
	}
	s.Root = s.leaves[0].cid
	if len(s.leaves) == 1 {
		return s
	}
	data, err := fsNode.GetBytes()
	must(t, err)
	top.SetData(data)
	must(t, top.SetCidBuilder(cid.V1Builder{Codec: cid.DagProtobuf, MhType: mh.SHA2_256}))
	s.node, s.Root = top, top.Cid()
	return s
}

// blocks returns every block of the file.
func (s sample) blocks(t *testing.T) []blocks.Block {
	t.Helper()
	var all []blocks.Block
	for _, l := range s.leaves {
		all = append(all, withCID(t, l.data, l.cid))
	}
	if s.node != nil {
		all = append(all, s.node)
	}
	return all
}

// write brings the file to a writer; the caller commits.
func (s sample) write(t *testing.T, w blockstore.FileWriter) {
	t.Helper()
	for _, l := range s.leaves {
		must(t, w.WriteLeaf(l.off, l.cid, l.data))
	}
	if s.node != nil {
		must(t, w.PutNode(s.node))
	}
}

// commit takes the file into the store.
func (s sample) commit(t *testing.T, dst blockstore.Store, aliases map[string][]byte) {
	t.Helper()
	w, err := dst.NewFile(t.Context(), s.Size)
	must(t, err)
	s.write(t, w)
	must(t, w.Commit(t.Context(), s.File, aliases))
}

// check fails unless the store has all of the file, with its record.
func (s sample) check(t *testing.T, st blockstore.Store) {
	t.Helper()
	for _, blk := range s.blocks(t) {
		checkGet(t, st, blk)
	}
	got, err := st.File(t.Context(), s.Root)
	if err != nil || got != s.File {
		t.Errorf("File = %+v, %v, want %+v", got, err, s.File)
	}
	a, err := st.Alias(t.Context(), sha256Key(s.File))
	if err != nil || a.Root != s.Root {
		t.Errorf("Alias of the sha256 = %v, %v, want %v", a.Root, err, s.Root)
	}
	content, err := st.OpenFile(t.Context(), s.Root)
	if errors.Is(err, blockstore.ErrScattered) {
		return
	}
	must(t, err)
	defer content.Close()
	all, err := io.ReadAll(io.NewSectionReader(content.File, content.Off, content.Size))
	if err != nil || !bytes.Equal(all, s.content) {
		t.Errorf("OpenFile gives %d bytes, %v, want the %d of the file", len(all), err, s.Size)
	}
}

// checkGone fails when the store has any of the file.
func (s sample) checkGone(t *testing.T, st blockstore.Store) {
	t.Helper()
	for _, blk := range s.blocks(t) {
		if has, err := st.Has(t.Context(), blk.Cid()); has || err != nil {
			t.Errorf("Has(%s) = %v, %v, want false", blk.Cid(), has, err)
		}
	}
	if _, err := st.File(t.Context(), s.Root); !ipld.IsNotFound(err) {
		t.Errorf("File = %v, want not found", err)
	}
	if _, err := st.Alias(t.Context(), sha256Key(s.File)); !ipld.IsNotFound(err) {
		t.Errorf("Alias of the sha256 = %v, want not found", err)
	}
}

// checkGet fails unless every way to read the block gives its bytes.
func checkGet(t *testing.T, s blockstore.Store, want blocks.Block) {
	t.Helper()
	ctx, c := t.Context(), want.Cid()
	got, err := s.Get(ctx, c)
	switch {
	case err != nil:
		t.Errorf("Get(%s): %v", c, err)
	case !bytes.Equal(got.RawData(), want.RawData()) || got.Cid() != c:
		t.Errorf("Get(%s) gives block %s of %d bytes, want %d bytes", c, got.Cid(), len(got.RawData()), len(want.RawData()))
	}
	if has, err := s.Has(ctx, c); !has || err != nil {
		t.Errorf("Has(%s) = %v, %v, want true", c, has, err)
	}
	if n, err := s.GetSize(ctx, c); n != len(want.RawData()) || err != nil {
		t.Errorf("GetSize(%s) = %d, %v, want %d", c, n, err, len(want.RawData()))
	}
	var seen []byte
	err = s.View(ctx, c, func(b []byte) error { seen = bytes.Clone(b); return nil })
	if err != nil || !bytes.Equal(seen, want.RawData()) {
		t.Errorf("View(%s) = %d bytes, %v, want %d", c, len(seen), err, len(want.RawData()))
	}
}

// checkAbsent fails unless every way to read the block says that it is not there.
func checkAbsent(t *testing.T, s blockstore.Store, c cid.Cid) {
	t.Helper()
	ctx := t.Context()
	if blk, err := s.Get(ctx, c); blk != nil || !ipld.IsNotFound(err) {
		t.Errorf("Get(%s) = %v, %v, want nil and not found", c, blk, err)
	}
	if has, err := s.Has(ctx, c); has || err != nil {
		t.Errorf("Has(%s) = %v, %v, want false", c, has, err)
	}
	if n, err := s.GetSize(ctx, c); n != -1 || !ipld.IsNotFound(err) {
		t.Errorf("GetSize(%s) = %d, %v, want -1 and not found", c, n, err)
	}
	err := s.View(ctx, c, func([]byte) error { t.Errorf("View(%s) calls back", c); return nil })
	if !ipld.IsNotFound(err) {
		t.Errorf("View(%s) = %v, want not found", c, err)
	}
}

// listed returns the multihashes that Keys yields, each once.
func listed(t *testing.T, s blockstore.Store) map[string]bool {
	t.Helper()
	all := make(map[string]bool)
	for c, err := range s.Keys(t.Context()) {
		must(t, err)
		if c.Version() != 1 || c.Type() != cid.Raw {
			t.Errorf("Keys yields %s, want CIDv1 raw", c)
		}
		if all[string(c.Hash())] {
			t.Errorf("Keys yields %s twice", c)
		}
		all[string(c.Hash())] = true
	}
	return all
}

// someBlocks returns n different blocks of a few bytes as raw CIDv1.
func someBlocks(t *testing.T, seed uint64, n int) []blocks.Block {
	t.Helper()
	all := make([]blocks.Block, n)
	for i := range all {
		data := binary.BigEndian.AppendUint64(randomBytes(seed, 16), uint64(i))
		all[i] = withCID(t, data, rawCID(t, data))
	}
	return all
}

func randomBytes(seed uint64, n int) []byte {
	var key [32]byte
	binary.BigEndian.PutUint64(key[:], seed)
	data := make([]byte, n)
	must0(rand.NewChaCha8(key).Read(data))
	return data
}

// must0 drops the results of a call that is documented never to fail.
func must0(int, error) {}

func rawCID(t *testing.T, data []byte) cid.Cid {
	t.Helper()
	c, err := cid.V1Builder{Codec: cid.Raw, MhType: mh.SHA2_256}.Sum(data)
	must(t, err)
	return c
}

func withCID(t *testing.T, data []byte, c cid.Cid) blocks.Block {
	t.Helper()
	blk, err := blocks.NewBlockWithCid(data, c)
	must(t, err)
	return blk
}

func identity(t *testing.T, data string) blocks.Block {
	t.Helper()
	c, err := cid.V1Builder{Codec: cid.Raw, MhType: mh.IDENTITY}.Sum([]byte(data))
	must(t, err)
	return withCID(t, []byte(data), c)
}

func sha256Key(f blockstore.File) string { return "sha256:" + hex.EncodeToString(f.SHA256[:]) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// sorted returns a sorted copy.
func sorted(keys []string) []string {
	keys = slices.Clone(keys)
	slices.Sort(keys)
	return keys
}
