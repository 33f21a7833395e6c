package xet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/hypha-node/hypha-node/connectors"
)

const (
	// batch is how much of a file one reconstruction is asked for: bytes. Its
	// URLs live for minutes, and the answer for so much is small.
	batch = 64 << 20
	// maxStage is how much of what comes in several ranges at once is kept until
	// its terms are due: bytes, stored and decoded.
	maxStage = 16 << 20
	// maxDrain is how much of an unwanted answer is read to keep its connection: bytes.
	maxDrain = 64 << 10
	// maxWaste is how much more than what it gives a body may fetch: bytes.
	maxWaste = 2 * maxXorb
)

// body is a range of a file being read: reconstruction after reconstruction,
// term after term, chunk after chunk.
type body struct {
	file   *file
	ask    func(off, end int64) (*plan, error)
	get    func(address, ranges string) (*http.Response, error)
	cancel context.CancelFunc

	pos, end int64 // of the file: the next byte, and where the range ends
	host     string
	lead     int64 // bytes before the first one that are thrown away

	plan    *plan
	due     int   // index of the term being read
	planned int64 // offset of the end of what the plan is for
	skip    int64 // bytes of the term that come before pos
	left    int64 // bytes of the term that were not decoded yet
	out     []byte
	run     run
	staged  []stage
	large   bool  // several ranges at once were too large to be kept
	renewed bool  // the plan was asked for once more since the last byte
	wasted  int64 // bytes that were fetched for nothing
	gave    int64 // bytes that were read
	failed  error // sticky

	mu     sync.Mutex
	answer io.Closer // of the run; nil: none
	closed bool
}

// run is an answer with chunks of a xorb, positioned between two.
type run struct {
	xorb   string
	chunks span // the next one, and the end
	from   *chunks
	rest   *io.LimitedReader // of the answer; nil: the chunks are kept
	kept   [][]byte
}

// stage is a range of a xorb that came together with others.
type stage struct {
	xorb   string
	chunks span
	data   [][]byte // of each chunk
	size   int64    // bytes of all
}

// newBody returns a body that has not begun.
func newBody(ctx context.Context, f *file, off, end int64) *body {
	ctx, cancel := context.WithCancel(ctx)
	return &body{
		file: f, pos: off, end: end, cancel: cancel, run: run{from: &chunks{}},
		ask: func(off, end int64) (*plan, error) { return f.plan(ctx, off, end) },
		get: func(address, ranges string) (*http.Response, error) { return f.xorb(ctx, address, ranges) },
	}
}

// begin asks for the first chunks.
func (b *body) begin() error {
	if err := b.renew(); err != nil {
		return err
	}
	err := b.term()
	b.lead = b.plan.skip + b.wasted
	return err
}

// renew asks of what the file is made from the next byte on.
func (b *body) renew() error {
	if b.pos >= b.planned {
		b.planned = min(b.end, b.pos+batch)
	}
	p, err := b.ask(b.pos, b.planned)
	if err != nil {
		return err
	}
	b.plan, b.due, b.staged, b.large = p, 0, nil, false
	b.enter()
	b.skip = p.skip
	return nil
}

// enter makes the term that is due the one being read.
func (b *body) enter() { b.skip, b.left = 0, b.plan.terms[b.due].size }

// Read returns the next bytes: those of a chunk at most.
func (b *body) Read(p []byte) (int, error) {
	for len(b.out) == 0 {
		switch {
		case b.failed != nil:
			return 0, b.failed
		case b.pos >= b.end:
			return 0, io.EOF
		}
		if err := b.fill(); err != nil {
			b.failed = err
			if !isConnector(err) {
				b.failed = b.file.upstream("read", err)
			}
		}
	}
	n := copy(p, b.out)
	b.out = b.out[n:]
	return n, nil
}

// fill decodes the next chunk, or goes on to where it is.
func (b *body) fill() error {
	switch {
	case b.left > 0:
		return b.decode()
	case b.pos >= b.planned:
		b.release()
		if err := b.renew(); err != nil {
			return err
		}
	default:
		b.due++
		b.enter()
	}
	return b.term()
}

// decode takes the next chunk of the term.
func (b *body) decode() error {
	chunk, err := b.run.next()
	if err != nil {
		return fmt.Errorf("xorb: %w", inside(err))
	}
	n := int64(len(chunk))
	b.left -= n
	if last := b.run.chunks.start == b.plan.terms[b.due].chunks.end; b.left < 0 || last != (b.left == 0) {
		return fmt.Errorf("%w: a term is not as long as it was said to be", errPlan)
	}
	cut := min(b.skip, n)
	b.skip -= cut
	if err := b.waste(cut); err != nil {
		return err
	}
	chunk = chunk[cut:]
	b.out = chunk[:min(int64(len(chunk)), b.end-b.pos)]
	b.pos += int64(len(b.out))
	if len(b.out) > 0 {
		b.gave, b.renewed = b.gave+int64(len(b.out)), false
	}
	if b.pos >= b.planned {
		b.left = 0 // nobody wants what the term has behind that
	}
	return nil
}

