package httpconn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/hypha-node/hypha-node/connectors"
)

// transportHTTP is what the way to a content over its URL is called.
const transportHTTP = "http"

// maxLead is how much may come before a part that another transport gives: bytes.
const maxLead = 1 << 20

// patience is how long a transport may ask to wait where there is another one.
const patience = 5 * time.Second

// Transport is another way to the bytes of a content than its URL. Where one way
// fails, a stream goes on with the other one, at the byte where it is.
type Transport interface {
	Name() string // for answers' metadata, logs and errors
	// Open opens the bytes from off to end, once: it does not retry. It may be
	// called concurrently. Errors are *connectors.Error.
	Open(ctx context.Context, off, end int64) (*Passage, error)
}

// Passage is a range of a content, opened by a Transport. Close may be called
// during a Read, and ends it.
type Passage struct {
	io.ReadCloser
	Host string // "host[:port]" that it comes from
	Lead int64  // bytes that have to be fetched before its first one
}

// ways is by which transport a stream reads.
type ways struct {
	second Transport // nil: there is none but HTTP
	other  bool      // it is the one being read by
	left   error     // why the other way was left, without a byte since; nil if it was not
	moved  [2]atomic.Int64
}

// waysOf returns the ways to a target. Only a digest can tell that the bytes of
// two transports belong together.
func waysOf(t Target) ways {
	if t.Other == nil || !t.Digest || t.Size < 0 {
		return ways{}
	}
	return ways{second: t.Other, other: t.OtherFirst}
}

// count notes bytes that were handed out.
func (w *ways) count(n int) {
	i := 0
	if w.other {
		i = 1
	}
	w.moved[i].Add(int64(n))
	w.left = nil
}

// by returns how many bytes each transport has brought.
func (w *ways) by() map[string]int64 {
	all := map[string]int64{}
	for i := range w.moved {
		if n := w.moved[i].Load(); n > 0 {
			all[w.name(i == 1)] = n
		}
	}
	return all
}

// name names a transport.
func (w *ways) name(other bool) string {
	if other {
		return w.second.Name()
	}
	return transportHTTP
}

// open opens what the stream lacks by the transport that it reads by.
func (s *stream) open(ctx context.Context, since validator, send sender) (*segment, error) {
	if !s.ways.other {
		return s.request(ctx, since, send)
	}
	if s.total < 0 {
		s.total = s.target.Size
	}
	if s.end < 0 || s.end > s.total {
		s.end = s.total
	}
	if err := s.beyond(s.total); err != nil {
		return nil, err
	}
	if s.pinned == nil {
		s.pinned = &validator{}
	}
	seg := &segment{body: http.NoBody, header: http.Header{}, left: s.end - s.pos, whole: s.end == s.total, part: true}
	if seg.left > 0 {
		p, err := s.ways.second.Open(ctx, s.pos, s.end)
		if err != nil {
			return nil, err
		}
		seg.body, seg.lead, seg.place.url = p, p.Lead, &url.URL{Host: p.Host}
	}
	return seg, nil
}

// mend waits until the next attempt is due. Where there is to be none, or while
// the other transport is worth trying first, it changes over to that. It returns
// why the stream ends otherwise.
func (s *stream) mend(ctx context.Context, c *Client, err error) error {
	fresh := s.ways.second != nil && s.ways.left == nil
	s.budget.most, s.budget.patience = c.cfg.Retries, maxWait
	if fresh {
		s.budget.most, s.budget.patience = min(c.cfg.Retries, 1), patience
	}
	err = s.budget.spend(ctx, err)
	if err == nil || ctx.Err() != nil {
		return err
	}
	if !fresh || !s.ways.other && !errors.Is(err, connectors.ErrUpstream) {
		return s.ways.both(err) // who may not have a content gets it on no way
	}
	from := s.ways.name(s.ways.other)
	s.ways.left, s.ways.other = err, !s.ways.other
	c.cfg.Logger.WarnContext(ctx, "content is read on over another transport", slog.String("from", from),
		slog.String("to", s.ways.name(s.ways.other)), slog.Int64("offset", s.pos), slog.Any("error", err))
	s.budget = c.budget()
	s.scouts.close()
	s.scouts, s.judged = nil, false
	if s.pinned != nil && s.pinned.strong() == "" {
		s.pinned = nil // the other way's answers say what they are
	}
	return nil
}

// both makes one error of those of both transports: that of HTTP, whose hub says
// best what is wrong, with a word on the other one.
func (w *ways) both(err error) error {
	if w.left == nil {
		return err
	}
	first, second := err, w.left
	if w.other {
		first, second = w.left, err
	}
	ce, ok := errors.AsType[*connectors.Error](first)
	if !ok {
		return err
	}
	also := second
	if other, ok := errors.AsType[*connectors.Error](second); ok {
		also = other.Err
	}
	all := *ce
	all.Err = fmt.Errorf("over %s: %w; over %s: %v", transportHTTP, ce.Err, w.second.Name(), also) //nolint:errorlint // what kind of failure it is, the first one tells
	return &all
}
