package dag

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/ipfs/go-cid"
	mh "github.com/multiformats/go-multihash"
	"google.golang.org/protobuf/encoding/protowire"
)

// Bits for what a case must make fail.
const (
	opStat = 1 << iota
	opList
	opWalk
	opRead
	opCopy
	opExport

	forFile = opRead | opCopy | opExport
	forDir  = opList | opWalk | opCopy | opExport
	forTree = opWalk | opCopy | opExport
	forAll  = forDir | opRead | opStat
)

// hostile is the corpus: what it is, how it is made, what must refuse it.
type hostile struct {
	name  string
	make  func(f forge) cid.Cid
	fails int
	want  []error // any of them; nil: a block is missing
}

var malformedOnly = []error{ErrMalformed}

func hostileFiles() []hostile {
	large := []error{ErrTooLarge, blockstore.ErrNoSpace, io.ErrShortWrite}
	return []hostile{
		{"missing root", func(f forge) cid.Cid { return f.missing(cid.DagProtobuf) }, forAll, nil},
		{"missing raw root", func(f forge) cid.Cid { return f.missing(cid.Raw) }, opStat | forFile, nil},
		{"no protobuf", func(f forge) cid.Cid { return f.pb([]byte("garbage that is no message")) }, forAll, malformedOnly},
		{"empty dag-pb", func(f forge) cid.Cid { return f.pb(nil) }, forAll, malformedOnly},
		{"dag-pb without UnixFS", func(f forge) cid.Cid { return f.node(nil, nil) }, forAll, malformedOnly},
		{"unknown type", func(f forge) cid.Cid { return f.node(nil, appendVarint(nil, 1, 9)) }, forAll, malformedOnly},
		{"metadata", func(f forge) cid.Cid { return f.node(nil, appendVarint(nil, 1, fsMetadata)) }, forAll, malformedOnly},
		{"huge type", func(f forge) cid.Cid { return f.node(nil, appendVarint(nil, 1, 1<<63)) }, forAll, malformedOnly},
		{"codec dag-cbor", func(f forge) cid.Cid { return f.put(f.sum(cid.DagCBOR, mh.SHA2_256, []byte{0xa0}), []byte{0xa0}) }, forAll, malformedOnly},
		{"codec git", func(f forge) cid.Cid { return f.put(f.sum(cid.GitRaw, mh.SHA2_256, []byte("x")), []byte("x")) }, forAll, malformedOnly},
		{"link of codec dag-cbor", func(f forge) cid.Cid {
			return f.file(1, []int64{1}, f.put(f.sum(cid.DagCBOR, mh.SHA2_256, []byte{0xa0}), []byte{0xa0}))
		}, forFile, malformedOnly},
		{"short hash", func(f forge) cid.Cid {
			sum, err := mh.Sum([]byte("x"), mh.SHA2_256, 10)
			if err != nil {
				f.t.Fatal(err)
			}
			return cid.NewCidV1(cid.Raw, sum)
		}, forAll, malformedOnly},
		{"murmur3 as a hash", func(f forge) cid.Cid {
			sum, err := mh.Encode(make([]byte, 32), mh.MURMUR3X64_64)
			if err != nil {
				f.t.Fatal(err)
			}
			return f.file(1, []int64{1}, cid.NewCidV1(cid.Raw, sum))
		}, forFile, malformedOnly},
		{"identity of 200 bytes", func(f forge) cid.Cid { return f.sum(cid.Raw, mh.IDENTITY, make([]byte, 200)) }, forAll, malformedOnly},
		{"link to nowhere", func(f forge) cid.Cid { return f.file(2, []int64{1, 1}, f.raw([]byte("a")), f.missing(cid.Raw)) }, forFile, nil},
		{"node to nowhere", func(f forge) cid.Cid {
			return f.file(2, []int64{1, 1}, f.raw([]byte("a")), f.missing(cid.DagProtobuf))
		}, forFile, nil},
		{"fewer sizes than links", func(f forge) cid.Cid { return f.file(1, []int64{1}, f.raw([]byte("a")), f.raw([]byte("b"))) }, forAll, malformedOnly},
		{"more sizes than links", func(f forge) cid.Cid { return f.file(2, []int64{1, 1}, f.raw([]byte("a"))) }, forAll, malformedOnly},
		{"sizes add up to less", func(f forge) cid.Cid { return f.file(5, []int64{1}, f.raw([]byte("a"))) }, forAll, malformedOnly},
		{"sizes add up to more", func(f forge) cid.Cid { return f.file(1, []int64{5}, f.raw([]byte("aaaaa"))) }, forAll, malformedOnly},
		{"sizes overflow", func(f forge) cid.Cid {
			a := f.raw([]byte("a"))
			return f.file(0, []int64{1 << 62, 1 << 62, 1 << 62, 1 << 62}, a, a, a, a)
		}, forAll, malformedOnly},
		{"size of 2^64-1", func(f forge) cid.Cid { return f.file(-1, []int64{-1}, f.raw([]byte("a"))) }, forAll, malformedOnly},
		{"leaf longer than claimed", func(f forge) cid.Cid { return f.file(10, []int64{10}, f.raw(make([]byte, 1<<20))) }, forFile, malformedOnly},
		{"leaf shorter than claimed", func(f forge) cid.Cid { return f.file(1<<20, []int64{1 << 20}, f.raw(make([]byte, 10))) }, forFile, malformedOnly},
		{"raw leaf claims 1 GiB", func(f forge) cid.Cid { return f.file(1<<30, []int64{1 << 30}, f.raw(make([]byte, 10))) }, forFile, malformedOnly},
		{"node holds less than claimed", func(f forge) cid.Cid { return f.file(9, []int64{9}, f.file(1, []int64{1}, f.raw([]byte("a")))) }, forFile, malformedOnly},
		{"empty leaf", func(f forge) cid.Cid { return f.file(0, []int64{0}, f.raw(nil)) }, forAll, malformedOnly},
		{"directory inside a file", func(f forge) cid.Cid { return f.file(1, []int64{1}, f.named("a")) }, forFile, malformedOnly},
		{"symlink inside a file", func(f forge) cid.Cid { return f.file(1, []int64{1}, f.symlink("a")) }, forFile, malformedOnly},
		{"symlink with links", func(f forge) cid.Cid {
			return f.node([]link{{cid: f.raw([]byte("a"))}}, symlinkData("a"))
		}, forAll, malformedOnly},
		{"chain of 1000", func(f forge) cid.Cid {
			c := f.raw([]byte("a"))
			for range 1000 {
				c = f.file(1, []int64{1}, c)
			}
			return c
		}, forFile, malformedOnly},
		{"chain of identity CIDs", func(f forge) cid.Cid {
			c := f.raw([]byte("a"))
			for range 70 {
				b := appendPB(nil, []link{{cid: c}}, fileData(1, []int64{1}))
				if len(b) <= 128 {
					c = f.sum(cid.DagProtobuf, mh.IDENTITY, b)
				} else {
					c = f.pb(b)
				}
			}
			return c
		}, forFile, malformedOnly},
		{"2^60 bytes in 41 blocks", func(f forge) cid.Cid { return bomb(f, 1<<20, 1<<10, 4) }, forFile, large},
		{"a PiB in 41 blocks", func(f forge) cid.Cid { return bomb(f, 1<<20, 2, 30) }, forFile, large},
		{"bomb of empty nodes", func(f forge) cid.Cid {
			c := f.file(0, nil)
			for range 60 {
				c = f.file(0, []int64{0, 0}, c, c)
			}
			return c
		}, forFile, malformedOnly},
		{"block of 3 MiB", func(f forge) cid.Cid {
			b := make([]byte, 3<<20)
			c := f.sum(cid.Raw, mh.SHA2_256, b)
			return f.file(3<<20, []int64{3 << 20}, c)
		}, forFile, malformedOnly},
		{"field twice", func(f forge) cid.Cid { return f.node(nil, append(fileData(0, nil), fileData(0, nil)...)) }, forAll, malformedOnly},
		{"links behind data behind links", func(f forge) cid.Cid {
			a := []link{{cid: f.raw([]byte("a"))}}
			b := appendPB(nil, a, fileData(2, []int64{1, 1}))
			return f.pb(append(b, appendPB(nil, a, nil)[:len(appendPB(nil, a, nil))-2]...))
		}, forAll, malformedOnly},
		{"link without a CID", func(f forge) cid.Cid {
			return f.pb(protowire.AppendBytes(protowire.AppendTag(nil, 2, protowire.BytesType), nil))
		}, forAll, malformedOnly},
	}
}

