package control

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/connectors"
	"github.com/hypha-node/hypha-node/connectors/ingest"
	"github.com/hypha-node/hypha-node/dag"
	"github.com/hypha-node/hypha-node/internal/fnmatch"
	"github.com/hypha-node/hypha-node/internal/safename"
)

// How many files of one request are fetched at once: enough to hide the latency of
// an origin, few enough for one client of it. Small ones, which cost latency and
// hardly anything else, may be more.
const (
	parallelFiles = 8
	parallelSmall = 24
	smallFile     = 1 << 20 // bytes
)

// errStop ends a fetch whose failure is known already.
var errStop = errors.New("stopped")

// fetch gets the files that references stand for, into the store and, if asked
// to, into a directory. After a failure no further file is begun; those that
// are under way are finished.
func (s *Server) fetch(ctx context.Context, r FetchRequest, out *stream[Fetched]) error {
	refs, err := r.parse()
	if err != nil {
		return err
	}
	f := &fetching{server: s, req: r, out: out}
	if r.Output != "" && !r.DryRun {
		if err := os.MkdirAll(r.Output, perm(r.DirMode, 0o700)); err != nil {
			return err
		}
		if f.dir, err = os.OpenRoot(r.Output); err != nil {
			return err
		}
		defer f.dir.Close() // nothing is written through the handle itself
	}
	defer s.Store.Hold()() // until it is pinned and written
	var group errgroup.Group
	room := semaphore.NewWeighted(parallelSmall)
	err = f.each(ctx, refs, func(it connectors.Item) error {
		weight := weightOf(it)
		if err := room.Acquire(ctx, weight); err != nil {
			return context.Cause(ctx)
		}
		if f.failed.Load() {
			return errStop
		}
		group.Go(func() error {
			err := f.item(ctx, it, func() { room.Release(weight) })
			if err != nil {
				f.failed.Store(true)
			}
			return err
		})
		return nil
	})
	if werr := group.Wait(); werr != nil {
		return werr
	}
	return err
}

// weightOf returns how much of the room for files under way an item takes.
func weightOf(it connectors.Item) int64 {
	if it.Size >= 0 && it.Size <= smallFile {
		return 1
	}
	return parallelSmall / parallelFiles
}

// parse reads the references of a request.
func (r FetchRequest) parse() ([]connectors.Ref, error) {
	if len(r.Refs) == 0 {
		return nil, invalid("no references")
	}
	if r.Output != "" && !filepath.IsAbs(r.Output) {
		return nil, invalid("output %q is not an absolute path", r.Output)
	}
	refs := make([]connectors.Ref, len(r.Refs))
	for i, raw := range r.Refs {
		if err := json.Unmarshal(raw, &refs[i]); err != nil {
			return nil, fmt.Errorf("refs[%d]: %w", i, err)
		}
	}
	if r.Checksum == "" {
		return refs, nil
	}
	if len(refs) > 1 {
		return nil, invalid("a checksum is for one reference, not for %d", len(refs))
	}
	var err error
	refs[0], err = refs[0].WithChecksum(r.Checksum)
	return refs, err
}

// operator says on whose behalf: the owner of the repository, who may have the
// node talk to any address.
func operator() connectors.Access { return connectors.Access{Operator: true} }

// fetching is one request under way.
type fetching struct {
	server *Server
	req    FetchRequest
	out    *stream[Fetched]
	dir    *os.Root // of the output; nil: into the store only
	failed atomic.Bool
}

// each calls do for every wanted item of the references, in order.
func (f *fetching) each(ctx context.Context, refs []connectors.Ref, do func(connectors.Item) error) error {
	wanted := 0
	for _, ref := range refs {
		for it, err := range f.server.Engine.Resolve(ctx, ref, operator()) {
			if err != nil {
				return err
			}
			if !f.wants(it.Path) {
				continue
			}
			wanted++
			if err := do(it); err != nil {
				return err
			}
		}
	}
	if wanted == 0 {
		return fmt.Errorf("no file matches: %w", connectors.ErrNotFound)
	}
	return nil
}

// wants tells whether the request's patterns take a path.
func (f *fetching) wants(name string) bool { return fnmatch.Select(name, f.req.Include, f.req.Exclude) }

