package vfs

import (
	"sync"

	"github.com/hypha-node/hypha-node/internal/pastcache"
)

const (
	// readsPast is how often something is read past the kernel's cache. What is
	// read at all is often read for two jobs or peers, and to fill the cache with
	// 1 GiB took as long as to read it 3 to 6 times from the disk (decision 0015).
	readsPast = 2
	// readsUnit is the unit of what is remembered to have been read, bytes.
	readsUnit = pastcache.Piece
	// readsMost bounds what is remembered, in units of all files together: 4 MiB for
	// 256 GiB of content.
	readsMost = 4 << 20
)

// pastReads counts what was read past the kernel's cache, so that what is read again
// and again goes into it. It is a hint: when there is too much to remember, all is
// forgotten. The zero value is ready to use.
type pastReads struct {
	mu    sync.Mutex
	files map[string][]uint8 // reads of each unit, by the name of the file
	units int                // of all files
}

// next tells whether n bytes from off on are to be read past the cache once more, and
// counts that. Only whole units of it are counted, and there must be one. It counts
// before the reading, so that of many who come at once the most share what the kernel
// reads into its cache.
func (r *pastReads) next(name string, off int64, n int) bool {
	from, to := (off+readsUnit-1)/readsUnit, (off+int64(n))/readsUnit
	if from >= to || to > readsMost {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	counts := r.files[name]
	if more := int(to) - len(counts); more > 0 {
		if r.files == nil || r.units+more > readsMost {
			r.files, r.units, counts, more = make(map[string][]uint8), 0, nil, int(to)
		}
		counts = append(counts, make([]uint8, more)...)
		r.files[name] = counts
		r.units += more
	}
	past := true
	for i := from; i < to; i++ {
		if counts[i] == readsPast {
			past = false
		} else {
			counts[i]++
		}
	}
	return past
}

// forget forgets a file.
func (r *pastReads) forget(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.units -= len(r.files[name])
	delete(r.files, name)
}
