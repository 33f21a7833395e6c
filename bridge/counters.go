package bridge

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"
)

// countEvery is the least time between two records of the counters, besides that
// of Close: what a crash may take back.
const countEvery = 5 * time.Second

// counters records what a job has done and used, so that it goes on counting
// after a restart.
type counters struct {
	mu   sync.Mutex
	last time.Time
}

// storedCount is the counters as they are recorded.
type storedCount struct {
	Bytes int64 `json:"bytes"` // of files brought into the work directory
	Files int64 `json:"files"`
	Stats Stats `json:"stats"`
}

// parseCount reads the record of the counters.
func parseCount(value []byte) (c storedCount, err error) {
	if err := json.Unmarshal(value, &c); err != nil {
		return storedCount{}, err
	}
	if c.Bytes < 0 || c.Files < 0 {
		return storedCount{}, errors.New("negative count")
	}
	return c, nil
}

// recount takes over what an earlier process has counted.
func (j *Job) recount(c storedCount) {
	j.limits.mu.Lock()
	j.limits.use.Bytes, j.limits.use.Files = c.Bytes, c.Files
	j.limits.mu.Unlock()
	j.ledger.mu.Lock()
	defer j.ledger.mu.Unlock()
	j.ledger.stats = c.Stats
	if j.ledger.stats.Bytes == nil {
		j.ledger.stats.Bytes = map[string]int64{}
	}
}

// count records the counters when a transfer has ended, unless that was done just
// now. A job that is closed records them itself, at its end.
func (j *Job) count() {
	if j.outbox == nil {
		return
	}
	ctx, done, err := j.begin(context.Background())
	if err != nil {
		return
	}
	defer done()
	c := &j.counters
	if !c.mu.TryLock() {
		return // somebody does
	}
	defer c.mu.Unlock()
	if time.Since(c.last) < countEvery {
		return
	}
	j.putCount(context.WithoutCancel(ctx))
	c.last = time.Now()
}

// putCount writes the record.
func (j *Job) putCount(ctx context.Context) {
	use, stats := j.Use(), j.Stats()
	stats.Dedup, stats.Queue, stats.Running = 0, 0, 0 // follow from the others, or are of the moment
	value, err := json.Marshal(storedCount{Bytes: use.Bytes, Files: use.Files, Stats: stats})
	if err == nil {
		err = j.outbox.log.records.Put(ctx, j.outbox.log.prefix+countKey, value)
	}
	if err != nil {
		j.outbox.warn("counters not recorded", err)
	}
}