// item fetches one item, pins it and reports it. It calls fetched, once, when the
// next one may begin: pins that come together are made durable together.
func (f *fetching) item(ctx context.Context, it connectors.Item, fetched func()) error {
	fetched = sync.OnceFunc(fetched)
	defer fetched()
	if err := safename.Path(it.Path); err != nil {
		return err
	}
	got := Fetched{Path: it.Path, Size: it.Size, CID: cidText(it.Root), Source: it.URL, Revision: it.Revision}
	if it.SHA256 != nil {
		got.SHA256 = digest(it.SHA256)
	}
	if f.req.DryRun {
		return f.foresee(ctx, it, got)
	}
	res, output, err := f.get(ctx, it)
	if err != nil {
		return err
	}
	fetched()
	if !f.req.NoPin {
		err := f.server.Store.Pin(ctx, blockstore.Pin{Root: res.File.Root, Name: f.req.PinName, Created: time.Now()})
		if err != nil {
			return err
		}
	}
	f.out.finished(it.Path)
	got.Size, got.CID, got.SHA256 = res.File.Size, cidText(res.File.Root), digest(&res.File.SHA256)
	got.From, got.Transport, got.Saved, got.Output = string(res.From), res.Transport, res.SavedBytes, output
	got.Revision = cmp.Or(it.Revision, res.Revision)
	return f.out.item(got)
}

// foresee reports where one item would come from, and how many bytes of it over the
// network.
func (f *fetching) foresee(ctx context.Context, it connectors.Item, got Fetched) error {
	if it.Look != nil {
		seen, err := it.Look(ctx)
		if err != nil {
			return err
		}
		it = seen
		got.Size, got.Revision = it.Size, it.Revision
		if it.SHA256 != nil {
			got.SHA256 = digest(it.SHA256)
		}
	}
	plan, err := f.server.Engine.Plan(ctx, it)
	if err != nil {
		return err
	}
	got.From, got.Size = string(plan.From), plan.Size
	if plan.From == ingest.FromStore {
		got.CID, got.SHA256 = cidText(plan.File.Root), digest(&plan.File.SHA256)
	}
	got.Transfer = &plan.Transfer
	return f.out.item(got)
}

// place begins the output file of an item; nil when something has its name.
func (f *fetching) place(it connectors.Item) (*tee, error) {
	if parent := path.Dir(it.Path); parent != "." {
		if err := f.dir.MkdirAll(parent, perm(f.req.DirMode, 0o700)); err != nil {
			return nil, err
		}
	}
	return newTee(f.dir, it.Path, perm(f.req.Mode, 0o600), it.Size)
}

// get brings one item into the store and, if there is an output, into a file
// there, whose path it returns.
func (f *fetching) get(ctx context.Context, it connectors.Item) (ingest.Fetched, string, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	o := ingest.Options{NoPin: true, Timeout: timeout(f.req.TimeoutMS), Access: operator(), Progress: func(p ingest.Progress) {
		f.out.progress(Progress{Path: it.Path, Done: p.Done, Total: max(p.Total, 0), From: string(p.From), Transport: p.Transport})
	}}
	if f.dir == nil {
		got, err := f.server.Engine.Fetch(ctx, it, o)
		return got, "", err
	}
	t, err := f.place(it)
	if err != nil {
		return ingest.Fetched{}, "", err
	}
	if t != nil {
		defer t.drop()
		t.failed = cancel
		o.Tee = t
	}
	got, err := f.server.Engine.Fetch(ctx, it, o)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return got, "", err
	}
	output := filepath.Join(f.dir.Name(), filepath.FromSlash(it.Path))
	if t != nil && got.Teed {
		return got, output, t.commit()
	}
	share, err := f.server.Engine.Memory().Take(ctx, dag.ExportMemory(got.File.Size))
	if err != nil {
		return got, output, err
	}
	defer share.Release()
	_, err = dag.Export(ctx, f.server.Store, got.File.Root, f.dir, it.Path, dag.ExportOptions{
		FileMode: perm(f.req.Mode, 0o600), DirMode: perm(f.req.DirMode, 0o700), Force: f.req.Force,
	})
	return got, output, err
}
