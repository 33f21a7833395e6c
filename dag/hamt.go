package dag

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"math/bits"
	"slices"
	"strconv"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/spaolacci/murmur3"
	"google.golang.org/protobuf/encoding/protowire"
)

// Sharded directories (HAMT), https://specs.ipfs.tech/unixfs/#dag-pb-hamtdirectory:
// an entry's place is given by the murmur3 hash of its name, a few bits per
// level. A link's name begins with its index in hexadecimal; an entry's goes on
// with its own name, a deeper shard's does not.

const (
	murmur3x64 = 0x22 // multihash code of the hash function
	maxFanout  = 1024 // boxo's limit too
)

// nameHash returns the bits that place a name, the first level's uppermost.
func nameHash(name string) uint64 { return murmur3.Sum64([]byte(name)) }

// checkShard checks the claims of a shard.
func (n *node) checkShard() error {
	switch f := n.fanout; {
	case f < 8 || f > maxFanout || f&(f-1) != 0:
		return fmt.Errorf("shard with a fanout of %d", f)
	case n.hash != murmur3x64:
		return fmt.Errorf("shard with hash function %#x", n.hash)
	case len(n.data) > int(f)/8:
		return fmt.Errorf("shard of fanout %d with a bit field of %d bytes", f, len(n.data))
	}
	set := 0
	for _, b := range n.data {
		set += bits.OnesCount8(b)
	}
	if set != len(n.links) {
		return fmt.Errorf("shard with %d bits and %d links", set, len(n.links))
	}
	return nil
}

// shardLinks splits the links of a shard at the given depth into index and the
// rest of the name, which is "" for a deeper shard, and calls f with each.
func (n *node) shardLinks(depth int, prefix uint64, f func(index int, name string, l link) error) error {
	lg := bits.TrailingZeros64(n.fanout)
	digits := (lg + 3) / 4
	used := depth * lg // bits of the hash above this level
	if used+lg > 64 {
		return fmt.Errorf("shards nested deeper than a hash is long")
	}
	last := -1
	for _, l := range n.links {
		if len(l.name) < digits {
			return fmt.Errorf("shard link %q without an index", l.name)
		}
		i, err := strconv.ParseUint(l.name[:digits], 16, 16)
		if err != nil || i >= n.fanout || int(i) <= last {
			return fmt.Errorf("shard link %q: index out of place", l.name)
		}
		last = int(i)
		name := l.name[digits:]
		if name != "" && nameHash(name)>>(64-used-lg) != prefix<<lg|i {
			return fmt.Errorf("entry %q in the wrong shard", name)
		}
		if err := f(int(i), name, l); err != nil {
			return err
		}
	}
	return nil
}

// findShard returns the link of the entry name below a shard.
func findShard(ctx context.Context, src Getter, c cid.Cid, n *node, name string) (link, error) {
	hash := nameHash(name)
	prefix, want := uint64(0), uint64(0)
	for depth := 0; ; depth++ {
		lg := bits.TrailingZeros64(n.fanout)
		var next *link
		err := n.shardLinks(depth, prefix, func(i int, entry string, l link) error {
			if (entry == "" && uint64(i) == hash<<(depth*lg)>>(64-lg)) || entry == name {
				next, want = &l, uint64(i)
			}
			return nil
		})
		if err != nil {
			return link{}, malformed(c, "%v", err)
		}
		if next == nil {
			return link{}, fs.ErrNotExist
		}
		if len(next.name) > (lg+3)/4 {
			next.name = name
			return *next, nil
		}
		prefix = prefix<<lg | want
		if n, err = deeperShard(ctx, src, next.cid, n); err != nil {
			return link{}, err
		}
		c = next.cid
	}
}

// deeperShard loads a shard below n.
func deeperShard(ctx context.Context, src Getter, c cid.Cid, n *node) (*node, error) {
	sub, err := getNode(ctx, src, c)
	switch {
	case err != nil:
		return nil, err
	case sub.kind != fsShard:
		return nil, malformed(c, "a shard links to something else as a shard")
	case sub.fanout != n.fanout:
		return nil, malformed(c, "fanout %d below fanout %d", sub.fanout, n.fanout)
	case len(sub.links) == 0:
		return nil, malformed(c, "empty shard below another")
	}
	return sub, nil
}

// hashed is an entry and the hash of its name.
type hashed struct {
	hash uint64
	link link
}

// shard builds a sharded directory and returns the link to it. put gets every
// shard, children before parents.
func (p Profile) shard(links []link, put func(blocks.Block) error) (link, error) {
	entries := make([]hashed, len(links))
	for i, l := range links {
		entries[i] = hashed{nameHash(l.name), l}
	}
	slices.SortFunc(entries, func(a, b hashed) int { return cmp.Compare(a.hash, b.hash) })
	return p.shardLevel(entries, 0, put)
}

// shardLevel builds the shard of entries whose hashes begin alike, depth bytes.
func (p Profile) shardLevel(entries []hashed, depth int, put func(blocks.Block) error) (link, error) {
	if depth == 8 {
		return link{}, fmt.Errorf("names %q and %q have one hash: %w", entries[0].link.name, entries[1].link.name, ErrTooLarge)
	}
	var links []link
	var field [fanout / 8]byte // bit i of the big-endian number
	var below uint64
	shift := 56 - 8*depth
	for len(entries) > 0 {
		i := byte(entries[0].hash >> shift)
		n := 1
		for n < len(entries) && byte(entries[n].hash>>shift) == i {
			n++
		}
		l := entries[0].link
		if n > 1 {
			var err error
			if l, err = p.shardLevel(entries[:n], depth+1, put); err != nil {
				return link{}, err
			}
		}
		l.name = fmt.Sprintf("%02X", i) + l.name
		links = append(links, l)
		below += l.size
		field[len(field)-1-int(i)/8] |= 1 << (i % 8)
		entries = entries[n:]
	}
	blk := pbBlock(p, links, shardData(field[:]))
	return newLink(blk.Cid(), len(blk.RawData()), below), put(blk)
}

// shardData returns the UnixFS message of a shard.
func shardData(field []byte) []byte {
	for len(field) > 0 && field[0] == 0 {
		field = field[1:]
	}
	b := appendVarint(nil, 1, fsShard)
	b = protowire.AppendTag(b, 2, protowire.BytesType)
	b = protowire.AppendBytes(b, field)
	b = appendVarint(b, 5, murmur3x64)
	return appendVarint(b, 6, fanout)
}
