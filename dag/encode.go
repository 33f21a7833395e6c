package dag

import (
	"github.com/ipfs/go-cid"
	"google.golang.org/protobuf/encoding/protowire"
)

// appendPB appends the canonical dag-pb form of links and data to b: links
// first; https://ipld.io/specs/codecs/dag-pb/spec/
func appendPB(b []byte, links []link, data []byte) []byte {
	for _, l := range links {
		b = protowire.AppendTag(b, 2, protowire.BytesType)
		b = protowire.AppendVarint(b, uint64(linkLen(l)))
		b = protowire.AppendTag(b, 1, protowire.BytesType)
		b = protowire.AppendString(b, l.cid.KeyString())
		b = protowire.AppendTag(b, 2, protowire.BytesType)
		b = protowire.AppendString(b, l.name)
		b = protowire.AppendTag(b, 3, protowire.VarintType)
		b = protowire.AppendVarint(b, l.size)
	}
	b = protowire.AppendTag(b, 1, protowire.BytesType)
	return protowire.AppendBytes(b, data)
}

// linkLen returns the bytes of the encoded message of a link, without the tag
// and length before it.
func linkLen(l link) int {
	return 3 + protowire.SizeBytes(l.cid.ByteLen()) + protowire.SizeBytes(len(l.name)) + protowire.SizeVarint(l.size)
}

// fileData returns the UnixFS message of an inner node of a file.
func fileData(size int64, parts []int64) []byte {
	b := make([]byte, 0, 16+4*len(parts))
	b = appendVarint(b, 1, fsFile)
	b = appendVarint(b, 3, uint64(size))
	for _, p := range parts {
		b = appendVarint(b, 4, uint64(p))
	}
	return b
}

// leafHead and leafTail are what surrounds n bytes of content in a leaf that is
// not raw: dag-pb and UnixFS around one field.
func leafHead(n int) []byte {
	tail := leafTail(n)
	inner := 2 + len(tail)
	if n > 0 {
		inner += 1 + protowire.SizeBytes(n)
	}
	b := protowire.AppendTag(nil, 1, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(inner))
	b = appendVarint(b, 1, fsFile)
	if n > 0 {
		b = protowire.AppendTag(b, 2, protowire.BytesType)
		b = protowire.AppendVarint(b, uint64(n))
	}
	return b
}

func leafTail(n int) []byte { return appendVarint(nil, 3, uint64(n)) }

// dirData returns the UnixFS message of a directory that is one block.
func dirData() []byte { return appendVarint(nil, 1, fsDir) }

// symlinkData returns the UnixFS message of a symlink.
func symlinkData(target string) []byte {
	b := appendVarint(nil, 1, fsSymlink)
	b = protowire.AppendTag(b, 2, protowire.BytesType)
	return protowire.AppendString(b, target)
}

func appendVarint(b []byte, num protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, num, protowire.VarintType), v)
}

// dirSize returns the bytes of a directory that is one block, as the profiles'
// threshold counts them, given the sum of its links' sizes.
func dirSize(links int) int { return 2 + len(dirData()) + links }

// linkSize returns the bytes of one link in a block.
func linkSize(l link) int { return 1 + protowire.SizeBytes(linkLen(l)) }

// newLink links to the block c of n bytes with below bytes under it.
func newLink(c cid.Cid, n int, below uint64) link {
	return link{cid: c, size: uint64(n) + below}
}
