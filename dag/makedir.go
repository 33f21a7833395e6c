package dag

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/hypha-node/hypha-node/blockstore"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
)

// Named is an entry of a directory that MakeDir makes.
type Named struct {
	Name string
	Cid  cid.Cid // stored
}

// MakeDir stores a directory of entries that are stored already, sharded where it
// is large, as importing such a directory would. It returns the directory's CID.
// Names are judged, and no two may be alike.
func MakeDir(ctx context.Context, dst blockstore.Store, p Profile, entries []Named) (cid.Cid, error) {
	seen := Limits{AnyCase: true}.names(len(entries))
	links := make([]link, 0, len(entries))
	for _, e := range entries {
		if err := seen.add(e.Name); err != nil {
			return cid.Undef, fmt.Errorf("%w: %w", ErrMalformed, err)
		}
		size, err := CumulativeSize(ctx, dst, e.Cid)
		if err != nil {
			return cid.Undef, err
		}
		links = append(links, link{cid: e.Cid, name: e.Name, size: size})
	}
	slices.SortFunc(links, func(a, b link) int { return cmp.Compare(a.name, b.name) })
	l, err := p.encodeDir(links, func(blk blocks.Block) error { return dst.Put(ctx, blk) })
	return l.cid, err
}

// CumulativeSize returns the bytes of the block c and, as its links claim, of all
// blocks below it, counted each time they are linked.
func CumulativeSize(ctx context.Context, src Getter, c cid.Cid) (uint64, error) {
	data, err := getBlock(ctx, src, c)
	if err != nil {
		return 0, err
	}
	size := uint64(len(data))
	if c.Type() != cid.DagProtobuf {
		return size, nil
	}
	links, _, err := decodePB(data)
	if err != nil {
		return 0, malformed(c, "dag-pb: %v", err)
	}
	for _, l := range links {
		if l.size > uint64(maxFile) || size > uint64(maxFile) {
			return 0, malformed(c, "its links claim more than %d bytes", maxFile)
		}
		size += l.size
	}
	return size, nil
}
