package crew

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// Open opens n bytes of the content from off on at the origin, or all to its end when
// n < 0. parts is false where the origin can't send less than all: such a body is not
// read for a range.
type Open func(ctx context.Context, off, n int64) (body io.ReadCloser, parts bool, err error)

// Reader gives the content in order, from the origin and from members. Read and Close
// are of one goroutine each.
type Reader struct {
	sh      *Share
	start   int64
	cancel  context.CancelFunc
	done    func() error // why it ends; nil while it does not
	rest    func(off int64) (io.ReadCloser, error)
	begin   func(sl *slot, from *member) // fetches a range
	running sync.WaitGroup

	// Guarded by Share.mu.
	pos    int64         // of the next byte
	lone   io.ReadCloser // one stream of the origin from pos on; nil while ranges are shared
	slots  map[int]*slot // ranges in memory
	free   [][]byte
	taken  int64             // bytes of Config.Memory
	asking int               // ranges that the origin is asked for
	seen   map[int]time.Time // since when a range waits for somebody to claim it
	began  time.Time
	moved  time.Time     // since when the reader is where it is
	pace   time.Duration // that a range of a member takes; 0 if it is not known
	each   time.Duration // the same of the origin
	failed error         // of the origin
	alone  bool          // the origin can't send ranges
	over   bool          // nothing is begun any more
}

// slot is a range in memory, or on its way there.
type slot struct {
	off    int64
	buf    []byte
	filled int
	busy   bool
	from   peer.ID // "": the origin
	began  time.Time
	moved  time.Time
	cancel context.CancelFunc
	left   bool // to a member
}

// Open returns what reads the content from off on. lone is a stream of the origin that
// begins there, or nil; the Reader closes it. Who opens calls Close before Leave.
func (sh *Share) Open(ctx context.Context, off int64, lone io.ReadCloser, open Open) *Reader {
	ctx, cancel := context.WithCancel(ctx)
	r := &Reader{
		sh: sh, start: off, pos: off, lone: lone, cancel: cancel,
		slots: make(map[int]*slot), seen: make(map[int]time.Time), began: time.Now(), moved: time.Now(),
		done: func() error { return context.Cause(ctx) },
	}
	r.rest = func(off int64) (io.ReadCloser, error) {
		body, _, err := open(ctx, off, -1)
		return body, err
	}
	r.begin = func(sl *slot, from *member) {
		ctx, cancel := context.WithCancel(ctx)
		sl.cancel = cancel
		r.running.Go(func() {
			defer cancel()
			if from != nil {
				r.fromMember(ctx, sl, from)
				return
			}
			r.fromOrigin(sl, func(off, n int64) (io.ReadCloser, bool, error) { return open(ctx, off, n) })
		})
	}
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.r = r
	sh.at = int(off / sh.step)
	context.AfterFunc(ctx, func() {
		sh.mu.Lock()
		defer sh.mu.Unlock()
		sh.tell()
	})
	sh.tell()
	return r
}

// end returns where a range ends.
func (sh *Share) end(i int) int64 { return min(int64(i+1)*sh.step, sh.content.Size) }

// Read gives the next bytes.
func (r *Reader) Read(p []byte) (int, error) {
	sh := r.sh
	sh.mu.Lock()
	defer sh.mu.Unlock()
	for {
		switch {
		case r.done() != nil:
			return 0, r.done()
		case r.pos >= sh.content.Size:
			return 0, io.EOF
		case len(p) == 0:
			return 0, nil
		case r.lone != nil && !r.leaves():
			return r.stream(p)
		case r.lone != nil:
			r.drop()
		}
		i := int(r.pos / sh.step)
		if sl := r.slots[i]; sl != nil && sl.filled == len(sl.buf) {
			return r.give(p, i, sl), nil
		}
		if r.goesAlone(i) {
			if err := r.reopen(); err != nil {
				return 0, err
			}
			continue
		}
		if err := r.hopeless(i); err != nil {
			return 0, err
		}
		changed := sh.changed
		sh.mu.Unlock()
		<-changed // also when the reader's context ends
		sh.mu.Lock()
	}
}

// leaves tells whether ranges are shared from here on.
func (r *Reader) leaves() bool {
	return !r.alone && (r.pos%r.sh.step == 0 || r.pos == r.start) && r.sh.crowded(time.Now())
}

