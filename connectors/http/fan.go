package httpconn

import (
	"context"
	"errors"
	"sync"
	"time"
)

// fan reads the rest of a content over several connections, in parts:
//
//  1. Each connection takes the next part, within the window, and fills it; the
//     reader takes the bytes in order.
//  2. Every half second the pilot compares what came: one connection more is kept
//     if it brought 5 % more in all.
//  3. A part whose connection breaks after it gave bytes is asked for again from
//     there, at once. A connection that fails without giving any leaves; another
//     one takes its part. 429 and 503 send half of them away.
//  4. When nothing is left to take, the slowest part is fetched a second time, and
//     whoever is first counts.
//  5. When one connection is left, or none, the fan lands: the stream goes on by
//     itself where the bytes end.
//
// So a fan never fails because of a connection that the stream could do without;
// only a part of another version ends the content.
type fan struct {
	client *Client
	scouts *scouts
	stream *stream // what probes are made of; not read from
	cancel context.CancelFunc
	done   func() error // why the fan's context has ended; nil if it has not
	work   func(w *worker)
	group  sync.WaitGroup

	mu    sync.Mutex
	cond  *sync.Cond
	mem   chunks
	parts []*part // in order, without twins
	pos   int64   // offset of the next byte to be read
	next  int64   // offset of the first byte that is in no part
	end   int64
	err   error // ends the content
	cause error // why the fan lands early; nil if it need not
	spent int64 // bytes that were, or may be, fetched twice

	want      int // connections that there are to be
	running   int
	workers   []*worker // that have not ended
	notBefore time.Time // no request before that: an origin has asked for it
	pilot     pilot
}

// worker is one connection of a fan. It is locked by the fan.
type worker struct {
	part  *part   // what it begins with
	speed float64 // of what it brought last: bytes per second; 0: unknown
	slot  bool    // it counts at the host
}

// errLanded says that a fan has nothing more to give, for the stream goes on.
var errLanded = errors.New("landed")

// newFan returns a fan over the answers that are open already, nil if there is no
// memory for them. The last one is the scout's.
func newFan(ctx context.Context, x *scouts, s *stream, parts []*part) *fan {
	ctx, cancel := context.WithCancel(ctx)
	f := &fan{
		client: x.client, scouts: x, stream: s, cancel: cancel,
		mem: chunks{memory: x.client.cfg.Memory}, parts: parts,
		pos: s.pos, next: parts[len(parts)-1].end, end: s.end, want: len(parts),
	}
	f.cond = sync.NewCond(&f.mu)
	f.done = func() error { return context.Cause(ctx) }
	for _, p := range parts {
		n := chunksFor(p.left())
		if p.chunks = f.mem.take(n); len(p.chunks) < n {
			cancel()
			f.mem.close()
			return nil
		}
	}
	f.work = func(w *worker) { f.run(ctx, w) }
	f.pilot = pilot{base: x.rate, since: time.Now()}
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, p := range parts {
		p.busy = &attempt{} // nobody else takes it before its worker does
		w := &worker{part: p, slot: i > 0}
		if i > 0 {
			f.pilot.newest = w
		}
		f.start(w)
	}
	f.group.Go(func() { f.steer(ctx) })
	return f
}

// start starts a worker; f is locked.
func (f *fan) start(w *worker) {
	f.running++
	f.workers = append(f.workers, w)
	f.group.Go(func() { f.work(w) })
}

// wake lets everybody look again.
func (f *fan) wake() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cond.Broadcast()
}

// read returns the next bytes, errLanded where they end.
func (f *fan) read(b []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for {
		switch {
		case f.err != nil:
			return 0, f.err
		case f.done() != nil:
			return 0, f.done()
		case len(f.parts) > 0 && f.parts[0].at > f.pos:
			return f.take(b), nil
		case len(f.parts) > 0 && f.parts[0].end == f.pos:
			f.free(f.parts[0], len(f.parts[0].chunks))
			f.parts = f.parts[1:]
			continue
		case f.running == 0:
			return 0, errLanded
		}
		f.cond.Wait()
	}
}

// take copies bytes of the first part out, and gives the chunks back that are
// read; f is locked, but not while it copies: what was received stays.
func (f *fan) take(b []byte) int {
	p, n := f.parts[0], 0
	for n < len(b) && f.pos < p.at {
		from := p.bytes(f.pos)
		f.mu.Unlock()
		m := copy(b[n:], from)
		f.mu.Lock()
		n += m
		f.pos += int64(m)
		if i := (f.pos - p.base) / chunkSize; (f.pos-p.base)%chunkSize == 0 {
			f.free(p, int(i))
		}
	}
	return n
}

// free gives the first n chunks of a part back; f is locked.
func (f *fan) free(p *part, n int) {
	for i, b := range p.chunks[:n] {
		switch {
		case b == nil:
			continue
		case p.shared:
			f.mem.drop()
		default:
			f.mem.give(b)
		}
		p.chunks[i] = nil
	}
	f.cond.Broadcast()
}

// fail ends the content with an error; f is locked.
func (f *fan) fail(err error) {
	if f.err == nil {
		f.err = err
	}
	f.want = 0
	f.cond.Broadcast()
}

// close ends the fan and waits for its connections. It returns why it landed, nil
// if it need not have.
func (f *fan) close() error {
	f.cancel()
	f.group.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range f.parts {
		if p.seg != nil {
			_ = p.seg.body.Close()
		}
	}
	f.parts = nil
	f.mem.close()
	return f.cause
}
