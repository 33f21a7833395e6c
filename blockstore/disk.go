package blockstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hypha-node/hypha-node/blockstore/internal/vfs"
)

// Options says how Open opens a repository. The zero value works.
type Options struct {
	// Holder is what another process is told that finds the repository in
	// use; "" means "another process".
	Holder string
	// Logger is told what the store mends or drops; nil discards it.
	Logger *slog.Logger
	// Reserve is the free space in bytes that writes leave on the file
	// system; 0 means max(1 GiB, 2 %), but no more than a quarter of the file
	// system, and < 0 none but the 32 MiB that the index needs to live.
	Reserve int64
	// StorageMax is what the repository's content and index may take on the disk,
	// in bytes; 0 is no limit. What is not pinned goes when it is needed, that
	// which was not used for longest first.
	StorageMax int64
	// Links is asked for the links of pinned blocks then, as in Collect; a
	// StorageMax needs it.
	Links Linker
}

func (o Options) logger() *slog.Logger {
	if o.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return o.Logger
}

// Disk is the Store of a node: an index in Badger over segments in plain files.
// A repository is open in one Disk at a time. After a failed fsync or index
// write it only reads, until it is opened again.
type Disk struct {
	dir     string
	log     *slog.Logger
	gate    gate
	segs    *segments
	space   *space
	pack    *pack
	index   index
	commits commits
	epoch   atomic.Uint64 // counts the file segments that the index was told of, from 1
	lazy    lazyMap
	touched *touched
	quota   *quota // nil: none
	vouched *vouched
	uses    *uses        // kept up if there is a quota
	clock   atomic.Int64 // last time that now returned
	// collecting holds a token while a collection runs.
	collecting chan struct{}
	buffers    sync.Pool // *[]byte of maxBlock bytes
	parts      sync.Map  // *fileWriter => nil: those that are neither committed nor aborted
	claims     claims
	release    func() error
	wake       chan struct{}  // holds a token when Tend has something to do
	listing    sync.WaitGroup // goroutines of AllKeysChan
	done       chan struct{}  // closed by Close
}

var _ Store = (*Disk)(nil)

// environment is what a Disk stands on; tests put other things under it.
type environment struct {
	fs        vfs.FS
	openIndex func(ctx context.Context) (index, error)
	// rebuild moves a damaged index aside, fills a new one and opens it.
	rebuild func(ctx context.Context) (index, error)
	release func() error // gives back what the environment holds
	tune    func(*Disk)  // changes limits, nil for none
	ballast *ballast     // nil for none
}

// newDisk returns a Disk without an index.
func newDisk(dir string, fs vfs.FS, o Options) *Disk {
	d := &Disk{
		dir:     dir,
		log:     o.logger(),
		segs:    newSegments(fs),
		space:   &space{fs: fs, path: dir, reserve: o.Reserve},
		done:    make(chan struct{}),
		commits: commits{lead: make(chan struct{}, 1)},
		touched: newTouched(),
		quota:   newQuota(o),
		uses:    newUses(),
		vouched: newVouched(),

		collecting: make(chan struct{}, 1),
		wake:       make(chan struct{}, 1),
	}
	d.epoch.Store(1)
	d.lazy.fresh = make(map[string][]byte)
	d.pack = newPack(d.segs, d.space)
	d.buffers.New = func() any { b := make([]byte, maxBlock); return &b }
	return d
}

// openDisk opens a store on an environment, which it takes over.
func openDisk(ctx context.Context, dir string, env environment, o Options) (*Disk, error) {
	d, err := tryDisk(ctx, dir, env, env.openIndex, o)
	if isDamaged(err) {
		d, err = rebuildDisk(ctx, dir, env, o, err)
	}
	if err != nil {
		return nil, errors.Join(err, env.release())
	}
	d.release = env.release
	d.trim()
	if d.quota != nil {
		if err := d.quota.measure(d); err != nil {
			return nil, errors.Join(err, d.Close())
		}
	}
	return d, nil
}

