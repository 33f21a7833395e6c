package blockstore

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/hypha-node/hypha-node/internal/diskspace"
)

// ErrQuota says that content does not fit below Options.StorageMax, whatever else
// would go for it. It wraps ErrNoSpace.
var ErrQuota = fmt.Errorf("the storage maximum is reached: %w", ErrNoSpace)

// Parts of the storage maximum, in hundredths: above the one what is not pinned
// begins to go, down to the other.
const (
	highWater = 90
	lowWater  = 80
)

// evictTries is how often what goes may be too little for one write; at the last
// everything goes that may.
const evictTries = 4

// QuotaStat is how a store stands to its storage maximum.
type QuotaStat struct {
	Max     int64 // bytes; 0: none, and the rest is 0 too
	Used    int64 // bytes of segments and index on the disk, and what files being written may still take
	Evicted int64 // bytes given back since the store was opened, so as to keep to Max
	Runs    int64 // how often that was done
}

// quota counts what a store takes against its maximum. A nil quota is none.
type quota struct {
	max   int64
	links Linker

	evicted atomic.Int64
	runs    atomic.Int64
	changes atomic.Uint64 // counts what may have made room: see futility

	mu     sync.Mutex
	base   int64                 // bytes on the disk, of all but what writers write
	claims map[*fileWriter]claim // what writers may take
	futile futility
}

// claim is what a writer may take in all, in its part file.
type claim struct {
	id    uint64 // of the part file, 0: none yet
	bytes int64
}

func newQuota(o Options) *quota {
	if o.StorageMax <= 0 {
		return nil
	}
	return &quota{max: o.StorageMax, links: o.Links, claims: make(map[*fileWriter]claim)}
}

// used returns what counts against the maximum.
func (q *quota) used() int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.usedLocked()
}

func (q *quota) usedLocked() int64 {
	n := q.base
	for _, c := range q.claims {
		n += c.bytes
	}
	return n
}

// take claims n more bytes for a writer, or for the packs if it is nil, and tells
// whether they fit.
func (q *quota) take(w *fileWriter, n int64) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	used := q.usedLocked() + n
	if used > q.max {
		return false
	}
	if w == nil {
		q.base += n
	} else {
		c := q.claims[w]
		c.bytes += n
		q.claims[w] = c
	}
	return true
}

// call wakes Tend.
func (d *Disk) call() {
	select {
	case d.wake <- struct{}{}:
	default: // it is awake
	}
}

// writes says in which part file a writer writes, of which kept bytes are there.
func (q *quota) writes(w *fileWriter, id uint64, kept int64) {
	if q == nil {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	c := q.claims[w]
	c.id, c.bytes = id, c.bytes+kept
	q.claims[w] = c
	q.base -= kept
}

// settle ends a writer's claim; left bytes stay on the disk.
func (q *quota) settle(w *fileWriter, left int64) {
	if q == nil {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if _, ok := q.claims[w]; ok {
		delete(q.claims, w)
		q.base += left
	}
	q.changes.Add(1)
}

// changed notes that something may have become free to go.
func (q *quota) changed() {
	if q != nil {
		q.changes.Add(1)
	}
}

// measure looks at the disk.
func (q *quota) measure(d *Disk) error {
	infos, err := d.segs.fs.List()
	if err != nil {
		return err
	}
	total := int64(0)
	if d.dir != "" {
		if total, err = diskspace.Used(filepath.Join(d.dir, indexDir)); err != nil {
			return err
		}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	written := make(map[string]bool, len(q.claims))
	for _, c := range q.claims {
		if c.id != 0 {
			written[partName(c.id)] = true
		}
	}
	for _, info := range infos {
		if !written[info.Name] || !strings.HasSuffix(info.Name, partSuffix) {
			total += info.Allocated
		}
	}
	q.base = total
	return nil
}

// withinQuota claims n bytes for a writer, or for the packs if it is nil. If they
// do not fit, what is not pinned and was not used for longest goes for them.
func (d *Disk) withinQuota(ctx context.Context, w *fileWriter, n int64) error {
	q := d.quota
	if q == nil {
		return nil
	}
	defer func() {
		if q.used() > q.max/100*highWater {
			d.call()
		}
	}()
	if q.take(w, n) {
		return nil
	}
	full := func(err error) error {
		return errors.Join(fmt.Errorf("%s: %d bytes wanted, %d of %d in use: %w", d.dir, n, q.used(), q.max, ErrQuota), err)
	}
	if n > q.max {
		return full(nil)
	}
	// What goes may give less than it was counted for: blocks that several files
	// share stay.
	for try := range evictTries {
		err := d.evict(ctx, n, try == evictTries-1)
		if q.take(w, n) {
			return nil
		}
		if err != nil {
			return full(err)
		}
	}
	return full(nil)
}

// stat returns how things stand.
func (q *quota) stat() QuotaStat {
	if q == nil {
		return QuotaStat{}
	}
	return QuotaStat{Max: q.max, Used: q.used(), Evicted: q.evicted.Load(), Runs: q.runs.Load()}
}
