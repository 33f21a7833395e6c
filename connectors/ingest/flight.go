package ingest

import (
	"context"
	"encoding/hex"
	"errors"
	"strconv"
	"sync"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/hypha-node/hypha-node/connectors"
	"github.com/hypha-node/hypha-node/dag"
)

// errAbandoned cancels a flight that nobody waits for any more.
var errAbandoned = errors.New("nobody waits for it any more")

// flight is the one fetch of an identity that is under way.
type flight struct {
	key    string
	item   connectors.Item // of the call that began it
	opts   Options         // likewise
	tee    *tee            // likewise; nil if it has none
	part   *part           // its content, for those who look at it while it comes
	kept   dag.Keep        // what a beginning that comes from a holder is kept as; zero: nothing is kept
	alone  bool            // it shares the origin's work with nobody any more
	joint  *joint          // with whom it shares the origin's work; nil: with nobody
	from   From            // where what is taken in comes from
	after  *flight         // whose beginning of the content it goes on with; nil if there is none
	cancel context.CancelCauseFunc

	since   time.Time
	counts  *counts
	release func() // lets collections of garbage take what the flight brings
	users   int    // calls of fetch that joined and did not part; guarded by Engine.mu

	done chan struct{} // closed when got and err are set
	got  Fetched
	err  error

	mu       sync.Mutex
	progress Progress
	watchers map[*watcher]struct{} // who waits
}

// watcher is one call that waits for a flight.
type watcher struct {
	leads bool          // the flight began with it
	tick  chan struct{} // room for one: there is progress to report
}

// identity returns what two items have in common if one download serves both,
// "" if nothing is known of the item.
func identity(it connectors.Item, o Options) string {
	var id string
	switch {
	case it.Root.Defined():
		id = "cid:" + cid.NewCidV1(it.Root.Type(), it.Root.Hash()).String()
	case it.SHA256 != nil:
		id = sha256Key(*it.SHA256)
	case it.GitSHA1 != nil:
		id = gitKey(*it.GitSHA1)
	case it.Key != "":
		id = "key:" + strconv.FormatBool(o.Access.Operator) + ":" + it.Key
	default:
		return ""
	}
	return id + "\x00" + it.Scope
}

func sha256Key(sum [32]byte) string { return "sha256:" + hex.EncodeToString(sum[:]) }
func gitKey(sum [20]byte) string    { return "gitsha1:" + hex.EncodeToString(sum[:]) }

// join returns the flight for the item, a new one if there is none, and the
// caller's place in it; the caller parts from it in the end. The flight has the
// values of the first caller's ctx but not its end.
func (e *Engine) join(ctx context.Context, it connectors.Item, o Options) (*flight, *watcher, error) {
	key := identity(it, o)
	// Before anything of it is looked up or stored, and before the lock: it may
	// have to wait for readers of the store.
	release := e.hold()
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		release()
		return nil, nil, ErrClosed
	}
	w := &watcher{tick: make(chan struct{}, 1)}
	if f := e.flights[key]; f != nil {
		release() // it has its own, which is older
		f.users++
		f.mu.Lock()
		f.watchers[w] = struct{}{}
		f.mu.Unlock()
		return f, w, nil
	}
	if key == "" {
		e.serial++
		key = "#" + strconv.FormatUint(e.serial, 10)
	}
	w.leads = true
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	f := &flight{
		since: e.cfg.Now(), counts: e.counts,
		key: key, item: it, opts: o, from: FromOrigin, part: newPart(), cancel: cancel, done: make(chan struct{}), release: release, users: 1,
		progress: Progress{Total: it.Size}, watchers: map[*watcher]struct{}{w: {}}, after: e.ending[key],
	}
	if o.Tee != nil {
		f.tee = &tee{w: o.Tee}
	}
	e.flights[key] = f
	e.running.Go(func() {
		defer cancel(nil)
		if f.after != nil {
			<-f.after.done // it is cancelled
			f.after = nil
		}
		f.got, f.err = e.run(ctx, f)
		if f.err != nil && ctx.Err() != nil {
			f.err = context.Cause(ctx)
		}
		e.report(ctx, f, f.got, f.err)
		e.retire(f)
		close(f.done)
	})
	return f, w, nil
}

