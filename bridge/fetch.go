package bridge

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"iter"
	"log/slog"
	"math"
	"os"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/hypha-node/hypha-node/connectors"
)

// MaxFiles bounds the files of one request, so that its answer is bounded:
// about 40 MB of JSON.
const MaxFiles = 100_000

// FetchRequest asks for the files of one reference.
type FetchRequest struct {
	Ref    connectors.Ref
	OutDir string            // relative to the work directory, slash-separated; "": DefaultDir
	Access connectors.Access // on whose behalf; the zero value is the job's
	// Progress, if not nil, is told at most about ten times a second how far it
	// is, and how it ended; one call at a time. It must not block.
	Progress func(Transfer)
}

// Result is one file that was brought into the work directory.
type Result struct {
	Path     string   `json:"path"`     // relative to the work directory, slash-separated
	Size     int64    `json:"size"`     // bytes
	Checksum string   `json:"checksum"` // "sha256:" and 64 lower hex digits, of the content
	CID      string   `json:"cid"`      // root of the UnixFS DAG
	Metadata Metadata `json:"metadata"`
}

// Metadata says where a file came from.
type Metadata struct {
	Source    string    `json:"source"`             // "huggingface", "http", "cid", …
	Timestamp time.Time `json:"timestamp"`          // when it was complete, UTC, whole seconds
	Revision  string    `json:"revision,omitempty"` // resolved commit
	ETag      string    `json:"etag,omitempty"`     // as published
	Cached    bool      `json:"cached"`             // no byte of it was transferred for this request
	From      string    `json:"from"`               // "origin", "store", "peer", "cache"

	// Transport is how the origin's bytes came, if not over HTTP alone: "xet",
	// "http+xet".
	Transport string `json:"transport,omitempty"`
}

// Fetch brings the files of a reference into the work directory and returns one
// result a file in the order of the request, or of the listing.
//
// Errors: a *PathError for a directory or a name that is refused; after that a
// *FetchError that wraps the connectors' or the store's error and tells which
// files were finished. When one file fails, no further one is begun, those that
// are under way are finished, so that every file before the failed one is
// there. When ctx ends, everything is given up that nobody else waits for.
func (j *Job) Fetch(ctx context.Context, r FetchRequest) ([]Result, error) {
	dir, err := outDir(r.OutDir)
	if err != nil {
		return nil, err
	}
	ctx, t, end, err := j.start(ctx, kindFetch, r.Ref.String(), r.Progress)
	if err != nil {
		return nil, err
	}
	results, err := j.fetch(ctx, r, dir, t)
	end(err)
	return results, err
}

// fetch is Fetch as a transfer.
func (j *Job) fetch(ctx context.Context, r FetchRequest, dir string, t *transfer) ([]Result, error) {
	start := j.now()
	staging, err := openDir(j.root, temporary)
	if err != nil {
		return nil, fmt.Errorf("open temporary directory: %w", err)
	}
	r.Access.Scope = j.own
	b := &batch{job: j, staging: staging, dir: dir, sum: r.Ref.SHA256(), failed: math.MaxInt, transfer: t, access: r.Access}
	b.bring = b.materialize
	b.run(ctx, r.Ref)
	if err := staging.Close(); err != nil {
		return nil, fmt.Errorf("close temporary directory: %w", err)
	}
	results, err := b.outcome(ctx)
	t.update(func(is *Transfer) { is.Results = results })
	j.logFetch(r.Ref, results, j.now().Sub(start), err)
	return results, err
}

// logFetch records one request. Names are the reference's: no token is in it.
func (j *Job) logFetch(ref connectors.Ref, results []Result, took time.Duration, err error) {
	var size int64
	for _, r := range results {
		size += r.Size
	}
	j.log.Info("fetched", slog.String("job", j.info.ID), slog.String("ref", fmt.Sprintf("%q", ref.String())),
		slog.Int("files", len(results)), slog.Int64("bytes", size), slog.Duration("took", took), slog.Any("err", err))
}

// batch is the work of one request.
type batch struct {
	job      *Job
	access   connectors.Access // on whose behalf
	transfer *transfer
	staging  *os.Root           // the temporary directory; nil: no file comes into the work directory
	dir      string             // checked directory of the results
	sum      *[sha256.Size]byte // what the caller expects of the only file; nil if nothing

	// bring makes the result of one item, whose path is checked.
	bring func(ctx context.Context, it connectors.Item, name string) (Result, error)

	mu     sync.Mutex
	files  []entry // in the order of the request
	failed int     // index of the first entry that failed, len(files) or more if none did
}

