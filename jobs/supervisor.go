package jobs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ipfs/go-cid"
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
	// ErrState says that a job is in no state for what was asked.
	ErrState = errors.New("not in this state of the job")
)

// DefaultRunning is how many commands run at once: most executors wait for
// accelerators and networks, not for processors.
const DefaultRunning = 16

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
	// Hold keeps what is stored from being collected until release is called,
	// once it is pinned. nil: nothing collects.
	Hold func() (release func())
	// Peers is the network, and Inbox the bucket of what jobs received. nil: the
	// node is offline.
	Peers bridge.Peers
	Inbox blockstore.Records
	// Announce tells the network of a root. nil: nobody is told.
	Announce func(ctx context.Context, root cid.Cid) error

	Executors []Executor    // templates of commands
	Walls     Walls         // around commands
	Environ   []string      // "NAME=value" each: what commands get besides their own
	Running   int           // commands that run at once, others are queued; 0: 16
	LogSize   int64         // bytes that are kept of each output of a command, at least; 0: 8 MiB
	HoldGrace time.Duration // how long a held job may be without its holder after a start; 0: 1 min

	Logger *slog.Logger     // nil: silent
	Now    func() time.Time // nil: time.Now
}

// Supervisor keeps the jobs of one node. It is safe for concurrent use.
type Supervisor struct {
	conf  Config
	log   *slog.Logger
	now   func() time.Time
	place places
	queue queue // of the places for running jobs
	busy  sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	ended   func() error        // why Serve ends, nil while it does not
	changed chan struct{}       // closed, and replaced, when a job has changed
	serving map[string]*service // by job id
	lives   map[string]*life    // by job id
	broken  map[string]error    // why jobs could not be served
	pending map[string]bool     // ids that are being created or removed
}

// Open opens the jobs directory. It serves nothing yet: Serve does, for the jobs
// of earlier runs, and Create, for a new one.
func Open(_ context.Context, c Config) (*Supervisor, error) {
	place, err := openPlaces(c.Dir, c.RuntimeDir)
	if err != nil {
		return nil, fmt.Errorf("open jobs directory: %w", err)
	}
	if err := CheckExecutors(c.Executors); err != nil {
		return nil, err
	}
	if c.Running <= 0 {
		c.Running = DefaultRunning
	}
	if c.LogSize <= 0 {
		c.LogSize = DefaultLogSize
	}
	if c.HoldGrace <= 0 {
		c.HoldGrace = defaultHoldGrace
	}
	if c.Hold == nil {
		c.Hold = func() func() { return func() {} }
	}
	s := &Supervisor{
		conf: c, log: c.Logger, now: c.Now, place: place, queue: queue{free: c.Running},
		changed: make(chan struct{}), serving: map[string]*service{}, lives: map[string]*life{},
		broken: map[string]error{}, pending: map[string]bool{},
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.now == nil {
		s.now = time.Now
	}
	return s, nil
}

// Serve goes on with all jobs of earlier runs until ctx ends, then stops them
// all: it serves their sockets, ends what is left of commands that ran when the
// node died, and lets the jobs that waited wait on. A job that can't be served
// is reported and stays listed as failed. ready, if not nil, is called when all
// of them were seen to: before that, no job may be created.
func (s *Supervisor) Serve(ctx context.Context, ready func()) error {
	s.mu.Lock()
	s.ended = ctx.Err
	s.mu.Unlock()
	records, err := s.records(ctx)
	if err != nil {
		return err
	}
	oldest := slices.SortedStableFunc(slices.Values(records), func(a, b Job) int { return a.Created.Compare(b.Created) })
	for _, r := range oldest { // queued ones queue again in the old order
		if err := s.resume(ctx, r.ID); err != nil {
			s.log.Error("job not served", slog.String("job", r.ID), slog.Any("err", err))
		}
	}
	s.reportOrphans(records)
	if ready != nil {
		ready()
	}
	<-ctx.Done()
	return s.Close()
}

// ending tells whether the node ends, or the supervisor alone.
func (s *Supervisor) ending() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed || s.ended != nil && s.ended() != nil
}