// bomb is a file of width^depth leaves of that size, in depth+1 blocks.
func bomb(f forge, leaf int64, width, depth int) cid.Cid {
	c, size := f.raw(make([]byte, leaf)), leaf
	for range depth {
		cids, parts := make([]cid.Cid, width), make([]int64, width)
		for i := range cids {
			cids[i], parts[i] = c, size
		}
		size *= int64(width)
		c = f.file(size, parts, cids...)
	}
	return c
}

func hostileDirs() []hostile {
	dirs := []hostile{
		{"entry to nowhere", func(f forge) cid.Cid { return f.dir(link{cid: f.missing(cid.Raw), name: "a"}) }, forDir, nil},
		{"directory to nowhere", func(f forge) cid.Cid {
			return f.dir(link{cid: f.dir(link{cid: f.missing(cid.DagProtobuf), name: "a"}), name: "a"})
		}, forTree, nil},
		{"the same name twice", func(f forge) cid.Cid {
			return f.dir(link{cid: f.raw([]byte("1")), name: "a"}, link{cid: f.raw([]byte("2")), name: "a"})
		}, forDir, malformedOnly},
		{"names that differ in case", func(f forge) cid.Cid {
			return f.dir(link{cid: f.raw([]byte("1")), name: "readme"}, link{cid: f.raw([]byte("2")), name: "README"})
		}, forDir, malformedOnly},
		{"a directory and a file of one name", func(f forge) cid.Cid {
			return f.dir(link{cid: f.named("x"), name: "a"}, link{cid: f.raw([]byte("2")), name: "a"})
		}, forDir, malformedOnly},
		{"entry of codec dag-cbor", func(f forge) cid.Cid {
			return f.dir(link{cid: f.put(f.sum(cid.DagCBOR, mh.SHA2_256, []byte{0xa0}), []byte{0xa0}), name: "a"})
		}, forDir, malformedOnly},
		{"65 directories deep", func(f forge) cid.Cid {
			c := f.named("a")
			for range 65 {
				c = f.dir(link{cid: c, name: "d"})
			}
			return c
		}, forTree, []error{ErrTooLarge}},
		{"2^40 directories in 41 blocks", func(f forge) cid.Cid {
			c := f.named("a")
			for range 40 {
				c = f.dir(link{cid: c, name: "a"}, link{cid: c, name: "b"})
			}
			return c
		}, opWalk | opExport, []error{ErrTooLarge}},
		{"200^3 directories in 4 blocks", func(f forge) cid.Cid {
			c := f.dir()
			for range 3 {
				links := make([]link, 200)
				for i := range links {
					links[i] = link{cid: c, name: fmt.Sprint(i)}
				}
				c = f.dir(links...)
			}
			return c
		}, opWalk | opExport, []error{ErrTooLarge}},
		{"file bomb in a directory", func(f forge) cid.Cid {
			return f.dir(link{cid: bomb(f, 1<<20, 1<<10, 4), name: "a"})
		}, opCopy | opExport, []error{ErrTooLarge, blockstore.ErrNoSpace}},
		{"broken file in a directory", func(f forge) cid.Cid {
			return f.dir(link{cid: f.file(10, []int64{10}, f.raw([]byte("short"))), name: "a"})
		}, opCopy | opExport, malformedOnly},
	}
	for _, name := range []string{
		"..", ".", "", "a/b", "/etc/passwd", "../a", `a\b`, `..\a`, "a\x00b", "a\nb", "\x1b[31mred", "C:", "c:x", "\xff",
		strings.Repeat("n", 256), strings.Repeat("n", 300), "a\u202eb", ".hypha-tmp-x", ".HYPHA-TMP-x",
	} {
		dirs = append(dirs,
			hostile{fmt.Sprintf("name %.20q", name), func(f forge) cid.Cid { return f.named(name) }, forDir, malformedOnly},
			hostile{fmt.Sprintf("deep name %.20q", name), func(f forge) cid.Cid {
				return f.dir(link{cid: f.dir(link{cid: f.named(name), name: "b"}), name: "a"})
			}, forTree, malformedOnly})
	}
	for _, target := range []string{
		"/etc/passwd", "../../../etc/passwd", "..", "../x", "a/../../x", "a/..", "", "a\x00b", `..\..\x`, "C:/x", "a//b", strings.Repeat("t", 5000),
	} {
		dirs = append(dirs, hostile{fmt.Sprintf("symlink to %.20q", target), func(f forge) cid.Cid {
			return f.dir(link{cid: f.symlink(target), name: "l"})
		}, opExport, []error{ErrSymlink}})
	}
	return dirs
}

