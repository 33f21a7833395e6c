package bridge

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/connectors"
	"github.com/hypha-node/hypha-node/connectors/ingest"
)

// Engine brings items into the store: what a job needs of package ingest.
type Engine interface {
	// Resolve yields the files that a reference stands for, in order.
	Resolve(ctx context.Context, ref connectors.Ref, acc connectors.Access) iter.Seq2[connectors.Item, error]
	// Fetch makes sure that the item's file is in the store, from wherever it is
	// nearest. Options.Tee may get the bytes on the way.
	Fetch(ctx context.Context, it connectors.Item, o ingest.Options) (ingest.Fetched, error)
}

var _ Engine = (*ingest.Engine)(nil)

// Config is what Open needs. Engine, Store, ID and WorkDir have no default.
type Config struct {
	ID      string    // the job's id, checked by the supervisor
	WorkDir string    // absolute path of an existing directory
	Socket  string    // path of the bridge's socket, for Info only
	Created time.Time // an id may be given again

	Engine Engine
	Store  blockstore.Store
	// StoreDir is a directory on the file system of the store where this process
	// may make files: whether files there and in the work directory can share
	// their bytes is tried out with it. "" means that they can't.
	StoreDir string

	Peers      Peers              // nil: offline
	Inbox      blockstore.Records // one bucket for all jobs: keys begin with the job's id and a slash; nil: offline
	Scope      Scope
	Limits     Limits
	Controller Controller                                    // nil: none
	Announce   func(ctx context.Context, root cid.Cid) error // tells the network of a root; nil: nobody is told

	Parallel int              // files of one request that are fetched at once; 0: 8
	Limit    int              // files of all requests that are fetched at once, others wait; 0: 16
	Logger   *slog.Logger     // nil: silent
	Now      func() time.Time // nil: time.Now
}

// Info describes a job to its executor.
type Info struct {
	ID      string    `json:"id"`
	WorkDir string    `json:"work_dir"` // absolute path
	Socket  string    `json:"socket"`   // absolute path
	Created time.Time `json:"created"`  // UTC

	PeerID string `json:"peer_id,omitempty"` // of this node, "" when it is offline
	Limits Limits `json:"limits"`            // in effect; -1 is none
	Use    Use    `json:"use"`
}

// Job is one job's resources. It is safe for concurrent use.
type Job struct {
	info     Info
	root     *os.Root
	engine   Engine
	store    blockstore.Store // sees everything
	own      string           // the scope of what is this job's alone
	parallel int
	slots    chan struct{} // one for each file that is being fetched
	shares   bool          // the work directory can share bytes with the store
	log      *slog.Logger
	now      func() time.Time

	naming sync.Mutex // held while a file gets its final name

	peers      Peers // nil: offline
	scope      Scope // Job and Peers are canonical
	limits     *limiter
	ledger     *ledger
	inbox      *inbox  // nil: offline
	outbox     *outbox // nil: offline
	lanes      *lanes
	repeats    repeats
	liars      liars
	counters   counters
	controller Controller
	announce   func(ctx context.Context, root cid.Cid) error

	sendMu  sync.Mutex // held while a send call takes its place
	sends   int64      // send calls so far, or more: those of an earlier process are not known exactly
	allowed int64      // numbers of send calls below it are recorded as used

	mu      sync.Mutex
	closed  bool
	last    int64                             // key of the newest entry of running
	running map[int64]context.CancelCauseFunc // one per operation
	busy    sync.WaitGroup                    // counts running; never added to once closed
}

// Open opens the work directory, which must exist, drops what an earlier process
// left in its temporary directory, and goes on with the sends that it had
// accepted. Close ends the job.
func Open(c Config) (*Job, error) {
	root, err := os.OpenRoot(c.WorkDir)
	if err != nil {
		return nil, fmt.Errorf("open work directory: %w", err)
	}
	if err := sweep(root); err != nil {
		return nil, errors.Join(fmt.Errorf("sweep work directory %s: %w", c.WorkDir, err), root.Close())
	}
	j := &Job{
		info:     Info{ID: c.ID, WorkDir: c.WorkDir, Socket: c.Socket, Created: c.Created.UTC()},
		root:     root,
		engine:   c.Engine,
		store:    c.Store,
		own:      OwnScope(c.ID, c.Created),
		parallel: c.Parallel,
		log:      c.Logger,
		now:      c.Now,
		running:  map[int64]context.CancelCauseFunc{},
	}
	if j.parallel <= 0 {
		j.parallel = 8 // enough to hide the latency of an origin, few enough for one job
	}
	if c.Limit <= 0 {
		c.Limit = 16 // each may hold a window of 32 MiB
	}
	j.slots = make(chan struct{}, c.Limit)
	j.shares = c.StoreDir != "" && canShare(root, c.StoreDir)
	if j.log == nil {
		j.log = slog.New(slog.DiscardHandler)
	}
	if j.now == nil {
		j.now = time.Now
	}
	waiting, err := j.join(c)
	if err != nil {
		return nil, errors.Join(err, root.Close())
	}
	j.resume(waiting)
	return j, nil
}

