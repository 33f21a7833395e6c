package httpconn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/hypha-node/hypha-node/connectors"
)

// segment is one answer, positioned at the byte that the stream wants next.
type segment struct {
	body     io.ReadCloser
	header   http.Header
	place    place              // where it came from
	skip     int64              // bytes to throw away first
	left     int64              // bytes of it after skip; -1 when only the end of the body tells
	moved    bool               // it has given a byte
	whole    bool               // it goes to the end of the content
	part     bool               // it is the range that was asked for, not the whole content
	unframed bool               // the body ends when the connection does
	behind   func() http.Header // fields that came behind the body, once that has ended; nil: none can
	lead     int64              // bytes that another transport throws away before it
}

// read reads on; io.EOF when all that the answer promised is read, and
// io.ErrUnexpectedEOF when the body ended before that.
func (g *segment) read(p []byte) (int, error) {
	if g.skip > 0 {
		n, err := io.CopyN(io.Discard, g.body, g.skip)
		g.skip -= n
		switch {
		case err == io.EOF && g.left < 0: //nolint:errorlint // readers return io.EOF itself
			return 0, errBeyond
		case err != nil:
			return 0, unexpected(err)
		}
	}
	if g.left == 0 {
		return 0, io.EOF
	}
	if g.left > 0 && int64(len(p)) > g.left {
		p = p[:g.left]
	}
	n, err := g.body.Read(p)
	g.moved = g.moved || n > 0
	if g.left > 0 {
		if g.left -= int64(n); g.left == 0 {
			return n, io.EOF
		}
		err = unexpected(err)
	}
	return n, err
}

// errBeyond says that a content ended before the offset that was asked for.
var errBeyond = errors.New("offset behind the end")

// unexpected makes an end into one that comes too early.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// sender sends a request for a range of a target.
type sender func(ctx context.Context, r Request) (*http.Response, error)

// request sends one request for what the stream lacks and checks the answer.
func (s *stream) request(ctx context.Context, since validator, send sender) (*segment, error) {
	h := http.Header{}
	h.Set("Accept", "*/*")
	h.Set("Want-Repr-Digest", "sha-256=10")
	ranged := s.pos > 0 || s.end >= 0
	if ranged {
		h.Set("Range", s.byteRange())
	}
	s.pin(h)
	conditional := s.pinned == nil && since.condition(h)
	resp, err := send(ctx, Request{URL: s.target.URL, Header: h, Secret: s.target.Secret, Operator: s.target.Operator, Sign: s.target.Sign})
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusNotModified && conditional {
		drain(resp)
		return nil, connectors.ErrNotModified
	}
	seg, err := s.accept(resp, ranged)
	if err != nil {
		drain(resp)
		return nil, err
	}
	return seg, nil
}

// pin makes a request ask for the version of the content that was begun.
func (s *stream) pin(h http.Header) {
	if s.pinned == nil {
		return
	}
	switch strong := s.pinned.strong(); {
	case strong == "":
	case !s.target.IfMatch:
		h.Set("If-Range", strong)
	case strong == s.pinned.ETag: // a date is no entity tag
		h.Set("If-Match", strong)
	}
}

// resolve sends a request. When the origin redirected to a place that denies
// access or has nothing, the redirect may be a stale one to a signed URL that
// has expired: the origin is asked once more.
func (c *Client) resolve(ctx context.Context, r Request) (*http.Response, error) {
	resp, err := c.Do(ctx, r)
	if err != nil || !denied(resp) {
		return resp, err
	}
	if u, err := url.Parse(r.URL); err != nil || sameOrigin(u, resp.Request.URL) {
		return resp, nil //nolint:nilerr // Do has parsed it already
	}
	drain(resp)
	return c.Do(ctx, r)
}

// denied tells whether an answer is what an expired signed URL gives.
func denied(resp *http.Response) bool {
	switch resp.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusGone:
		return true
	}
	return false
}

// byteRange returns the Range of what the stream lacks. A range can't be empty:
// in the place of no byte one is asked for, which nobody reads.
func (s *stream) byteRange() string {
	if s.end < 0 {
		return fmt.Sprintf("bytes=%d-", s.pos)
	}
	return fmt.Sprintf("bytes=%d-%d", s.pos, max(s.pos, s.end-1))
}

// accept checks an answer against what was asked and makes it the next segment.
// Nothing of the stream changes before all is checked.
func (s *stream) accept(resp *http.Response, ranged bool) (*segment, error) {
	var seg *segment
	var total int64
	var err error
	switch resp.StatusCode {
	case http.StatusOK:
		if err = s.checkVersion(resp); err == nil {
			seg, total, err = s.acceptWhole(resp)
		}
	case http.StatusPartialContent:
		if err = s.checkVersion(resp); err == nil {
			seg, total, err = s.acceptPart(resp, ranged)
		}
	case http.StatusRequestedRangeNotSatisfiable:
		seg, total, err = s.acceptNone(resp)
	case http.StatusPreconditionFailed:
		if s.pinned != nil && s.target.IfMatch {
			return nil, s.changed()
		}
		return nil, Refusal(s.target.URL, resp, s.target.Explain)
	default:
		return nil, Refusal(s.target.URL, resp, s.target.Explain)
	}
	if err == nil {
		err = s.checkEncoding(resp)
	}
	if err == nil && s.total >= 0 && total >= 0 && total != s.total {
		err = s.final("the content has %d bytes instead of %d", total, s.total)
	}
	if err != nil {
		return nil, err
	}
	seg.header, seg.place = resp.Header, placeOf(resp, s.target.Secret)
	if s.pinned == nil {
		v := validatorOf(resp.Header, time.Now())
		s.pinned = &v
	}
	if total >= 0 {
		s.total = total
		if s.end < 0 || s.end > total {
			s.end = total
		}
	}
	return seg, nil
}

