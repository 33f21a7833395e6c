package bridge

import (
	"cmp"
	"context"
	"math"
	"time"

	"github.com/hypha-node/hypha-node/connectors"
)

// Prefetch begins to bring the files of a reference into the store, pinned for
// the job, and returns the id of the transfer. The next Fetch of the same
// reference takes them from there. The job's end ends it.
//
// Errors: ErrBusy, ErrClosed, a *PathError; what fails later is in the transfer.
func (j *Job) Prefetch(ctx context.Context, r FetchRequest) (id string, err error) {
	dir, err := outDir(r.OutDir)
	if err != nil {
		return "", err
	}
	ctx, t, end, err := j.start(context.WithoutCancel(ctx), kindPrefetch, r.Ref.String(), r.Progress)
	if err != nil {
		return "", err
	}
	ref := r.Ref.Clone()
	go func() { // the job's Stop waits for it: it is an operation
		start := j.now()
		b := &batch{job: j, dir: dir, sum: ref.SHA256(), failed: math.MaxInt, transfer: t, access: connectors.Access{Scope: j.own}}
		b.bring = b.store
		b.run(ctx, ref)
		results, err := b.outcome(ctx)
		t.update(func(is *Transfer) { is.Results = results })
		j.logFetch(ref, results, j.now().Sub(start), err)
		end(err)
	}()
	return t.id(), nil
}

// store brings one item into the store and no further. The result's path is
// where a fetch would put it.
func (b *batch) store(ctx context.Context, it connectors.Item, name string) (Result, error) {
	got, err := b.job.engine.Fetch(ctx, it, b.options())
	if err != nil {
		return Result{}, err
	}
	b.transfer.sized(it.Size, got.File.Size)
	b.job.ledger.fetched(got)
	if b.sum != nil && got.File.SHA256 != *b.sum {
		return Result{}, mismatch(*b.sum, got.File.SHA256)
	}
	etag := it.ETag
	if got.ETag != "" {
		etag = got.ETag
	}
	return Result{
		Path: name, Size: got.File.Size, Checksum: checksum(got.File.SHA256), CID: got.File.Root.String(),
		Metadata: Metadata{
			Source: it.Source, Timestamp: b.job.now().UTC().Truncate(time.Second), Revision: cmp.Or(it.Revision, got.Revision), ETag: etag,
			Cached: untransferred(got), From: string(got.From), Transport: transport(got),
		},
	}, nil
}
