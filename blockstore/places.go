package blockstore

import (
	"bytes"
	"cmp"
	"context"
	"maps"
	"slices"

	mh "github.com/multiformats/go-multihash"
)

// groupPlaces bounds what a pass over the segments keeps in memory: so many
// places of blocks, about 10 MB, or those of one large segment.
const groupPlaces = 64 << 10

// place is a block in one of its places.
type place struct {
	hash mh.Multihash
	at   extent
}

// eachPlace calls fn with every place of every block in the index, in no order.
// The hash is valid during the call only.
func (d *Disk) eachPlace(ctx context.Context, fn func(hash mh.Multihash, all []extent)) error {
	var bad error
	n := 0
	err := d.index.scan([]byte{keyBlock}, nil, func(k, v []byte) bool {
		if n++; n%pageKeys == 0 && ctx.Err() != nil {
			bad = context.Cause(ctx)
			return false
		}
		known, err := decodeCopies(v)
		if err != nil {
			bad = err
			return false
		}
		fn(k[1:], known.all)
		return true
	})
	if bad != nil {
		return bad
	}
	return err
}

// placesIn returns the places that lie in the given segments, in their order.
func (d *Disk) placesIn(ctx context.Context, ids []uint64) ([]place, error) {
	wanted := make(map[uint64]bool, len(ids))
	for _, id := range ids {
		wanted[id] = true
	}
	var found []place
	err := d.eachPlace(ctx, func(hash mh.Multihash, all []extent) {
		for _, e := range all {
			if wanted[e.seg] {
				found = append(found, place{bytes.Clone(hash), e})
			}
		}
	})
	slices.SortFunc(found, func(a, b place) int {
		return cmp.Or(cmp.Compare(a.at.seg, b.at.seg), cmp.Compare(a.at.off, b.at.off))
	})
	return found, err
}

// groups splits segments, in the order of their numbers, into runs of at most
// groupPlaces places.
func groups(places map[uint64]int) [][]uint64 {
	var all [][]uint64
	n := 0
	for _, id := range slices.Sorted(maps.Keys(places)) {
		last := len(all) - 1
		if last < 0 || n+places[id] > groupPlaces {
			all, n = append(all, nil), 0
			last++
		}
		all[last] = append(all[last], id)
		n += places[id]
	}
	return all
}
