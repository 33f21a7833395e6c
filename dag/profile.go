package dag

import (
	"crypto/sha256"
	"fmt"
	"strconv"
	"strings"

	"github.com/ipfs/go-cid"
	mh "github.com/multiformats/go-multihash"
)

// Profile says how content becomes a DAG. Equal content and profile give equal
// CIDs, here and in Kubo. The zero value is V1_2025. Profiles are comparable.
type Profile struct {
	v0    bool // CIDv0, leaves wrapped in dag-pb, 174 links, directory size by links
	chunk int  // bytes of a leaf; 0 means the profile's own
	links int  // of a full node of a file; 0 means the profile's own
}

// shardAbove is the size in bytes above which both profiles shard a directory,
// and fanout the links of a shard; IPIP-499.
const (
	shardAbove = 256 << 10
	fanout     = 256
)

// V1_2025 returns the profile unixfs-v1-2025 of IPIP-499: CIDv1, sha2-256, raw
// leaves of 1 MiB, 1024 links a node, directories sharded when their block
// would be larger than 256 KiB.
func V1_2025() Profile { return Profile{} }

// V0_2015 returns the profile unixfs-v0-2015 of IPIP-499: CIDv0, sha2-256,
// leaves of 256 KiB in dag-pb, 174 links a node.
func V0_2015() Profile { return Profile{v0: true} }

// ParseProfile returns the profile with that name: "v1-2025" ("" too) or
// "v0-2015", with or without "unixfs-" before it.
func ParseProfile(s string) (Profile, error) {
	switch strings.TrimPrefix(s, "unixfs-") {
	case "v1-2025", "":
		return V1_2025(), nil
	case "v0-2015":
		return V0_2015(), nil
	}
	return Profile{}, fmt.Errorf("profile %q: want v1-2025 or v0-2015", s)
}

// String returns the name of the profile, with the chunker when it is not the
// profile's own.
func (p Profile) String() string {
	name := "v1-2025"
	if p.v0 {
		name = "v0-2015"
	}
	if p.chunk != 0 {
		name += "/size-" + strconv.Itoa(p.chunk)
	}
	return name
}

// WithChunker returns the profile with leaves of another size: "size-N", N
// bytes from 1 to 2 MiB - 256.
func (p Profile) WithChunker(s string) (Profile, error) {
	n, ok := strings.CutPrefix(s, "size-")
	size, err := strconv.Atoi(n)
	if !ok || err != nil || n[0] == '+' || size < 1 || size > maxLeaf {
		return Profile{}, fmt.Errorf("chunker %q: want size-N with N from 1 to %d", s, maxLeaf)
	}
	p.chunk = size
	return p, nil
}

// leafSize returns the bytes of content in a full leaf.
func (p Profile) leafSize() int {
	switch {
	case p.chunk != 0:
		return p.chunk
	case p.v0:
		return 256 << 10
	}
	return 1 << 20
}

// width returns the links of a full node of a file.
func (p Profile) width() int {
	switch {
	case p.links != 0:
		return p.links
	case p.v0:
		return 174
	}
	return 1024
}

// nodeCID returns the CID of a dag-pb block with that sha256.
func (p Profile) nodeCID(sum [sha256.Size]byte) cid.Cid {
	if p.v0 {
		return cid.NewCidV0(multihash(sum))
	}
	return cid.NewCidV1(cid.DagProtobuf, multihash(sum))
}

// rawCID returns the CID of a raw block with that sha256.
func rawCID(sum [sha256.Size]byte) cid.Cid { return cid.NewCidV1(cid.Raw, multihash(sum)) }

// multihash returns the multihash of a sha256.
func multihash(sum [sha256.Size]byte) mh.Multihash {
	h := make(mh.Multihash, 2, 2+sha256.Size)
	h[0], h[1] = mh.SHA2_256, sha256.Size
	return append(h, sum[:]...)
}