// checkVersion returns an error unless an answer is of the content that the
// stream has begun to read, or a digest will tell.
func (s *stream) checkVersion(resp *http.Response) error {
	if s.pinned == nil || s.target.Digest {
		return nil
	}
	now := validatorOf(resp.Header, time.Now())
	same := now.strong() != "" && now.strong() == s.pinned.strong()
	switch {
	case s.pos == s.start && !s.goesOn:
		// Nothing was handed out yet: weak validators will do.
		same = now.ETag == s.pinned.ETag && now.Modified == s.pinned.Modified
	case resp.StatusCode == http.StatusPartialContent && now.ETag == "":
		// If-Range has vouched for it, unless the answer says otherwise.
		same = s.pinned.ETag != "" || now.Modified == "" || now.Modified == s.pinned.Modified
	}
	switch {
	case same:
		return nil
	case now.ETag == "" && now.Modified == "":
		return s.untold()
	}
	return s.changed()
}

// changed returns the error of an origin that has another content by now.
func (s *stream) changed() error {
	return fail("open", s.target.URL, fmt.Errorf("%w: %w", finalUpstream{}, connectors.ErrChanged))
}

// acceptWhole takes a 200. When a range was asked for, the bytes before it are
// skipped.
func (s *stream) acceptWhole(resp *http.Response) (*segment, int64, error) {
	seg := &segment{body: resp.Body, skip: s.pos, left: -1, whole: true}
	total := resp.ContentLength
	if r, ok := parseContentRange(resp.Header.Get("Content-Range")); ok && (r.start > 0 || r.total >= 0 && r.end != r.total) {
		return nil, 0, s.final("a part was sent with the status of the whole")
	}
	if total < 0 {
		seg.unframed = len(resp.TransferEncoding) == 0
		seg.behind = func() http.Header { return resp.Trailer }
		if total = s.total; total < 0 {
			return seg, -1, s.beyond(total)
		}
	}
	if seg.left = total - s.pos; s.end >= 0 {
		seg.left = min(seg.left, s.end-s.pos)
	}
	return seg, total, s.beyond(total)
}

// acceptPart takes a 206: one range that begins where asked and goes no
// further than asked.
func (s *stream) acceptPart(resp *http.Response, ranged bool) (*segment, int64, error) {
	r, ok := parseContentRange(resp.Header.Get("Content-Range"))
	switch {
	case !ranged:
		return nil, 0, s.final("a part was sent where the whole was asked for")
	case !ok:
		return nil, 0, s.final("a part was sent without a sound Content-Range")
	case r.start != s.pos, s.end >= 0 && r.end > max(s.end, s.pos+1):
		return nil, 0, s.final("bytes=%d-%d were sent instead of %s", r.start, r.end-1, s.byteRange())
	case resp.ContentLength >= 0 && resp.ContentLength != r.end-r.start:
		return nil, 0, s.final("the length of a part differs from its range")
	}
	return &segment{body: resp.Body, left: r.end - r.start, whole: r.end == r.total, part: true}, r.total, nil
}

// acceptNone takes a 416: right only when the range begins at the very end.
func (s *stream) acceptNone(resp *http.Response) (*segment, int64, error) {
	total, ok := unsatisfied(resp.Header.Get("Content-Range"))
	switch {
	case !ok:
		return nil, 0, s.final("the range was refused")
	case total < s.pos:
		return nil, 0, s.beyond(total)
	case total > s.pos && s.end != s.pos:
		return nil, 0, s.final("a range inside the content was refused")
	}
	return &segment{body: resp.Body, whole: true}, total, nil
}

// untold returns the error of an answer that does not tell whether it is of the
// content that is being read.
func (s *stream) untold() error {
	return fail("open", s.target.URL, fmt.Errorf("%w: %w: %w", finalUpstream{}, connectors.ErrChanged, errUntold))
}

// errUntold says that an ErrChanged is a lack of knowledge.
var errUntold = errors.New("or tells no version")

// beyond returns an error when the stream begins after the end of the content.
func (s *stream) beyond(total int64) error {
	if total >= 0 && s.pos > total {
		if s.goesOn {
			return s.changed() // the content that is gone on with had so many bytes
		}
		return s.final("offset %d is beyond the end of the content at %d bytes", s.pos, total)
	}
	return nil
}

// checkEncoding refuses bytes that are not the content itself.
func (s *stream) checkEncoding(resp *http.Response) error {
	if e := resp.Header.Get("Content-Encoding"); e != "" && e != "identity" {
		return s.final("the content came encoded although identity was asked for")
	}
	return nil
}

// final returns a failure of the origin that another attempt can't mend.
func (s *stream) final(format string, args ...any) error {
	return fail("open", s.target.URL, fmt.Errorf("%w: %s", finalUpstream{}, fmt.Sprintf(format, args...)))
}

// finalUpstream is ErrUpstream and errFinal in one, with the text of the former.
type finalUpstream struct{}

// Error returns the text of ErrUpstream.
func (finalUpstream) Error() string { return connectors.ErrUpstream.Error() }

// Unwrap returns both.
func (finalUpstream) Unwrap() []error { return []error{connectors.ErrUpstream, errFinal} }
