package httpconn

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hypha-node/hypha-node/connectors"
)

// Target is a file at an origin.
type Target struct {
	URL      string      // absolute, http or https
	Secret   http.Header // credentials and custom headers, for the URL's own origin
	Operator bool        // on behalf of the operator
	Size     int64       // bytes, when it is known beforehand; else -1. Another size is an error
	// Digest says that a digest known beforehand will be checked by the
	// reader: then a broken body may be resumed even without a validator.
	Digest  bool
	Explain Explain // nil: by status
	// Opened is told the fields of the answer that a content was opened with. Nil:
	// nobody is.
	Opened func(http.Header)
	Sign   Sign // nil: requests are not signed
	// IfMatch says that the origin knows If-Match and no If-Range, as S3: what
	// lacks of a content is asked for with the entity tag of what is here.
	IfMatch bool
	// Check judges the first bytes (at most 64) of a content that is opened
	// from its beginning; its error refuses the content. Nil: nothing to check.
	Check func(head []byte) error
	// Other is another way to the content, that a stream may change over to and
	// back; OtherFirst says that it begins there. Nil, or where neither Size nor
	// Digest are known: there is only the URL.
	Other      Transport
	OtherFirst bool
}

// headSize is how much of a content Target.Check sees: bytes.
const headSize = 64

// Open opens n bytes of a file from offset off, or all to the end when n < 0.
// It returns when the first answer is there; the stream resumes by itself
// (see the package comment) until ctx ends or it is closed. cond, if not empty,
// is the Meta of an earlier Body. With offset 0, connectors.ErrNotModified says
// that it is still current. Behind that, the bytes are those of the very content
// that cond is of, else it is a connectors.ErrChanged; when a digest will be
// checked, that is left to the digest.
func (c *Client) Open(ctx context.Context, t Target, off, n int64, cond []byte) (*connectors.Body, error) {
	if off < 0 {
		return nil, fail("open", t.URL, fmt.Errorf("%w: negative offset", connectors.ErrInvalid))
	}
	since := parseMeta(cond)
	if off == 0 && since.Until > time.Now().Unix() {
		return nil, connectors.ErrNotModified
	}
	s := &stream{target: t, ways: waysOf(t), budget: c.budget(), start: off, pos: off, end: -1, total: t.Size}
	if n >= 0 {
		s.end = off + n
	}
	if off > 0 {
		if err := s.goOn(cond); err != nil {
			return nil, err
		}
		since = validator{}
	}
	ctx, cancel := context.WithCancel(ctx)
	s.cancel = cancel
	s.done = func() error { return context.Cause(ctx) }
	s.spend = func(err error) error { return s.mend(ctx, c, err) }
	s.ask = func(since validator) (*segment, error) {
		seg, err := s.open(ctx, since, c.resolve)
		if err == nil && !s.judged && c.divisible(s, seg) {
			s.scouts = newScouts(ctx, c, seg)
		}
		s.judged = s.judged || err == nil
		return seg, err
	}
	seg, err := s.next(since)
	if err == nil {
		err = s.check()
	}
	if err != nil {
		_ = s.Close() // returns nil
		return nil, err
	}
	if t.Opened != nil {
		t.Opened(seg.header)
	}
	return &connectors.Body{
		ReadCloser: s,
		Size:       s.total,
		ETag:       s.pinned.ETag,
		SHA256:     digestOf(seg.header),
		Meta:       s.pinned.meta(),
		Shared:     isShared(seg.header),
		Unframed:   seg.unframed && s.target.Size < 0,
		Unparted:   !seg.part && (off > 0 || n >= 0),
		Late:       s.late.Load,
		Via:        s.ways.by,
	}, nil
}

// goOn makes a stream begin with the content that cond is of, if there is one.
func (s *stream) goOn(cond []byte) error {
	if len(cond) == 0 || s.target.Digest {
		return nil
	}
	v := parseMeta(cond)
	if v.strong() == "" {
		return s.untold()
	}
	s.pinned, s.goesOn = &v, true
	return nil
}

// stream is the content from pos on, over as many answers as it takes.
type stream struct {
	target Target
	cancel context.CancelFunc
	done   func() error                            // why the stream's context has ended; nil if it has not
	ask    func(since validator) (*segment, error) // one request for pos…end
	spend  func(error) error                       // waits before the next attempt, or returns why not
	ways   ways
	late   atomic.Pointer[[sha256.Size]byte] // digest of the content that came behind it

	mu     sync.Mutex // held by Read; Close ends a Read by cancel first
	budget *budget
	seg    *segment // the answer being read; nil between two
	start  int64    // offset of the first byte
	pos    int64    // offset of the next byte
	end    int64    // where the stream ends; -1 while unknown
	total  int64    // bytes of the whole content; -1 while unknown
	pinned *validator
	goesOn bool    // bytes of the pinned content were handed out before start
	head   []byte  // bytes before pos that were read ahead
	judged bool    // the first answer of this way has told whether there are scouts
	scouts *scouts // decides about more connections; nil: there will be one
	fan    *fan    // reads on over several connections; nil: seg does over one
	failed error   // sticky
}