func hostileShards() []hostile {
	entry := func(f forge, name string) (int, link) {
		i := int(nameHash(name) >> 56)
		return i, link{cid: f.raw([]byte("1")), name: fmt.Sprintf("%02X%s", i, name)}
	}
	var shards []hostile
	for _, width := range []uint64{0, 1, 3, 4, 7, 100, 2048, 1 << 20, 1 << 62, 1 << 63} {
		shards = append(shards, hostile{fmt.Sprintf("fanout %d", width), func(f forge) cid.Cid {
			i, l := entry(f, "a")
			return f.shard(width, murmur3x64, bit(i), l)
		}, forAll, malformedOnly})
	}
	return append(shards,
		hostile{"another hash function", func(f forge) cid.Cid {
			i, l := entry(f, "a")
			return f.shard(256, mh.SHA2_256, bit(i), l)
		}, forAll, malformedOnly},
		hostile{"bit field too long", func(f forge) cid.Cid {
			i, l := entry(f, "a")
			return f.shard(256, murmur3x64, append(make([]byte, 100), bit(i)...), l)
		}, forAll, malformedOnly},
		hostile{"more bits than links", func(f forge) cid.Cid {
			i, l := entry(f, "a")
			b := bit(i)
			b[0] |= 0x80
			b[1] |= 0x80
			return f.shard(256, murmur3x64, b, l)
		}, forAll, malformedOnly},
		hostile{"entry in the wrong place", func(f forge) cid.Cid {
			i, l := entry(f, "a")
			l.name = fmt.Sprintf("%02X%s", i^1, "a")
			return f.shard(256, murmur3x64, bit(i^1), l)
		}, forDir, malformedOnly},
		hostile{"index that is no number", func(f forge) cid.Cid {
			i, l := entry(f, "a")
			l.name = "ZZa"
			return f.shard(256, murmur3x64, bit(i), l)
		}, forDir, malformedOnly},
		hostile{"name shorter than an index", func(f forge) cid.Cid {
			i, l := entry(f, "a")
			l.name = "0"
			return f.shard(256, murmur3x64, bit(i), l)
		}, forDir, malformedOnly},
		hostile{"name that climbs", func(f forge) cid.Cid {
			i, l := entry(f, "..")
			return f.shard(256, murmur3x64, bit(i), l)
		}, forDir, malformedOnly},
		hostile{"shard to nowhere", func(f forge) cid.Cid {
			return f.shard(256, murmur3x64, bit(0), link{cid: f.missing(cid.DagProtobuf), name: "00"})
		}, forDir, nil},
		hostile{"shard that is a file", func(f forge) cid.Cid {
			return f.shard(256, murmur3x64, bit(0), link{cid: f.raw([]byte("x")), name: "00"})
		}, forDir, malformedOnly},
		hostile{"shard that is a directory", func(f forge) cid.Cid {
			return f.shard(256, murmur3x64, bit(0), link{cid: f.named("x"), name: "00"})
		}, forDir, malformedOnly},
		hostile{"empty shard below another", func(f forge) cid.Cid {
			return f.shard(256, murmur3x64, bit(0), link{cid: f.shard(256, murmur3x64, nil), name: "00"})
		}, forDir, malformedOnly},
		hostile{"another fanout below", func(f forge) cid.Cid {
			i, l := entry(f, "a")
			sub := f.shard(512, murmur3x64, bit(i), l)
			return f.shard(256, murmur3x64, bit(0), link{cid: sub, name: "00"})
		}, forDir, malformedOnly},
		hostile{"256^20 shards in 20 blocks", func(f forge) cid.Cid {
			i, l := entry(f, "a")
			c := f.shard(256, murmur3x64, bit(i), l)
			for range 20 {
				links := make([]link, 256)
				for i := range links {
					links[i] = link{cid: c, name: fmt.Sprintf("%02X", i)}
				}
				c = f.shard(256, murmur3x64, bytes.Repeat([]byte{0xff}, 32), links...)
			}
			return c
		}, forDir, malformedOnly},
	)
}
