package dag

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/boxo/ipld/unixfs"
	"github.com/ipfs/go-cid"
	mh "github.com/multiformats/go-multihash"
	"google.golang.org/protobuf/encoding/protowire"
	"pgregory.net/rapid"
)

// seeds are blocks of every kind, good and bad.
func seeds(f *testing.F) [][]byte {
	var all [][]byte
	for _, c := range slices.Concat(hostileFiles(), hostileShards()) {
		s := newStore(f)
		root := c.make(forge{f, s})
		if root.Type() != cid.DagProtobuf {
			continue
		}
		if blk, err := s.Get(f.Context(), root); err == nil && len(blk.RawData()) < 10_000 {
			all = append(all, blk.RawData())
		}
	}
	return append(all, pbBlock(V0_2015(), nil, fileData(0, nil)).RawData(), V0_2015().leaf([]byte("content")).RawData())
}

// FuzzNode holds the decoder against any bytes: what it takes, boxo takes for
// the same, and its claims have been checked.
func FuzzNode(f *testing.F) {
	for _, b := range seeds(f) {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c := cid.NewCidV1(cid.DagProtobuf, multihash([32]byte{}))
		links, err := Links(c, b)
		if err != nil {
			return
		}
		theirs, err := merkledag.DecodeProtobuf(b)
		if err != nil {
			t.Fatalf("accepted what boxo refuses: %v", err)
		}
		if len(links) != len(theirs.Links()) {
			t.Fatalf("%d links, boxo sees %d", len(links), len(theirs.Links()))
		}
		for i, l := range theirs.Links() {
			if !l.Cid.Equals(links[i]) {
				t.Fatalf("link %d: %s, boxo sees %s", i, links[i], l.Cid)
			}
		}
		n, err := decodeNode(c, b)
		if err != nil {
			return
		}
		for i, l := range n.links {
			if l.name != theirs.Links()[i].Name {
				t.Fatalf("name %q, boxo sees %q", l.name, theirs.Links()[i].Name)
			}
		}
		checkNode(t, n, theirs.Data())
		raw, data, err := decodePB(appendPB(nil, n.links, theirs.Data()))
		if err != nil || !slices.Equal(raw, n.links) || !bytes.Equal(data, theirs.Data()) {
			t.Fatalf("encoded again: %v, %x, %v", raw, data, err)
		}
	})
}

// checkNode compares a decoded UnixFS message with what boxo makes of it.
func checkNode(t *testing.T, n *node, data []byte) {
	fs, err := unixfs.FSNodeFromBytes(data)
	if err != nil && holdsTime(data) {
		return // times are skipped, whatever is in them
	}
	if err != nil {
		t.Fatalf("accepted what boxo refuses: %v", err)
	}
	if uint64(fs.Type()) != n.kind || !bytes.Equal(fs.Data(), n.data) || fs.Fanout() != n.fanout || fs.HashType() != n.hash {
		t.Fatalf("%+v, boxo sees %v", n, fs)
	}
	if n.typ() != TypeFile {
		return
	}
	total := int64(len(n.data))
	for i, size := range n.blocks {
		if size <= 0 || uint64(size) != fs.BlockSize(i) {
			t.Fatalf("block %d of %d bytes, boxo sees %d", i, size, fs.BlockSize(i))
		}
		total += size
	}
	if n.size != total || len(n.blocks) != len(n.links) {
		t.Fatalf("accepted %d bytes in %d blocks of %d", n.size, len(n.blocks), total)
	}
}

// holdsTime tells whether a UnixFS message has a modification time.
func holdsTime(data []byte) bool {
	for len(data) > 0 {
		num, typ, n := protowire.ConsumeTag(data)
		m := protowire.ConsumeFieldValue(num, typ, data[max(n, 0):])
		if n < 0 || m < 0 {
			return false
		}
		if num == 8 {
			return true
		}
		data = data[n+m:]
	}
	return false
}

