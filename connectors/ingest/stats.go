package ingest

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"
)

// Stats says what an engine has done since it was made, and does now.
type Stats struct {
	Files  map[From]int64 // fetches that ended well, by where the content came from
	Bytes  map[From]int64 // of content that came, by whence; of FromStore: what was here already
	Failed int64          // flights that brought nothing
	Active []Active       // flights under way, the oldest first
}

// Active is a flight under way.
type Active struct {
	Name  string // URL or root, for people; without credentials
	Since time.Time
	Progress
}

// counts are the numbers of Stats. They are safe for concurrent use.
type counts struct {
	mu     sync.Mutex
	files  map[From]int64
	bytes  map[From]int64
	failed int64
}

func newCounts() *counts { return &counts{files: make(map[From]int64), bytes: make(map[From]int64)} }

// came counts bytes of content.
func (c *counts) came(from From, n int64) {
	if n == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.bytes[from] += n
}

// ended counts a file that a flight brought or found, or that it did not.
func (c *counts) ended(got Fetched, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.failed++
		return
	}
	c.files[got.From]++
	if got.From == FromStore {
		c.bytes[FromStore] += got.File.Size
	}
}

// Stats returns the numbers of this moment.
func (e *Engine) Stats() Stats {
	e.counts.mu.Lock()
	s := Stats{Files: maps.Clone(e.counts.files), Bytes: maps.Clone(e.counts.bytes), Failed: e.counts.failed}
	e.counts.mu.Unlock()
	e.mu.Lock()
	flights := slices.Concat(slices.Collect(maps.Values(e.flights)), slices.Collect(maps.Values(e.ending)))
	e.mu.Unlock()
	for _, f := range flights {
		s.Active = append(s.Active, Active{Name: f.name(), Since: f.since, Progress: f.now()})
	}
	slices.SortFunc(s.Active, func(a, b Active) int {
		return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.Name, b.Name))
	})
	return s
}

// name says to people what a flight brings.
func (f *flight) name() string {
	if f.item.URL != "" {
		return f.item.URL
	}
	if f.item.Root.Defined() {
		return "ipfs://" + f.item.Root.String()
	}
	return f.item.Path
}

// report counts a flight that has ended, and logs a line of it: what it brought,
// and where the bytes came from.
func (e *Engine) report(ctx context.Context, f *flight, got Fetched, err error) {
	e.counts.ended(got, err)
	attrs := []slog.Attr{slog.String("url", f.name()), slog.Duration("took", e.cfg.Now().Sub(f.since).Round(time.Millisecond))}
	if err != nil {
		e.cfg.Logger.LogAttrs(ctx, slog.LevelInfo, "not fetched", append(attrs, slog.Any("error", err))...)
		return
	}
	attrs = append(attrs,
		slog.String("cid", got.File.Root.String()), slog.Int64("bytes", got.File.Size), slog.String("from", string(got.From)),
		slog.Int64("origin_bytes", got.OriginBytes), slog.Int64("peer_bytes", got.PeerBytes), slog.Int64("saved_bytes", got.SavedBytes))
	e.cfg.Logger.LogAttrs(ctx, slog.LevelInfo, "fetched", attrs...)
}