// check reads the first bytes ahead and lets the target judge them.
func (s *stream) check() error {
	if s.target.Check == nil || s.start != 0 {
		return nil
	}
	head := make([]byte, headSize)
	n, err := io.ReadFull(s, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return err
	}
	s.head = head[:n]
	return s.target.Check(s.head)
}

// Read returns the next bytes, as large as the socket gives them.
func (s *stream) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case s.failed != nil:
			return 0, s.failed
		case len(s.head) == 0 && s.end >= 0 && s.pos >= s.end:
			return 0, io.EOF
		case s.done() != nil:
			s.failed = s.done()
			continue
		case len(s.head) > 0:
			n := copy(p, s.head)
			s.head = s.head[n:]
			return n, nil
		case len(p) == 0:
			return 0, nil
		}
		if n := s.fill(p); n > 0 {
			return n, nil
		}
	}
}

// fill reads from the current answer, or asks for the next one, or reads what
// several connections bring. What goes wrong is kept or mended.
func (s *stream) fill(p []byte) int {
	if s.fan != nil {
		return s.glide(p)
	}
	if s.seg == nil {
		if _, err := s.next(validator{}); err != nil {
			s.failed = err
			return 0
		}
	}
	if s.end >= 0 {
		p = p[:min(int64(len(p)), s.end-s.pos)]
	}
	if s.scouts != nil && s.scouts.report(s) {
		return 0 // from here on there is a fan
	}
	began := time.Now()
	n, err := s.seg.read(p)
	s.scouts.note(n, time.Since(began))
	if n > 0 {
		s.pos += int64(n)
		s.ways.count(n)
		s.budget.progress(n)
	}
	if err != nil {
		s.finish(err)
	}
	return n
}

// finish ends the current answer: at its proper end, or for another try.
func (s *stream) finish(err error) {
	whole, moved := s.seg.whole, s.seg.moved
	if err == io.EOF && s.seg.behind != nil { //nolint:errorlint // segments return io.EOF itself
		s.late.Store(digestOf(s.seg.behind()))
	}
	s.drop()
	if errors.Is(err, errBeyond) {
		s.failed = s.final("the content ends before offset %d", s.pos)
		return
	}
	if err == io.EOF { //nolint:errorlint // segments return io.EOF itself
		switch {
		case s.end >= 0 && s.pos >= s.end:
			return
		case whole && s.total < 0:
			s.end, s.total = s.pos, s.pos // the answer told no length: this is it
			return
		case moved && s.resumable():
			return // a part shorter than asked for: the rest is asked for next
		}
		err = io.ErrUnexpectedEOF
	}
	broken := fail("read", s.target.URL, fmt.Errorf("%w: body broke at byte %d: %w", connectors.ErrUpstream, s.pos, err))
	if !s.resumable() {
		broken.Err = fmt.Errorf("%w; it can't be resumed, for the origin sent no strong validator", broken.Err)
		s.failed = broken
		return
	}
	if err := s.spend(broken); err != nil {
		s.failed = err
	}
}

// resumable tells whether the rest of the content can be asked for without
// mixing two versions of it.
func (s *stream) resumable() bool {
	return s.pinned == nil || s.pinned.strong() != "" || s.target.Digest || s.pos == s.start
}

// next asks for the content from pos on until there is an answer to read.
func (s *stream) next(since validator) (*segment, error) {
	for {
		seg, err := s.ask(since)
		if err == nil {
			s.seg = seg
			return seg, nil
		}
		if errors.Is(err, connectors.ErrNotModified) {
			return nil, err
		}
		if err := s.spend(err); err != nil {
			return nil, err
		}
	}
}

// drop closes the current answer. Its error says nothing that matters: the
// bytes it gave are counted already.
func (s *stream) drop() {
	if s.seg != nil {
		_ = s.seg.body.Close()
		s.seg = nil
	}
}

// glide reads what several connections bring. Where they end, whether they have
// to or not, one goes on.
func (s *stream) glide(p []byte) int {
	n, err := s.fan.read(p)
	if n > 0 {
		s.pos += int64(n)
		s.ways.count(n)
		s.budget.progress(n)
		return n
	}
	cause := s.fan.close()
	s.fan = nil
	switch {
	case !errors.Is(err, errLanded):
		s.failed = err
	case s.pos < s.end:
		s.scouts.landed(cause)
		if again, _ := transient(cause, true); again {
			s.failed = s.spend(cause)
		}
	}
	return 0
}

// Close ends the stream; a Read that waits returns.
func (s *stream) Close() error {
	s.cancel()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop()
	if s.fan != nil {
		_ = s.fan.close() // why it would have landed matters no more
		s.fan = nil
	}
	s.scouts.close()
	if s.failed == nil {
		s.failed = errClosed
	}
	return nil
}

// errClosed is what a Read after Close gives.
var errClosed = errors.New("read of a closed body")
