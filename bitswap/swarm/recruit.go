package swarm

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

const (
	maxSources = 32                     // of one fetch
	maxParts   = 16                     // of them, that have a part
	maxTried   = 4                      // more, that may take the place of others
	tryEvery   = 100 * time.Millisecond // between looks for such
)

// recruit begins to ask those who are to be asked; f.mu is held. Where more have a part
// than are asked at a time, each pair of peers has a rank that is the same for both, and
// everybody asks those who rank first. Else all ask those who began first, and what
// those who began last could send nobody asks for.
func (f *Fetch) recruit(ctx context.Context, now time.Time) {
	f.lost = slices.DeleteFunc(f.lost, func(info peer.AddrInfo) bool {
		if now.Sub(f.refused[info.ID]) < againAfter {
			return false
		}
		f.queue = append(f.queue, info)
		return true
	})
	var parts []*source
	n, tried := 0, 0 // that are asked, and of them, that have not said what they have
	for _, s := range f.sources {
		if s.leaves && len(s.listed) == 0 {
			s.end()
		}
		if s.leaves || s.ended {
			continue
		}
		switch n++; {
		case s.state < 0:
			tried++
		case s.state == statePart:
			parts = append(parts, s)
		}
	}
	for len(f.queue) > 0 && n < maxSources && len(parts)+tried < maxParts {
		info := f.queue[0]
		f.queue = f.queue[1:]
		if f.enlist(ctx, info) {
			n, tried = n+1, tried+1
		}
	}
	slices.SortFunc(parts, func(a, b *source) int { return cmp.Compare(a.rank, b.rank) })
	for ; len(parts) > maxParts || len(parts) > 0 && n-tried > maxSources; n-- {
		parts[len(parts)-1].leaves = true
		parts = parts[:len(parts)-1]
	}
	if len(parts) > 0 && now.Sub(f.tried) >= tryEvery {
		f.tried = now
		f.try(ctx, parts[len(parts)-1].rank, min(maxTried-tried, maxSources+maxTried-n))
	}
}

// try begins to ask those who rank before the last one that is asked, most at most. Who
// has something takes his place. f.mu is held.
func (f *Fetch) try(ctx context.Context, last uint64, most int) {
	for i := 0; i < len(f.queue) && most > 0; {
		info := f.queue[i]
		if f.rank(info.ID) >= last {
			i++
			continue
		}
		f.queue = slices.Delete(f.queue, i, i+1)
		if f.enlist(ctx, info) {
			most--
		}
	}
}

// rank is the place of a peer and this one among all pairs of those who ask for the root.
func (f *Fetch) rank(p peer.ID) uint64 {
	own := f.s.cfg.Host.ID()
	return rank(f.rootKey+string(min(own, p)), max(own, p))
}

// enlist begins to ask a peer; false for one who is asked or not to be. f.mu is held.
func (f *Fetch) enlist(ctx context.Context, info peer.AddrInfo) bool {
	if f.sources[info.ID] != nil || f.s.isBanned(info.ID) {
		return false
	}
	s := &source{
		f: f, p: info.ID, rank: f.rank(info.ID), made: time.Now(), kick: make(chan struct{}, 1), state: -1,
		bits: make(map[string]bitmap), lacks: make(map[string]time.Time), listed: make(map[uint32]*want),
	}
	f.sources[info.ID] = s
	f.work.Go(func() { f.ask(ctx, s, info) })
	return true
}