// join opens what connects the job with others, and returns what waits in its
// outbox.
func (j *Job) join(c Config) ([]storedSend, error) {
	j.peers, j.scope, j.controller, j.announce = c.Peers, c.Scope, c.Controller, c.Announce
	j.scope.Job = cmp.Or(j.scope.Job, c.ID)
	j.limits, j.ledger, j.lanes = newLimiter(c.Limits), newLedger(j.now), newLanes()
	if j.peers != nil {
		j.info.PeerID = j.peers.Self()
		ids, err := j.parsePeers(c.Scope.Peers)
		if err != nil {
			return nil, err
		}
		j.scope.Peers = ids
	}
	if err := checkChannel(j.scope.Channel); err != nil {
		return nil, err
	}
	if c.Inbox == nil {
		return nil, nil
	}
	ctx := context.Background()
	log := inboxLog{records: c.Inbox, prefix: c.ID + "/"}
	all, err := log.load(ctx)
	if err != nil {
		return nil, fmt.Errorf("open inbox: %w", err)
	}
	warn := func(msg string, err error) {
		j.log.Warn("inbox", logJob(j), slog.String("problem", msg), logError(err))
	}
	j.inbox, err = openInbox(ctx, log, all, newPinner(c.Store, InboxPinName(c.ID), log.putUnclean), j.limits)
	if err != nil {
		return nil, err
	}
	j.inbox.warn = warn
	j.sends, j.allowed = all.sent, all.sent
	j.recount(all.count)
	j.outbox, err = openOutbox(ctx, log, all, newPinner(c.Store, OutboxPinName(c.ID), log.putOutUnclean))
	if err != nil {
		return nil, err
	}
	j.outbox.warn = warn
	return all.sends, nil
}

// Info returns what the job is.
func (j *Job) Info() Info {
	info := j.info
	info.Limits, info.Use = j.Limits(), j.Use()
	return info
}

// begin registers one operation: Close cancels its context with ErrClosed and
// waits for end.
func (j *Job) begin(ctx context.Context) (opCtx context.Context, end func(), err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed {
		return nil, nil, ErrClosed
	}
	ctx, cancel := context.WithCancelCause(ctx)
	j.last++
	key := j.last
	j.running[key] = cancel
	j.busy.Add(1)
	return ctx, func() {
		cancel(nil)
		j.mu.Lock()
		delete(j.running, key)
		j.mu.Unlock()
		j.busy.Done()
	}, nil
}

// Stop cancels what is running, with ErrClosed, refuses what comes, and waits
// for the former. It may be called more than once.
func (j *Job) Stop() {
	j.mu.Lock()
	j.closed = true
	for _, cancel := range j.running {
		cancel(ErrClosed)
	}
	j.mu.Unlock()
	j.busy.Wait()
}

// Close stops the job and closes its work directory, which stays.
func (j *Job) Close() error {
	j.Stop()
	if j.inbox != nil {
		j.inbox.close()
		j.outbox.close()
		j.numbered()
		j.putCount(context.Background())
	}
	if err := j.root.Close(); err != nil && !errors.Is(err, fs.ErrClosed) {
		return fmt.Errorf("close work directory: %w", err)
	}
	return nil
}

// Closing tells whether Stop or Close was called.
func (j *Job) Closing() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.closed
}

// cause returns why ctx ended, for an operation that failed with err: a
// cancelled engine reports context.Canceled where the job knows the reason.
func cause(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		if c := context.Cause(ctx); !errors.Is(err, c) {
			return fmt.Errorf("%w: %w", c, err)
		}
	}
	return err
}
