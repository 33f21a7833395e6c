package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	ipld "github.com/ipfs/go-ipld-format"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/bridge"
)

// Errors of this package.
var (
	ErrNotFound = errors.New("no such job")
	ErrExists   = errors.New("job exists")
	ErrID       = errors.New("invalid job id")
	ErrWorkDir  = errors.New("unusable work directory")
	ErrClosed   = errors.New("supervisor is closed")
)

// Config is what Open needs. Dir, Records, Engine and Store have no default.
type Config struct {
	// Dir is the absolute path of the jobs directory, <repo>/jobs: on the file
	// system of the store. It is made, with mode 0700, if it is missing.
	Dir string
	// RuntimeDir is where sockets go whose path below Dir is longer than the
	// system allows: a short absolute path such as $XDG_RUNTIME_DIR. In it a
	// directory is made whose name derives from Dir. "" means nowhere.
	RuntimeDir string

	Records blockstore.Records // of the bucket "jobs"
	Engine  bridge.Engine
	Store   blockstore.Store

	Logger *slog.Logger     // nil: silent
	Now    func() time.Time // nil: time.Now
}

// State says what a job is doing.
type State string

// States of a job.
const (
	StateCreated State = "created" // its bridge answers
	StateFailed  State = "failed"  // its bridge could not be opened again after a restart
)

// Job describes one job.
type Job struct {
	ID      string    `json:"id"`
	Socket  string    `json:"socket"`   // absolute path
	WorkDir string    `json:"work_dir"` // absolute path
	Created time.Time `json:"created"`  // UTC
	State   State     `json:"state"`
}

// Spec says what job to create. The zero value is a good one.
type Spec struct {
	ID string // at most 64 of [A-Za-z0-9._-], beginning with a letter or a digit; "": random
	// WorkDir is the absolute path of an existing directory that becomes the
	// work directory and outlives the job. "" makes a private one that does not.
	WorkDir string
}

// record is what is kept of a job.
type record struct {
	Created time.Time `json:"created"`
	WorkDir string    `json:"work_dir,omitempty"` // only one that the caller brought
}

// Supervisor keeps the jobs of one node. It is safe for concurrent use.
type Supervisor struct {
	conf  Config
	log   *slog.Logger
	now   func() time.Time
	place places

	mu      sync.Mutex
	closed  bool
	serving map[string]*service // by job id
	failed  map[string]bool     // jobs that could not be served
	pending map[string]bool     // ids that are being created or removed
}

// Open opens the jobs directory. It serves nothing yet: Serve does, for the jobs
// of earlier runs, and Create, for a new one.
func Open(_ context.Context, c Config) (*Supervisor, error) {
	place, err := openPlaces(c.Dir, c.RuntimeDir)
	if err != nil {
		return nil, fmt.Errorf("open jobs directory: %w", err)
	}
	s := &Supervisor{
		conf: c, log: c.Logger, now: c.Now, place: place,
		serving: map[string]*service{}, failed: map[string]bool{}, pending: map[string]bool{},
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.now == nil {
		s.now = time.Now
	}
	return s, nil
}

// Serve serves the sockets of all jobs until ctx ends, then stops them all. A
// job that can't be served is reported and stays listed as failed.
func (s *Supervisor) Serve(ctx context.Context) error {
	records, err := s.records(ctx)
	if err != nil {
		return err
	}
	for _, r := range records {
		if err := s.resume(ctx, r.ID); err != nil {
			s.log.Error("job not served", slog.String("job", r.ID), slog.Any("err", err))
		}
	}
	s.reportOrphans(records)
	<-ctx.Done()
	return s.Close()
}

// resume serves a job that was there before.
func (s *Supervisor) resume(ctx context.Context, id string) error {
	if err := s.claim(id); err != nil {
		return err
	}
	defer s.unclaim(id)
	rec, err := s.read(ctx, id)
	if err == nil {
		err = s.start(ctx, id, rec)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed[id] = err != nil
	return err
}

// Create records a job, makes its work directory and serves its socket: when it
// returns, the bridge answers. ErrExists if the id is taken.
func (s *Supervisor) Create(ctx context.Context, spec Spec) (Job, error) {
	id, err := specID(spec.ID)
	if err != nil {
		return Job{}, err
	}
	if err := s.checkWorkDir(ctx, spec.WorkDir); err != nil {
		return Job{}, err
	}
	if err := s.claim(id); err != nil {
		return Job{}, err
	}
	defer s.unclaim(id)
	switch _, err := s.conf.Records.Get(ctx, id); {
	case err == nil:
		return Job{}, fmt.Errorf("create job %s: %w", id, ErrExists)
	case !ipld.IsNotFound(err):
		return Job{}, fmt.Errorf("create job %s: %w", id, err)
	}
	rec := record{Created: s.now().UTC().Truncate(time.Second), WorkDir: spec.WorkDir}
	value, err := json.Marshal(rec)
	if err != nil {
		return Job{}, fmt.Errorf("create job %s: %w", id, err)
	}
	if err := s.conf.Records.Put(ctx, id, value); err != nil {
		return Job{}, fmt.Errorf("create job %s: %w", id, err)
	}
	if err := s.start(ctx, id, rec); err != nil {
		// The record goes last: what can't be cleaned up now stays removable.
		return Job{}, fmt.Errorf("create job %s: %w", id, errors.Join(err, s.erase(context.WithoutCancel(ctx), id)))
	}
	return s.describe(id, rec), nil
}

// List returns all jobs in the order of their ids.
func (s *Supervisor) List(ctx context.Context) ([]Job, error) {
	return s.records(ctx)
}

// records returns all jobs as they are recorded.
func (s *Supervisor) records(ctx context.Context) ([]Job, error) {
	var list []Job
	for r, err := range s.conf.Records.All(ctx, "") {
		if err != nil {
			return nil, fmt.Errorf("list jobs: %w", err)
		}
		var rec record
		if err := json.Unmarshal(r.Value, &rec); err != nil || checkID(r.Key) != nil {
			s.log.Error("job record is damaged", slog.String("job", r.Key), slog.Any("err", err))
			continue
		}
		list = append(list, s.describe(r.Key, rec))
	}
	slices.SortFunc(list, func(a, b Job) int { return strings.Compare(a.ID, b.ID) })
	return list, nil
}

// Show returns one job, or ErrNotFound.
func (s *Supervisor) Show(ctx context.Context, id string) (Job, error) {
	if err := checkID(id); err != nil {
		return Job{}, fmt.Errorf("job %q: %w", id, ErrNotFound)
	}
	rec, err := s.read(ctx, id)
	if err != nil {
		return Job{}, err
	}
	return s.describe(id, rec), nil
}

// read returns the record of a job, or ErrNotFound.
func (s *Supervisor) read(ctx context.Context, id string) (record, error) {
	var rec record
	value, err := s.conf.Records.Get(ctx, id)
	if ipld.IsNotFound(err) {
		return rec, fmt.Errorf("job %s: %w", id, ErrNotFound)
	}
	if err == nil {
		err = json.Unmarshal(value, &rec)
	}
	if err != nil {
		return rec, fmt.Errorf("read job %s: %w", id, err)
	}
	return rec, nil
}

// describe returns what is known of a job.
func (s *Supervisor) describe(id string, rec record) Job {
	s.mu.Lock()
	defer s.mu.Unlock()
	job := Job{ID: id, Created: rec.Created.UTC(), State: StateCreated, WorkDir: s.place.workDir(id, rec), Socket: s.place.socket(id)}
	if s.failed[id] {
		job.State = StateFailed
	}
	return job
}

// claim keeps others from creating, resuming or removing the same job now.
func (s *Supervisor) claim(id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return ErrClosed
	case s.pending[id]:
		return fmt.Errorf("job %s: %w: it is being created or removed", id, ErrExists)
	}
	s.pending[id] = true
	return nil
}

// unclaim ends a claim.
func (s *Supervisor) unclaim(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.pending, id)
}

