package dag

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/hypha-node/hypha-node/internal/sha256pair"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
)

// How many blocks are asked for at once. boxo's server forgets wants beyond
// 1024 of a peer, and its client sends single wants 20 ms late but 256 at once.
const (
	maxWants  = 512
	wantBatch = 64               // wants that are worth a request
	keptWants = 4                // of those that came
	wantDelay = time.Millisecond // how long fewer of them wait for company
)

// wants turns blocking requests for single blocks, of any number of goroutines,
// into few requests for many, and watches that something comes.
type wants struct {
	src Fetcher
	o   *CopyOptions

	mu     sync.Mutex
	all    map[string]*want // asked for or queued, by CID
	queue  []*want
	flying int // asked for
	last   time.Time
	stalls int              // reported since last
	recent map[string]*want // the last that came: a block that repeats is asked for once
	order  []string         // of recent
	kick   chan struct{}    // there is something to ask for, or nothing more to come
	ended  bool
}

// want is one block that is wanted.
type want struct {
	cid  cid.Cid
	done chan struct{} // closed when data or err is there
	data []byte
	step sha256pair.Step
	err  error
}

// stepped is a Block whose source has hashed its bytes as part of a content, too.
type stepped interface {
	HashStep() sha256pair.Step
}

func newWants(src Fetcher, o *CopyOptions) *wants {
	return &wants{src: src, o: o, all: make(map[string]*want), recent: make(map[string]*want), kick: make(chan struct{}, 1)}
}

// get waits for a block.
func (w *wants) get(ctx context.Context, c cid.Cid) ([]byte, error) {
	data, _, err := w.stepped(ctx, c)
	return data, err
}

// stepped is get, with the step that a block came with.
func (w *wants) stepped(ctx context.Context, c cid.Cid) (data []byte, step sha256pair.Step, err error) {
	if err := checkCID(c); err != nil {
		return nil, step, err
	}
	if data, ok := identity(c); ok {
		return data, step, nil
	}
	return w.want(c).wait(ctx)
}

// wait returns the block when it has come.
func (t *want) wait(ctx context.Context) (data []byte, step sha256pair.Step, err error) {
	select {
	case <-t.done:
		return t.data, t.step, t.err
	case <-ctx.Done():
		return nil, step, context.Cause(ctx)
	}
}

// want queues a block unless somebody else wants it, too.
func (w *wants) want(c cid.Cid) *want {
	w.mu.Lock()
	defer w.mu.Unlock()
	key := c.KeyString()
	if t := w.recent[key]; t != nil {
		return t
	}
	t := w.all[key]
	if t == nil {
		t = &want{cid: c, done: make(chan struct{})}
		if len(w.all) == 0 {
			w.last, w.stalls = time.Now(), 0
		}
		w.all[key] = t
		w.queue = append(w.queue, t)
		w.wake()
	}
	return t
}

// wake makes run look at the queue.
func (w *wants) wake() {
	select {
	case w.kick <- struct{}{}:
	default:
	}
}

// stop ends run; nobody calls get afterwards.
func (w *wants) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = true
	w.wake()
}

// run asks for what is wanted until stop is called. Whoever waits for a block
// when run fails is told why.
func (w *wants) run(ctx context.Context) (err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	var readers sync.WaitGroup
	defer readers.Wait()
	defer func() { cancel(err) }()
	tick := time.NewTicker(max(min(w.o.Stall, w.o.Timeout)/8, time.Millisecond))
	defer tick.Stop()
	delay := time.NewTimer(wantDelay)
	defer delay.Stop()
	waits, waited := true, false // delay runs; it has run out
	for {
		batch, wait, ended := w.next(waited)
		waited = false
		if ended {
			return nil
		}
		if wait && !waits {
			delay.Reset(wantDelay)
			waits = true
		}
		if len(batch) > 0 {
			cs := make([]cid.Cid, len(batch))
			for i, t := range batch {
				cs[i] = t.cid
			}
			ch, err := w.src.GetBlocks(ctx, cs)
			if err != nil {
				return fmt.Errorf("block %s: %w", cs[0], err)
			}
			readers.Go(func() { w.read(ctx, ch, batch) })
			continue
		}
		select {
		case <-w.kick:
		case <-delay.C:
			waits, waited = false, true
		case <-tick.C:
			if err := w.watch(); err != nil {
				return err
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// next takes from the queue what is to be asked for now. Without anything it
// tells whether there is something that waits for company.
func (w *wants) next(waited bool) (batch []*want, wait, ended bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := min(len(w.queue), maxWants-w.flying)
	if n < wantBatch && w.flying > 0 && !waited {
		return nil, n > 0, w.ended
	}
	batch = w.queue[:n:n]
	w.queue = w.queue[n:]
	w.flying += n
	return batch, false, w.ended
}

// read takes in what comes of a batch. Bytes that nobody asked for are dropped.
func (w *wants) read(ctx context.Context, ch <-chan blocks.Block, batch []*want) {
	left := make(map[string]*want, len(batch))
	for _, t := range batch {
		left[t.cid.KeyString()] = t
	}
	for len(left) > 0 {
		var blk blocks.Block
		var ok bool
		select {
		case blk, ok = <-ch:
		case <-ctx.Done(): // an exchange that does not close its channel is not waited for
		}
		if !ok {
			break
		}
		key := blk.Cid().KeyString()
		if t := left[key]; t != nil {
			delete(left, key)
			data, err := checkBlock(t.cid, blk)
			if err == nil && w.o.Pace != nil {
				err = w.o.Pace(ctx, len(data))
			}
			if s, ok := blk.(stepped); ok {
				t.step = s.HashStep()
			}
			w.settle(t, data, err)
		}
	}
	for _, t := range left {
		err := context.Cause(ctx)
		if err == nil {
			err = ipld.ErrNotFound{Cid: t.cid}
		}
		w.settle(t, nil, err)
	}
}

// settle gives a want its block, or an error.
func (w *wants) settle(t *want, data []byte, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	key := t.cid.KeyString()
	t.data, t.err = data, err
	close(t.done)
	delete(w.all, key)
	w.flying--
	if err == nil {
		w.last, w.stalls = time.Now(), 0
	}
	if err == nil {
		w.recent[key] = t
		if w.order = append(w.order, key); len(w.order) > keptWants {
			delete(w.recent, w.order[0])
			w.order = w.order[1:]
		}
	}
	if len(w.queue) > 0 {
		w.wake()
	}
}

// watch reports and ends what makes no progress.
func (w *wants) watch() error {
	w.mu.Lock()
	idle := time.Since(w.last)
	var missing cid.Cid
	for _, t := range w.all {
		missing = t.cid
		break
	}
	if !missing.Defined() {
		w.mu.Unlock()
		return nil
	}
	report := idle >= w.o.Stall*time.Duration(w.stalls+1)
	if report {
		w.stalls++
	}
	w.mu.Unlock()
	if idle >= w.o.Timeout {
		return fmt.Errorf("block %s: nobody sent it in %v: %w", missing, w.o.Timeout, ErrNoProgress)
	}
	if report && w.o.OnStall != nil {
		w.o.OnStall(missing)
	}
	return nil
}