// term makes the chunks of the term that is due the next ones.
func (b *body) term() error {
	t := b.plan.terms[b.due]
	if r := &b.run; r.rest != nil && r.xorb == t.xorb && r.chunks.start == t.chunks.start && r.chunks.has(t.chunks) {
		return nil // it is what comes next in the same answer
	}
	b.release()
	b.staged = slices.DeleteFunc(b.staged, func(s stage) bool { return b.plan.last[s.xorb] < b.due })
	if b.unstage(t) {
		return nil
	}
	f, at, ok := b.plan.find(t)
	if !ok {
		return fmt.Errorf("%w: no URL for a term", errPlan)
	}
	err := b.open(f, at, t)
	if b.renewed || !isDenied(err) {
		return err
	}
	// A URL that has expired: there are new ones.
	b.renewed = true
	if err := b.renew(); err != nil {
		return err
	}
	return b.term()
}

// open asks for the range of a signed URL that holds a term: for all of its
// ranges at once, as it was signed, unless that is too much to be kept.
func (b *body) open(f fetch, at int, t term) error {
	b.host = hostOf(f.url)
	if len(f.ranges) > 1 && !b.large && f.size() <= b.room() {
		if err := b.fetchAll(f, t); err != nil || b.unstage(t) {
			return err
		}
		// They were too large when decoded: one by one.
	}
	r := f.ranges[at]
	resp, err := b.get(f.url, fetch{ranges: []packed{r}}.header()) //nolint:bodyclose // release and Close do
	if err != nil {
		return err
	}
	b.hold(resp.Body)
	if err := exactly(resp, r.bytes); err != nil {
		return err
	}
	rest := &io.LimitedReader{R: resp.Body, N: r.bytes.end - r.bytes.start}
	b.run.from.reset(rest)
	b.run = run{xorb: t.xorb, chunks: r.chunks, from: b.run.from, rest: rest}
	return b.wind(t)
}

// wind throws the chunks away that come before a term.
func (b *body) wind(t term) error {
	for b.run.chunks.start < t.chunks.start {
		chunk, err := b.run.next()
		if err != nil {
			return b.file.upstream("read", fmt.Errorf("xorb: %w", inside(err)))
		}
		if err := b.waste(int64(len(chunk))); err != nil {
			return err
		}
	}
	return nil
}

// waste counts bytes that are thrown away.
func (b *body) waste(n int64) error {
	if b.wasted += n; b.wasted > maxWaste+b.gave {
		return fmt.Errorf("%w: more is to be thrown away than it gives", errPlan)
	}
	return nil
}

// exactly tells whether an answer is that one range.
func exactly(resp *http.Response, want span) error {
	got, _, _ := strings.Cut(resp.Header.Get("Content-Range"), "/")
	if exact := fmt.Sprintf("bytes %d-%d", want.start, want.end-1); got != exact {
		return fmt.Errorf("%w: %.64q instead of %s", errParts, got, exact)
	}
	return nil
}

// next decodes the next chunk.
func (r *run) next() ([]byte, error) {
	if r.rest == nil {
		if len(r.kept) == 0 {
			return nil, io.EOF
		}
		chunk := r.kept[0]
		r.kept = r.kept[1:]
		r.chunks.start++
		return chunk, nil
	}
	chunk, err := r.from.next()
	if err == nil {
		r.chunks.start++
	}
	return chunk, err
}

// hold makes an answer the one that Close closes.
func (b *body) hold(answer io.Closer) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.answer = answer
	if b.closed {
		_ = answer.Close() // it was closed meanwhile
	}
}

// release ends the answer that is being read.
func (b *body) release() {
	if b.run.rest != nil && b.run.rest.N <= maxDrain {
		_, _ = io.Copy(io.Discard, b.run.rest.R) //nolint:errcheck // only to keep its connection
	}
	b.run = run{from: b.run.from}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.answer != nil {
		_ = b.answer.Close()
		b.answer = nil
	}
}

// Close ends the body, and a Read that waits. It may be called at any time.
func (b *body) Close() error {
	b.cancel()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	if b.answer != nil {
		return b.answer.Close()
	}
	return nil
}

// isDenied tells whether an error is what an expired URL gives.
func isDenied(err error) bool {
	ce, ok := errors.AsType[*connectors.Error](err)
	if !ok {
		return false
	}
	switch ce.Status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusGone:
		return true
	}
	return false
}

// isConnector tells whether an error says already where it is from.
func isConnector(err error) bool {
	_, ok := errors.AsType[*connectors.Error](err)
	return ok
}
