package dag

import (
	"testing"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/ipfs/go-cid"
	mh "github.com/multiformats/go-multihash"
	"google.golang.org/protobuf/encoding/protowire"
)

// forge makes blocks that no honest importer makes.
type forge struct {
	t testing.TB
	s blockstore.Store
}

func (f forge) put(c cid.Cid, b []byte) cid.Cid {
	f.t.Helper()
	if _, ok := identity(c); ok {
		return c
	}
	if err := f.s.Put(f.t.Context(), newBlock(c, b)); err != nil {
		f.t.Fatal(err)
	}
	return c
}

func (f forge) sum(codec, hash uint64, b []byte) cid.Cid {
	f.t.Helper()
	sum, err := mh.Sum(b, hash, -1)
	if err != nil {
		f.t.Fatal(err)
	}
	return cid.NewCidV1(codec, sum)
}

func (f forge) raw(b []byte) cid.Cid { return f.put(f.sum(cid.Raw, mh.SHA2_256, b), b) }

func (f forge) pb(b []byte) cid.Cid { return f.put(f.sum(cid.DagProtobuf, mh.SHA2_256, b), b) }

func (f forge) node(links []link, data []byte) cid.Cid { return f.pb(appendPB(nil, links, data)) }

// file is an inner node of a file that claims these sizes.
func (f forge) file(size int64, parts []int64, cids ...cid.Cid) cid.Cid {
	links := make([]link, len(cids))
	for i, c := range cids {
		links[i] = link{cid: c, size: 100}
	}
	return f.node(links, fileData(size, parts))
}

// dir is a directory that is one block.
func (f forge) dir(links ...link) cid.Cid { return f.node(links, dirData()) }

// named is a directory with one small file of that name.
func (f forge) named(name string) cid.Cid {
	return f.dir(link{cid: f.raw([]byte("x")), name: name, size: 1})
}

func (f forge) symlink(target string) cid.Cid { return f.pb(appendPB(nil, nil, symlinkData(target))) }

// shard is a shard with the bits of these indexes set.
func (f forge) shard(width uint64, hash uint64, field []byte, links ...link) cid.Cid {
	b := appendVarint(nil, 1, fsShard)
	b = protowire.AppendTag(b, 2, protowire.BytesType)
	b = protowire.AppendBytes(b, field)
	b = appendVarint(b, 5, hash)
	return f.node(links, appendVarint(b, 6, width))
}

// bit is the bit field of 256 with one bit set.
func bit(i int) []byte {
	b := make([]byte, 32)
	b[31-i/8] = 1 << (i % 8)
	return b
}

// missing is the CID of a block that nobody has.
func (f forge) missing(codec uint64) cid.Cid {
	return f.sum(codec, mh.SHA2_256, []byte("nobody has this"))
}