// stream reads the one stream up to the end of its range.
func (r *Reader) stream(p []byte) (int, error) {
	sh, i := r.sh, int(r.pos/r.sh.step)
	p = p[:min(int64(len(p)), sh.end(i)-r.pos)]
	if r.pos == int64(i)*sh.step {
		sh.mine.put(i, true)
		sh.tell()
	}
	lone := r.lone
	sh.mu.Unlock()
	n, err := lone.Read(p)
	sh.mu.Lock()
	r.pos += int64(n)
	sh.origin += int64(n)
	if r.pos == sh.end(i) {
		sh.at = i + 1
		sh.got.put(i, sh.mine.has(i))
	}
	if len(sh.members) > 0 {
		sh.tell()
	}
	if err == io.EOF && r.pos < sh.content.Size {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// drop ends the one stream.
func (r *Reader) drop() {
	lone := r.lone
	r.lone = nil
	r.moved = time.Now()
	r.sh.mu.Unlock()
	_ = lone.Close() // it was only read
	r.sh.mu.Lock()
	r.sh.tell()
}

// give copies out of a range that is here.
func (r *Reader) give(p []byte, i int, sl *slot) int {
	sh := r.sh
	n := copy(p, sl.buf[r.pos-sl.off:])
	r.pos += int64(n)
	if sl.from == "" {
		sh.origin += int64(n)
	} else {
		sh.peers += int64(n)
	}
	if r.pos < sh.end(i) {
		return n
	}
	if sl.from != "" {
		sh.parts = append(sh.parts, Part{sl.from.String(), sl.off, int64(len(sl.buf))})
	}
	delete(r.slots, i)
	delete(r.seen, i)
	delete(sh.claims, i)
	r.free = append(r.free, sl.buf[:cap(sl.buf)])
	r.moved = time.Now()
	sh.at = i + 1
	sh.tell()
	return n
}

// goesAlone tells whether one stream of the origin is to be opened: there is nobody, or
// the origin can't send ranges and nobody has this one.
func (r *Reader) goesAlone(i int) bool {
	sh, now := r.sh, time.Now()
	if r.failed != nil || sh.no && !r.alone {
		return false
	}
	if r.alone {
		return !sh.claimed(i, now)
	}
	if sh.crowded(now) || r.waits(now) {
		return false
	}
	for _, sl := range r.slots {
		if sl.busy || sl.filled == len(sl.buf) {
			return false
		}
	}
	return true
}

// reopen opens one stream of the origin.
func (r *Reader) reopen() error {
	sh := r.sh
	pos := r.pos
	sh.mu.Unlock()
	body, err := r.rest(pos)
	sh.mu.Lock()
	if err != nil {
		return err
	}
	r.lone = body
	return nil
}

// hopeless returns why the range won't come, if it won't.
func (r *Reader) hopeless(i int) error {
	if r.failed == nil {
		return nil
	}
	sh, now := r.sh, time.Now()
	if sl := r.slots[i]; sl != nil && sl.busy || now.Sub(r.moved) < hopeTime && sh.hopes(i, now) {
		return nil
	}
	return r.failed
}

// Close ends the reader and what it has under way.
func (r *Reader) Close() error {
	r.cancel()
	sh := r.sh
	sh.mu.Lock()
	r.over = true
	lone := r.lone
	r.lone = nil
	sh.mu.Unlock()
	var err error
	if lone != nil {
		err = lone.Close()
	}
	r.running.Wait()
	sh.mu.Lock()
	defer sh.mu.Unlock()
	clear(r.slots)
	r.free = nil
	if r.taken > 0 {
		sh.s.cfg.Memory.Give(r.taken)
		r.taken = 0
	}
	if err != nil {
		return fmt.Errorf("close the origin's stream: %w", err)
	}
	return nil
}

// note tells of a range that has come, for who looks at what became of a crew.
func (r *Reader) note(sl *slot, from string) {
	if log := r.sh.s.log; log.Enabled(context.Background(), slog.LevelDebug) {
		log.Debug("range came", slog.String("from", from), slog.Int64("offset", sl.off), slog.Int("bytes", len(sl.buf)),
			slog.Duration("after", time.Since(sl.began)))
	}
}