// resume goes on with a job that was there before.
func (s *Supervisor) resume(ctx context.Context, id string) error {
	if err := s.claim(id); err != nil {
		return err
	}
	defer s.unclaim(id)
	rec, err := s.read(ctx, id)
	if err != nil {
		return err
	}
	if rec.State.Ended() {
		return s.retireAgain(ctx, id, &rec)
	}
	if rec.Next == "" && rec.Spec.Command != nil && rec.State == StateRunning {
		if err := s.bury(ctx, id, &rec); err != nil {
			return err
		}
	}
	if rec.Next == "" {
		err = s.start(ctx, id, rec)
	}
	s.mu.Lock()
	if delete(s.broken, id); err != nil {
		s.broken[id] = err
	}
	s.mu.Unlock()
	if err != nil {
		return err
	}
	return s.begin(id, rec)
}

// bury ends what is left of a command that ran when the node died.
func (s *Supervisor) bury(ctx context.Context, id string, rec *record) error {
	if rec.Run != nil {
		if err := rec.Run.kill(); err != nil {
			s.log.Warn("processes of an earlier run", slog.String("job", id), slog.Any("err", err))
		}
	}
	rec.Next, rec.Error, rec.Ended, rec.Run = StateFailed, "node restarted", s.now().UTC().Truncate(time.Millisecond), nil
	return s.put(ctx, id, *rec)
}

// Create records a job, makes its work directory and serves its socket: when it
// returns, the bridge answers. A job with a command then goes its way by itself.
// ErrExists if the id is taken, ErrSpec if the job can't be.
func (s *Supervisor) Create(ctx context.Context, spec Spec) (Job, error) {
	if err := s.admit(ctx, &spec); err != nil {
		return Job{}, err
	}
	id := spec.ID
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
	rec := record{Created: s.now().UTC().Truncate(time.Microsecond), WorkDir: spec.WorkDir, Spec: spec, State: StateCreated}
	if err := s.put(ctx, id, rec); err != nil {
		return Job{}, err
	}
	err := s.start(ctx, id, rec)
	if err == nil {
		job := s.describe(id, rec) // before it moves on
		if err = s.begin(id, rec); err == nil {
			return job, nil
		}
		err = errors.Join(err, s.stop(id))
	}
	// The record goes last: what can't be cleaned up now stays removable.
	return Job{}, fmt.Errorf("create job %s: %w", id, errors.Join(err, s.erase(context.WithoutCancel(ctx), id)))
}

// admit completes the spec of a new job, or refuses it.
func (s *Supervisor) admit(ctx context.Context, spec *Spec) error {
	id, err := specID(spec.ID)
	if err != nil {
		return err
	}
	spec.ID = id
	if err := spec.check(); err != nil {
		return err
	}
	if c := spec.Command; c != nil {
		if _, err := s.executor(c.Executor); err != nil {
			return err
		}
	}
	for i, text := range spec.Peers {
		if s.conf.Peers == nil {
			break
		}
		if spec.Peers[i], err = s.conf.Peers.Parse(text); err != nil {
			return bad("peers[%d]: %v", i, err)
		}
	}
	for _, other := range spec.After {
		if _, err := s.read(ctx, other); err != nil {
			if errors.Is(err, ErrNotFound) {
				return bad("after: no job %s", other)
			}
			return err
		}
	}
	return s.checkWorkDir(ctx, spec.WorkDir)
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
		rec, err := parseRecord(r.Key, r.Value)
		if err != nil || checkID(r.Key) != nil {
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
	rec, err := s.find(ctx, id)
	if err != nil {
		return Job{}, err
	}
	return s.describe(id, rec), nil
}

// find is read for an id from outside.
func (s *Supervisor) find(ctx context.Context, id string) (record, error) {
	if err := checkID(id); err != nil {
		return record{}, fmt.Errorf("job %q: %w", clip(id), ErrNotFound)
	}
	return s.read(ctx, id)
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