// FuzzTree makes trees out of bytes, as hostile as it gets, and exports them:
// whatever happens, it ends, and nothing is made outside the target.
func FuzzTree(f *testing.F) {
	for i := range 20 {
		r := rand.New(rand.NewPCG(uint64(i), 1))
		b := make([]byte, 10+i*20)
		for k := range b {
			b[k] = byte(r.Uint32())
		}
		f.Add(b, "a", "..")
		f.Add(b, "a/b", "x")
	}
	f.Fuzz(func(t *testing.T, program []byte, name1, name2 string) {
		s := blockstore.NewMemory()
		defer s.Close()
		root := treeFrom(forge{t, s}, program, name1, name2)
		base := t.TempDir()
		if err := os.Mkdir(filepath.Join(base, "in"), 0o700); err != nil {
			t.Fatal(err)
		}
		dir, err := os.OpenRoot(filepath.Join(base, "in"))
		if err != nil {
			t.Fatal(err)
		}
		defer dir.Close()
		limits := Limits{Entries: 50, Bytes: 10 << 20}
		w, err := Export(t.Context(), s, root, dir, "out", ExportOptions{Symlinks: true, Limits: limits})
		found := readTree(t, base)
		for p := range found {
			if p != "in/" && p != "in/out" && p != "in/out/" && !bytes.HasPrefix([]byte(p), []byte("in/out/")) {
				t.Fatalf("%q was made outside", p)
			}
		}
		if err != nil {
			return
		}
		// What was exported can be copied, and taken in again.
		theirs := blockstore.NewMemory()
		defer theirs.Close()
		p := newPeer(t, s)
		p.closing = true
		if e, err := Copy(t.Context(), theirs, p, root, CopyOptions{Limits: limits}); err != nil || e.Size != w.Size {
			t.Fatalf("exported %v, but Copy = %v, %v", w, e, err)
		}
		p.wg.Wait()
		if _, err := ImportTree(t.Context(), theirs, dir, "out", TreeOptions{Hidden: true}); err != nil {
			t.Fatalf("exported, but import: %v", err)
		}
	})
}

// treeFrom runs a little program that makes blocks out of earlier ones.
func treeFrom(f forge, program []byte, name1, name2 string) cid.Cid {
	cids := []cid.Cid{f.raw([]byte("leaf"))}
	names := []string{name1, name2, "a", "b", "c", "A", "..", "ä"}
	next := func() int {
		if len(program) == 0 {
			return 0
		}
		b := program[0]
		program = program[1:]
		return int(b)
	}
	pick := func() cid.Cid { return cids[max(0, len(cids)-1-next()%4)] }
	for len(program) > 0 && len(cids) < 40 {
		var c cid.Cid
		switch next() % 8 {
		case 0:
			c = f.raw(bytes.Repeat([]byte{byte(next())}, next()))
		case 1:
			c = f.symlink(names[next()%len(names)] + "/" + names[next()%len(names)])
		case 2:
			parts := make([]int64, next()%4)
			leaves := make([]cid.Cid, len(parts))
			total := int64(0)
			for i := range parts {
				parts[i], leaves[i] = 4, pick()
				total += 4
			}
			c = f.file(total, parts, leaves...)
		case 3:
			c = f.shard(256, murmur3x64, bit(next()), link{cid: pick(), name: fmt.Sprintf("%02X", next()) + names[next()%len(names)]})
		case 4:
			name := names[next()%len(names)]
			i := int(nameHash(name) >> 56)
			c = f.shard(256, murmur3x64, bit(i), link{cid: pick(), name: fmt.Sprintf("%02X%s", i, name)})
		case 5:
			c = f.sum(cid.Raw, mh.IDENTITY, bytes.Repeat([]byte{1}, next()%140))
		default:
			links := make([]link, next()%5)
			for i := range links {
				links[i] = link{cid: pick(), name: names[next()%len(names)]}
			}
			c = f.dir(links...)
		}
		cids = append(cids, c)
	}
	return cids[len(cids)-1]
}

// TestIdentity holds Open∘Import = identity, for any size and chunker.
func TestIdentity(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		p := Profile{v0: rapid.Bool().Draw(rt, "v0"), chunk: rapid.SampledFrom([]int{0, 1, 3, 64, 100, 1000, 4096, 65536, maxLeaf}).Draw(rt, "chunk")}
		size := rapid.IntRange(0, 2500*min(p.leafSize(), 1000)).Draw(rt, "size")
		b := content(size)
		s := newStore(t)
		f := mustImport(t, s, b, ImportOptions{Profile: p})
		r, err := Open(t.Context(), s, f.Root)
		if err != nil {
			rt.Fatal(err)
		}
		defer r.Close()
		off := rapid.Int64Range(0, int64(size)).Draw(rt, "offset")
		n := rapid.Int64Range(-1, int64(size)).Draw(rt, "length")
		want := b[off:]
		if n >= 0 && n < int64(len(want)) {
			want = want[:n]
		}
		var got bytes.Buffer
		if m, err := r.CopyRange(t.Context(), &got, off, n); err != nil || m != int64(len(want)) || !bytes.Equal(got.Bytes(), want) {
			rt.Fatalf("CopyRange(%d, %d) of %d = %d, %v", off, n, size, m, err)
		}
		at := make(memoryAt, size)
		if err := r.CopyAt(t.Context(), at, nil); err != nil || !bytes.Equal(at, b) {
			rt.Fatalf("CopyAt: %v", err)
		}
	})
}
