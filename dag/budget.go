package dag

import (
	"context"
	"runtime"
	"sync/atomic"

	"golang.org/x/sync/semaphore"
)

// Budget bounds the memory that imports, copies and exports of a node use
// together: each has a window of its own, and there may be many of them. Who
// begins one takes a share first, and gives it back when it is done. Nobody may
// wait for a share while holding another one. Methods may be called concurrently;
// of a nil Budget everybody gets what is asked for.
type Budget struct {
	size    int64
	sem     *semaphore.Weighted
	waiting atomic.Int64 // calls of Take that wait
}

// NewBudget returns a budget of so many bytes; 0 means room for the imports of
// eight large files, 233 MiB. There is always room for one.
func NewBudget(bytes int64) *Budget {
	if bytes == 0 {
		bytes = 8 * ImportMemory(-1)
	}
	bytes = max(bytes, ImportMemory(-1))
	return &Budget{size: bytes, sem: semaphore.NewWeighted(bytes)}
}

// Take waits for n bytes, or for all when n is more than there is. Shares are
// given in the order in which they were asked for. The only error is ctx's cause.
func (b *Budget) Take(ctx context.Context, n int64) (*Share, error) {
	if b == nil {
		return &Share{}, nil
	}
	n = min(max(n, 0), b.size)
	b.waiting.Add(1)
	err := b.sem.Acquire(ctx, n)
	b.waiting.Add(-1)
	if err != nil {
		return nil, context.Cause(ctx)
	}
	return &Share{of: b, n: n}, nil
}

// TryTake takes n bytes if there are so many and nobody waits for any: for what
// is of use but not needed. Unlike with Take, one may hold a share, and has to Give
// them back. A nil Budget has none.
func (b *Budget) TryTake(n int64) bool { return b != nil && b.sem.TryAcquire(max(n, 0)) }

// Give gives back what TryTake took, in one piece or several.
func (b *Budget) Give(n int64) { b.sem.Release(n) }

// Waiting returns how many calls of Take wait.
func (b *Budget) Waiting() int64 { return b.waiting.Load() }

// Share is a part of a Budget. It belongs to one goroutine.
type Share struct {
	of *Budget
	n  int64
}

// Keep gives back what is beyond n bytes.
func (s *Share) Keep(n int64) {
	if n = max(n, 0); s.of == nil || n >= s.n {
		return
	}
	s.of.sem.Release(s.n - n)
	s.n = n
}

// Release gives everything back; it may be called twice.
func (s *Share) Release() { s.Keep(0) }

// What an operation needs beside buffers of content, in bytes: goroutines,
// nodes, the buffers of a connection.
const besides = 64 << 10

// ImportMemory returns the bytes that the import of a content with the default
// profile, or the copy of a file from peers, takes at most; size is that of the
// content, negative if it is unknown.
func ImportMemory(size int64) int64 {
	const unit = 1 << 20
	switch {
	case size >= 0 && size <= unit:
		return size + besides
	case size >= 0 && size < window:
		return size + 3*unit + besides // one unit that is not full, one more to see the end, and the first leaf
	}
	return window + unit + besides
}

// ExportMemory returns the bytes that writing a file of size bytes out of a store
// takes at most.
func ExportMemory(size int64) int64 {
	return min(max(size, 0), int64(localRuns())*runBytes) + besides
}

// localRuns is how many runs of a file in the store are under way at once. One
// that is being filled and one that is being written for each worker, and some
// slack: more would only push each other out of the cache.
func localRuns() int { return min(2*runtime.GOMAXPROCS(0)+2, window/runBytes*2) }