// rebuildDisk opens a store whose index is of no use.
func rebuildDisk(ctx context.Context, dir string, env environment, o Options, why error) (*Disk, error) {
	o.logger().Warn("index is damaged and is built again from the segments", errorAttr(why))
	d, err := tryDisk(ctx, dir, env, env.rebuild, o)
	if err != nil {
		return nil, fmt.Errorf("build the index again (%w): %w", why, err)
	}
	return d, nil
}

func tryDisk(ctx context.Context, dir string, env environment, openIndex func(context.Context) (index, error), o Options) (_ *Disk, err error) {
	d := newDisk(dir, env.fs, o)
	d.space.ballast = env.ballast
	if env.tune != nil {
		env.tune(d)
	}
	if d.index, err = openIndex(ctx); err != nil {
		return nil, err
	}
	err = d.recover(ctx)
	if err == nil {
		err = d.index.get(metaScoped(), func([]byte) error { return nil })
		if errors.Is(err, errAbsent) {
			err = d.markPrivates(ctx)
		}
	}
	if err != nil {
		d.segs.close()
		if cerr := d.pack.close(); cerr != nil {
			err = errors.Join(err, cerr)
		}
		if cerr := d.index.close(); cerr != nil && !isDamaged(err) {
			err = errors.Join(err, cerr)
		}
		return nil, err
	}
	return d, nil
}

// isDamaged tells whether an error calls for a rebuild of the index.
func isDamaged(err error) bool {
	return errors.Is(err, errIndexDamaged) || errors.Is(err, errIndexLost) || errors.Is(err, errValue)
}

// trim makes the ballast again when there is room for it.
func (d *Disk) trim() {
	if room, err := d.segs.fs.Space(); err == nil && room.Free >= leastReserve {
		d.space.ballast.restore(room.Free)
	}
}

// now returns the time in nanoseconds since 1970, later at each call even when
// the machine's clock is set back.
func (d *Disk) now() int64 {
	for {
		last := d.clock.Load()
		t := max(last+1, time.Now().UnixNano())
		if d.clock.CompareAndSwap(last, t) {
			return t
		}
	}
}

// Close makes everything durable that was put and gives the repository free.
// Calls that run end first (Collect and Verify are cut short); later ones answer
// ErrClosed, writers that are neither committed nor aborted fail. Closing twice
// does nothing.
func (d *Disk) Close() error {
	if !d.gate.shut() {
		return nil
	}
	close(d.done)
	d.gate.wait()
	d.listing.Wait()
	d.flushUses()
	err := d.sync(context.Background())
	if errors.Is(err, ErrNoSpace) {
		d.log.Warn("blocks that were put and not synced are lost: the disk is full", slog.Any("error", err))
	}
	d.parts.Range(func(w, _ any) bool {
		if w, ok := w.(*fileWriter); ok {
			err = errors.Join(err, w.Abort())
		}
		return true
	})
	err = errors.Join(err, d.pack.close(), d.index.close())
	d.segs.close()
	if rerr := d.release(); rerr != nil {
		err = errors.Join(err, rerr)
	}
	if err != nil {
		return fmt.Errorf("close %s: %w", d.dir, err)
	}
	return nil
}

// long is enter for calls that take long: their context ends when the store is
// closed.
func (d *Disk) long(ctx context.Context) (_ context.Context, leave func(), err error) {
	if err := d.enter(ctx); err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	ended := make(chan struct{})
	var wait sync.WaitGroup
	wait.Go(func() {
		select {
		case <-d.done:
			cancel(ErrClosed)
		case <-ended:
		}
	})
	return ctx, func() {
		close(ended)
		wait.Wait()
		cancel(nil)
		d.gate.leave()
	}, nil
}

// gate lets calls in until it is shut.
type gate struct {
	mu     sync.Mutex
	closed bool
	inside sync.WaitGroup
}

func (g *gate) enter() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return ErrClosed
	}
	g.inside.Add(1)
	return nil
}

func (g *gate) leave() { g.inside.Done() }

// wait returns when nobody is inside a gate that was shut.
func (g *gate) wait() { g.inside.Wait() }

func (g *gate) isShut() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.closed
}

// shut returns false if the gate was shut already.
func (g *gate) shut() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	was := g.closed
	g.closed = true
	return !was
}
