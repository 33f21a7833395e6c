package peers

import (
	"cmp"
	"encoding/binary"
	"hash/fnv"
	"slices"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
)

// ban is how long another receiver that let this one down is not asked; each
// time doubles it.
const ban = 10 * time.Second

// seeded is a receiver with its part of the hash.
type seeded struct {
	id   peer.ID
	seed uint64
}

// sentence says until when a receiver is not asked.
type sentence struct {
	until time.Time
	next  time.Duration
}

// circle returns who shares the work of getting a file, this node among them,
// and all but this node; nobody when it is on its own.
func (s *Service) circle(from peer.ID, others []peer.AddrInfo) (all []seeded, rest []peer.ID) {
	seen := make(map[peer.ID]bool)
	for _, o := range others {
		if o.ID == from || seen[o.ID] {
			continue
		}
		seen[o.ID] = true
		h := fnv.New64a()
		h.Write([]byte(o.ID))
		all = append(all, seeded{o.ID, h.Sum64()})
		if o.ID != s.self {
			rest = append(rest, o.ID)
		}
	}
	if !seen[s.self] || len(rest) == 0 {
		return nil, nil
	}
	slices.SortFunc(all, func(a, b seeded) int { return cmp.Compare(a.id, b.id) })
	return all, rest
}

// owner returns whom to ask for a block; w.mu is held.
func (w *circle) owner(c cid.Cid, now time.Time) peer.ID {
	if c.Equals(w.root) {
		return w.from
	}
	free := func(o seeded) bool {
		v := w.banned[o.id]
		return v == nil || !now.Before(v.until)
	}
	best, high := w.from, uint64(0)
	at, known := w.places[shortOf(c)]
	for i, o := range w.others {
		if !free(o) {
			continue
		}
		if known && int(at)%len(w.others) == i {
			best = o.id
			break
		}
		if x := score(o.seed, c); x >= high {
			best, high = o.id, x
		}
	}
	if best == w.s.self {
		return w.from
	}
	return best
}

// Links implements dag.Guide: it notes the places of what a node links to.
func (w *circle) Links(_ cid.Cid, links []cid.Cid) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.others) == 0 {
		return
	}
	for i, c := range links {
		key := shortOf(c)
		if _, again := w.places[key]; !again && len(w.places) < maxPlaces {
			w.places[key] = int32(i)
		}
	}
}

// maxPlaces bounds the blocks of one file whose places are remembered: 1 TiB in blocks
// of 1 MiB.
const maxPlaces = 1 << 20

// mine tells whether others ask this node for a block.
func (w *circle) mine(c cid.Cid) bool {
	return w.hold != nil && w.owner(c, time.Now()) == w.from
}

// score mixes the digest of a block with a receiver's seed.
func score(seed uint64, c cid.Cid) uint64 {
	var b [8]byte
	hash := c.Hash()
	copy(b[:], hash[max(0, len(hash)-len(b)):])
	// The finalizer of splitmix64: every bit of the input changes half of those of
	// the result.
	x := seed ^ binary.BigEndian.Uint64(b[:])
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// punish does not ask a peer for a while; w.mu is held.
func (w *circle) punish(p peer.ID) {
	v := w.banned[p]
	if v == nil {
		v = &sentence{next: ban}
		w.banned[p] = v
	}
	v.until = time.Now().Add(v.next)
	v.next *= 2
}