// Remove ends a job: what it fetches is cancelled, its bridge stops, its
// directory and socket are removed and its pins dropped. A work directory that
// the caller brought stays, without what the node kept in it. ErrNotFound if
// there is no such job; after another error Remove can be asked again.
func (s *Supervisor) Remove(ctx context.Context, id string) error {
	if err := checkID(id); err != nil {
		return fmt.Errorf("job %q: %w", id, ErrNotFound)
	}
	if err := s.claim(id); err != nil {
		return err
	}
	defer s.unclaim(id)
	rec, err := s.read(ctx, id)
	if err != nil {
		return err
	}
	if err := s.stop(id); err != nil {
		return fmt.Errorf("remove job %s: %w", id, err)
	}
	if rec.WorkDir != "" {
		if err := removePrivate(rec.WorkDir); err != nil {
			return fmt.Errorf("remove job %s: %w", id, err)
		}
	}
	if err := s.erase(ctx, id); err != nil {
		return fmt.Errorf("remove job %s: %w", id, err)
	}
	return nil
}

// erase removes what a job that is not served left: files, pins, record.
func (s *Supervisor) erase(ctx context.Context, id string) error {
	if err := s.place.remove(id); err != nil {
		return err
	}
	if err := s.unpin(ctx, bridge.PinName(id)); err != nil {
		return err
	}
	s.mu.Lock()
	delete(s.failed, id)
	s.mu.Unlock()
	return s.conf.Records.Delete(ctx, id)
}

// unpin drops all pins of a name. They are collected first: an enumeration need
// not bear changes.
func (s *Supervisor) unpin(ctx context.Context, name string) error {
	var mine []blockstore.Pin
	for p, err := range s.conf.Store.Pins(ctx) {
		if err != nil {
			return err
		}
		if p.Name == name {
			mine = append(mine, p)
		}
	}
	for _, p := range mine {
		if err := s.conf.Store.Unpin(ctx, p.Root, p.Name); err != nil && !ipld.IsNotFound(err) {
			return err
		}
	}
	return nil
}

// Close stops all bridges, removes their sockets and waits for what they do.
// Jobs and their directories stay. It may be called more than once.
func (s *Supervisor) Close() error {
	s.mu.Lock()
	s.closed = true
	ids := make([]string, 0, len(s.serving))
	for id := range s.serving {
		ids = append(ids, id)
	}
	s.mu.Unlock()
	var errs []error
	var wg sync.WaitGroup
	var mu sync.Mutex
	for _, id := range ids {
		wg.Go(func() {
			err := s.stop(id)
			mu.Lock()
			defer mu.Unlock()
			errs = append(errs, err)
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}
