package bridge

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	ipld "github.com/ipfs/go-ipld-format"

	"github.com/hypha-node/hypha-node/connectors"
	"github.com/hypha-node/hypha-node/connectors/ingest"
	"github.com/hypha-node/hypha-node/dag"
	"github.com/hypha-node/hypha-node/internal/diskspace"
)

// materialize fetches one item and gives its file the final name. What the store
// had turns out to be damaged when it is read: the bad block is dropped then, and
// a second fetch brings it again from where it comes from.
func (b *batch) materialize(ctx context.Context, it connectors.Item, name string) (Result, error) {
	got, damaged, err := b.attempt(ctx, it, it.Size, name)
	if damaged && got.From == ingest.FromStore {
		b.job.log.WarnContext(ctx, "stored file was damaged; fetching it again", slog.String("job", b.job.info.ID),
			slog.String("cid", got.File.Root.String()), slog.Any("error", err))
		got, _, err = b.attempt(ctx, it, got.File.Size, name)
	}
	if err != nil {
		return Result{}, err
	}
	etag := it.ETag
	if got.ETag != "" {
		etag = got.ETag
	}
	return Result{
		Path:     name,
		Size:     got.File.Size,
		Checksum: checksum(got.File.SHA256),
		CID:      got.File.Root.String(),
		Metadata: Metadata{
			Source:    it.Source,
			Timestamp: b.job.now().UTC().Truncate(time.Second),
			Revision:  cmp.Or(it.Revision, got.Revision),
			ETag:      etag,
			Cached:    untransferred(got),
			From:      string(got.From),
			Transport: transport(got),
		},
	}, nil
}

// transport tells how a file came that did not come over HTTP alone.
func transport(got ingest.Fetched) string {
	if got.Transport == "http" {
		return ""
	}
	return got.Transport
}

// untransferred tells whether no byte of a file came over a network for this
// request.
func untransferred(got ingest.Fetched) bool {
	return got.From == ingest.FromStore || got.From == ingest.FromCache
}

// attempt is one try of materialize; size is what the transfer counts with for
// the item. damaged says that the store has got the file and could not give it.
func (b *batch) attempt(ctx context.Context, it connectors.Item, size int64, name string) (got ingest.Fetched, damaged bool, err error) {
	t := newTee(b.staging)
	opts := b.options()
	if !b.job.shares && b.job.roomFor(it.Size) {
		opts.Tee = t // a reflink is better: it takes no second copy's room
	}
	defer func() { err = errors.Join(err, t.discard()) }()
	got, err = b.job.engine.Fetch(ctx, it, opts)
	if err != nil {
		return got, false, err
	}
	if b.sum != nil && got.File.SHA256 != *b.sum {
		return got, false, mismatch(*b.sum, got.File.SHA256)
	}
	counted := it
	counted.Size = size
	if err := b.account(counted, got); err != nil {
		return got, false, err
	}
	defer func() { b.refund(got, err) }()
	err = b.place(ctx, t, got, name)
	return got, ipld.IsNotFound(err), err
}

// teeFree is the size, in bytes, from which the room is asked for first.
const teeFree = 1 << 20

// roomFor tells whether the disk can take a file of size bytes twice, in the
// store and in the work directory. Where it can't, the store's copy goes first:
// a second one beside it would make both fail, and what the store has got need
// not be downloaded again. An unknown size has room.
func (j *Job) roomFor(size int64) bool {
	if size < teeFree {
		return true
	}
	space, err := diskspace.Of(j.info.WorkDir)
	return err != nil || space.Free/2 > size
}

// place gives the file its final name: the tee if it is whole, else a new copy
// out of the store.
func (b *batch) place(ctx context.Context, t *tee, got ingest.Fetched, name string) error {
	size, err := t.finish()
	if got.Teed && err == nil && size == got.File.Size {
		return b.job.publish(b.staging, t.name, name, size)
	}
	copied := tempName()
	if err := b.export(ctx, got.File, copied); err != nil {
		return errors.Join(err, removeTemp(b.staging, copied))
	}
	if err := b.job.publish(b.staging, copied, name, got.File.Size); err != nil {
		return errors.Join(err, removeTemp(b.staging, copied))
	}
	return nil
}

// export writes a stored file under a temporary name, verified.
func (b *batch) export(ctx context.Context, f dag.File, tmp string) error {
	share, err := b.job.memory().Take(ctx, dag.ExportMemory(f.Size))
	if err != nil {
		return err
	}
	defer share.Release()
	w, err := dag.Export(ctx, b.job.store, f.Root, b.staging, tmp, dag.ExportOptions{FileMode: fileMode, DirMode: dirMode})
	if err != nil {
		return fmt.Errorf("materialize %s: %w", f.Root, err)
	}
	if w.Size != f.Size || (w.SHA256 != [sha256.Size]byte{} && w.SHA256 != f.SHA256) {
		return fmt.Errorf("materialize %s: wrote %d bytes with %s, expected %d with %s: %w",
			f.Root, w.Size, checksum(w.SHA256), f.Size, checksum(f.SHA256), connectors.ErrMismatch)
	}
	return nil
}

// memory returns what all jobs of the node share, nil where the engine has none.
func (j *Job) memory() *dag.Budget {
	if m, ok := j.engine.(interface{ Memory() *dag.Budget }); ok {
		return m.Memory()
	}
	return nil
}

// removeTemp removes a temporary file that may or may not be there.
func removeTemp(dir *os.Root, name string) error {
	if err := dir.Remove(name); err != nil && !os.IsNotExist(err) {
		return err
	}
	return nil
}