// wait returns what the flight brings, unless ctx ends first.
func (e *Engine) wait(ctx context.Context, f *flight, w *watcher, report func(Progress)) (Fetched, error) {
	for {
		select {
		case <-w.tick:
			if report != nil {
				report(f.now())
			}
		case <-f.done:
			got, whole := f.got, w.leads && f.tee.detach()
			if f.err != nil {
				return Fetched{}, f.err
			}
			got.Teed = whole && got.From != FromStore
			got.Shared = !w.leads && got.From != FromStore
			if report != nil {
				report(Progress{Done: got.File.Size, Total: got.File.Size, From: got.From, Transport: got.Transport})
			}
			return got, nil
		case <-ctx.Done():
			if w.leads {
				f.tee.detach()
			}
			e.leave(f, w)
			return Fetched{}, context.Cause(ctx)
		}
	}
}

// part is called by who has joined, when what the flight brought is pinned or not
// wanted. Collections of garbage are kept off until the last one does.
func (e *Engine) part(f *flight) {
	e.mu.Lock()
	f.users--
	last := f.users == 0
	e.mu.Unlock()
	if last {
		f.release()
	}
}

// hold keeps collections of garbage from what is stored or found until release
// is called, where the store has such.
func (e *Engine) hold() (release func()) {
	if h, ok := e.cfg.Store.(interface{ Hold() func() }); ok {
		return h.Hold()
	}
	return func() {}
}

// leave takes a caller out of a flight; the last one ends it.
func (e *Engine) leave(f *flight, w *watcher) {
	e.mu.Lock()
	defer e.mu.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.watchers, w)
	if len(f.watchers) > 0 {
		return
	}
	f.cancel(errAbandoned)
	// Who comes now must not join what is ending, but wait for what it leaves.
	// Close waits for it, too.
	if e.flights[f.key] == f {
		delete(e.flights, f.key)
		e.ending[f.key] = f
	}
}

// retire takes an ended flight off the list.
func (e *Engine) retire(f *flight) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.flights[f.key] == f {
		delete(e.flights, f.key)
	}
	if e.ending[f.key] == f {
		delete(e.ending, f.key)
	}
}

// fellFor tells whether the flight failed for a reason of its own source, so
// that an item of another source may still succeed.
func (f *flight) fellFor(err error, it connectors.Item) bool {
	var origin *connectors.Error
	return errors.As(err, &origin) && (f.item.URL != it.URL || f.item.Key != it.Key)
}

// begin says where the content comes from, how much of it is here and how much it
// is, -1 if unknown.
func (f *flight) begin(from From, done, total int64) {
	f.part.begin()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.progress = Progress{Done: done, Total: total, From: from}
	f.tell()
}

// advance counts n bytes more.
func (f *flight) advance(n int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.progress.Done += n
	peers := f.joint.fresh(n)
	f.counts.came(FromPeer, peers)
	f.counts.came(f.progress.From, n-peers)
	f.tell()
}

// advanceBy returns what counts the bytes of a body.
func (f *flight) advanceBy(body *connectors.Body) func(n int64) {
	return func(n int64) {
		by := body.Transport()
		f.mu.Lock()
		f.progress.Transport = by
		f.mu.Unlock()
		f.advance(n)
	}
}

// tell wakes all who wait; the caller holds the lock.
func (f *flight) tell() {
	for w := range f.watchers {
		select {
		case w.tick <- struct{}{}:
		default: // has not looked at the last one yet
		}
	}
}

func (f *flight) now() Progress {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.progress
}
