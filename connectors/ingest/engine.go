package ingest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/hypha-node/hypha-node/bitswap/crew"
	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/connectors"
	"github.com/hypha-node/hypha-node/dag"
)

// ErrClosed says that the engine was closed.
var ErrClosed = errors.New("ingest engine is closed")

// BlockSource brings DAGs whose root is known; connectors/ipfs is one.
type BlockSource interface {
	// FetchInto copies the whole DAG under root into a store, verified: the
	// engine's, or one that writes to it.
	FetchInto(ctx context.Context, dst blockstore.Store, root cid.Cid, o dag.CopyOptions) (dag.Entry, error)
}

// Config is what an Engine works with. Only Store is needed.
type Config struct {
	Store      blockstore.Store
	Connectors connectors.Set // for Resolve
	Blocks     BlockSource    // nil: roots that are not stored are not found
	Cache      Cache          // looked into before an origin is asked for bytes; nil: none
	// Finder knows which peers have what is known by its sha256 alone; they are
	// asked before the origin. Nil: nobody is asked.
	Finder Finder
	// Patience is how long the origin waits for the first of them to say so; 0
	// means DefaultPatience.
	Patience time.Duration
	// Crew has nodes that fetch the same content at once share the origin's work. Nil:
	// each for itself.
	Crew *crew.Service
	// OnStored is called once for every file that came from an origin or a
	// peer, when it can be read; it may be durable only when Fetch returns. private
	// says that it must not be announced. The flight waits for it, and ctx ends when
	// nobody waits for the flight.
	OnStored func(ctx context.Context, f dag.File, private bool)
	// Memory is what all downloads and copies together may take, and who writes
	// out what they brought; nil means dag.NewBudget(0). Connectors that read
	// ahead are given the same budget: they take what nobody else needs.
	Memory *dag.Budget
	Logger *slog.Logger     // nil: silent
	Now    func() time.Time // nil: time.Now
}

// Engine fetches items. It is safe for concurrent use.
type Engine struct {
	cfg Config

	running sync.WaitGroup // flights
	counts  *counts

	mu      sync.Mutex
	flights map[string]*flight // by identity
	ending  map[string]*flight // those that nobody waits for any more, the last of each identity
	serial  uint64             // of flights without identity
	closed  bool
}