// entry is one file of a request: when it is done, result or err is set.
type entry struct {
	path   string
	result *Result
	err    error
}

// run resolves the reference and fetches its files.
func (b *batch) run(ctx context.Context, ref connectors.Ref) {
	var group errgroup.Group
	group.SetLimit(b.job.parallel)
	b.transfer.listing(true)
	for it, err := range b.ahead(ctx, b.items(ctx, ref)) {
		n := b.add(it, err)
		if b.stopped(n) {
			break
		}
		group.Go(func() error { // its error is the entry's
			if !b.stopped(n) {
				b.fetch(ctx, n, it)
			}
			return nil
		})
	}
	b.transfer.listing(false)
	//nolint:errcheck // the functions return nil
	_ = group.Wait()
}

// items yields the items of the reference. Where the caller states a checksum
// there must be one item, which is known before the first is fetched.
func (b *batch) items(ctx context.Context, ref connectors.Ref) iter.Seq2[connectors.Item, error] {
	all := b.job.engine.Resolve(ctx, ref, b.access)
	if b.sum == nil {
		return all
	}
	return func(yield func(connectors.Item, error) bool) {
		var first *connectors.Item
		for it, err := range all {
			if err != nil {
				yield(it, err)
				return
			}
			if first != nil {
				yield(it, &connectors.FieldError{Field: "checksum", Problem: "needs a reference that stands for one file"})
				return
			}
			first = &it
		}
		if first != nil {
			yield(b.expect(*first))
		}
	}
}

// expect gives the item the caller's checksum, by which the store may know it.
func (b *batch) expect(it connectors.Item) (connectors.Item, error) {
	if it.SHA256 != nil && *it.SHA256 != *b.sum {
		return it, mismatch(*b.sum, *it.SHA256)
	}
	it.SHA256 = b.sum
	return it, nil
}

// mismatch says which checksum was expected and which one there is.
func mismatch(want, got [sha256.Size]byte) error {
	return fmt.Errorf("%w: want sha256:%x, got sha256:%x", connectors.ErrMismatch, want, got)
}

// add appends an entry, failed if err is set or its name is refused, and
// returns its index.
func (b *batch) add(it connectors.Item, err error) int {
	e := entry{path: it.Path}
	if err == nil {
		e.path, err = inDir(b.dir, it.Path)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	n := len(b.files)
	if err == nil && n >= MaxFiles {
		err = fmt.Errorf("%w: more than %d", ErrTooMany, MaxFiles)
	}
	if err == nil {
		b.transfer.expect(it.Size)
	}
	b.files = append(b.files, e)
	b.end(n, nil, err)
	return n
}

// fetch brings item it into the work directory as entry n.
func (b *batch) fetch(ctx context.Context, n int, it connectors.Item) {
	b.mu.Lock()
	name := b.files[n].path
	b.mu.Unlock()
	var result Result
	err := b.job.slot(ctx)
	if err == nil {
		if err = b.job.limits.settle(ctx); err == nil {
			result, err = b.bring(ctx, b.job.limits.paced(it), name)
		}
		<-b.job.slots
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if err != nil {
		b.end(n, nil, cause(ctx, err))
		return
	}
	b.end(n, &result, nil)
}

// slot waits until the job may fetch one more file; the caller gives the slot back.
func (j *Job) slot(ctx context.Context) error {
	select {
	case j.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// end records how entry n ended; b.mu is held.
func (b *batch) end(n int, r *Result, err error) {
	b.files[n].result, b.files[n].err = r, err
	if err != nil {
		b.failed = min(b.failed, n)
	}
}

// stopped tells whether entry n need not begin: it or one before it has failed.
// Entries begin in order, so that all before the first failure are finished.
func (b *batch) stopped(n int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.failed <= n
}

// outcome returns all results, or the first failure in the order of the request.
func (b *batch) outcome(ctx context.Context) ([]Result, error) {
	results := make([]Result, 0, len(b.files))
	var failed *entry
	for i := range b.files {
		switch e := &b.files[i]; {
		case e.result != nil:
			results = append(results, *e.result)
		case e.err != nil && failed == nil:
			failed = e
		}
	}
	switch {
	case failed != nil:
		return results, &FetchError{Path: failed.path, Completed: results, Err: failed.err}
	case ctx.Err() != nil && len(results) < len(b.files):
		return results, &FetchError{Completed: results, Err: context.Cause(ctx)}
	}
	return results, nil
}

// checksum returns the wire form of a digest.
func checksum(sum [sha256.Size]byte) string { return "sha256:" + hex.EncodeToString(sum[:]) }