// New returns an engine. It starts nothing; Close it before the store.
func New(cfg Config) *Engine {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Memory == nil {
		cfg.Memory = dag.NewBudget(0)
	}
	if cfg.Patience <= 0 {
		cfg.Patience = DefaultPatience
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Engine{cfg: cfg, counts: newCounts(), flights: make(map[string]*flight), ending: make(map[string]*flight)}
}

// Close cancels what is under way, whose callers get ErrClosed, and waits for it.
func (e *Engine) Close() error {
	e.mu.Lock()
	e.closed = true
	for _, f := range e.flights {
		f.cancel(ErrClosed)
	}
	e.mu.Unlock()
	e.running.Wait()
	return nil
}

// Memory returns what the engine takes shares of. Who calls Fetch must not hold one.
func (e *Engine) Memory() *dag.Budget { return e.cfg.Memory }

// Options say what to do with one item. The zero value stores and pins it.
type Options struct {
	// Tee also gets the content, at its offsets, in any order and from several
	// goroutines, when it is downloaded for this call: Fetched.Teed tells.
	Tee io.WriterAt
	// View shows the content while it is downloaded; a View serves one call.
	View *View
	// Progress is called on the caller's goroutine, now and then.
	Progress func(Progress)
	// Pace gets the bytes that came from peers and returns when the next may come,
	// for the call that they come for first; as dag.CopyOptions. Content of origins
	// comes as fast as Item.Open lets it.
	Pace  func(ctx context.Context, n int) error
	Pin   string // name of the pin; "" is the default pin
	NoPin bool
	// Timeout is how long peers may send nothing before the fetch of a root
	// fails; 0 means the default of dag.Copy. Origins are watched by their
	// connectors.
	Timeout time.Duration
	// Access is what the item was resolved with. A download that is known by
	// its URL alone is not shared between the operator and jobs, since a job
	// may be refused that address.
	Access connectors.Access
}

// From says where content came from.
type From string

// Where content comes from.
const (
	FromOrigin From = "origin"
	FromStore  From = "store"
	FromPeer   From = "peer"
	FromCache  From = "cache" // of the operator's other tools: Config.Cache
)

// Progress is how far a fetch is.
type Progress struct {
	Done  int64 // bytes, with those that an earlier download left
	Total int64 // bytes, -1 while unknown
	From  From  // "" while that is being found out

	Transport string // of what came from the origin: "http", "xet", "http+xet"; "" if not told
}

// Fetched is a file that is in the store, and how it got there.
type Fetched struct {
	File        dag.File
	From        From
	Teed        bool   // Options.Tee holds the whole content
	Shared      bool   // another call's download brought it: its bytes count there
	OriginBytes int64  // read from the origin
	PeerBytes   int64  // of content got from peers
	SavedBytes  int64  // of PeerBytes: that did not go over the wire, since peers packed blocks; < 0 where that made them larger
	Transport   string // by which the origin's bytes came: "http", "xet", "http+xet"; "" if not told
	ETag        string // as the origin published it, "" if it did not
	Revision    string // of what the origin gave, where only that tells; "" if not told
	// Verified says that the content has a digest (or root) that the caller or
	// the source named, not just a length.
	Verified bool
	// Private says that the content was fetched with a credential, and not yet
	// without: it must not be announced.
	Private bool
}

// Fetch brings the item's content into the store, unless it is there, and pins
// it. Errors of sources are connectors', those of the store pass through; a
// mismatch is connectors.ErrMismatch, of which nothing is recorded. When ctx
// ends, Fetch returns at once; the download ends unless others wait for it.
func (e *Engine) Fetch(ctx context.Context, it connectors.Item, o Options) (Fetched, error) {
	got, err := e.fetch(ctx, it, o)
	var known *connectors.Error
	if errors.As(err, &known) && known.Op == "fetch" && strings.HasSuffix(known.Source, "/"+it.Path) {
		return Fetched{}, err // which says all of this
	}
	if err != nil {
		return Fetched{}, fmt.Errorf("fetch %q: %w", it.Path, err)
	}
	return got, nil
}

func (e *Engine) fetch(ctx context.Context, it connectors.Item, o Options) (Fetched, error) {
	defer o.View.end()
	if err := ctx.Err(); err != nil {
		return Fetched{}, context.Cause(ctx)
	}
	if it.Open == nil && !it.Root.Defined() {
		return Fetched{}, fmt.Errorf("%w: item has neither a root nor an origin", connectors.ErrInvalid)
	}
	for {
		got, again, err := e.fly(ctx, it, o)
		if !again {
			return got, err
		}
		// Another source of the same content failed; ours is still untried.
	}
}

// Find returns what the store has of an item, by the identities that can't have
// changed, without asking anybody. Nothing is pinned: until it has been read, the
// caller keeps collections of garbage off.
func (e *Engine) Find(ctx context.Context, it connectors.Item) (Fetched, bool, error) {
	return e.lookup(ctx, it)
}

// fly takes part in one flight and pins what it brings.
func (e *Engine) fly(ctx context.Context, it connectors.Item, o Options) (got Fetched, again bool, err error) {
	f, w, err := e.join(ctx, it, o)
	if err != nil {
		return Fetched{}, false, err
	}
	defer e.part(f)
	o.View.attach(f.part)
	got, err = e.wait(ctx, f, w, o.Progress)
	switch {
	case err != nil:
		return Fetched{}, ctx.Err() == nil && f.fellFor(err, it), err
	case got.Private && it.Scope != "" && o.Access.Scope != "":
		if err := e.cfg.Store.Admit(ctx, got.File.Root, o.Access.Scope); err != nil {
			return Fetched{}, false, err
		}
	}
	switch {
	case !o.NoPin: // which makes what is pinned durable, if it is not
	case got.From == FromPeer:
		return got, false, e.cfg.Store.Sync(ctx)
	default:
		return got, false, nil
	}
	return got, false, e.cfg.Store.Pin(ctx, blockstore.Pin{Root: got.File.Root, Name: o.Pin, Created: e.cfg.Now()})
}
