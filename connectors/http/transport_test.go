package httpconn_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/hypha-node/hypha-node/connectors"
	httpconn "github.com/hypha-node/hypha-node/connectors/http"
)

// lane is another transport for what a slow origin has, as slow on each passage.
type lane struct {
	slow
	lead int64 // before every part but the first
	ends int   // offset at which passages break; 0: nowhere
}

// Name names the transport.
func (l *lane) Name() string { return "lane" }

// Open opens a passage.
func (l *lane) Open(ctx context.Context, off, end int64) (*httpconn.Passage, error) {
	if l.ends > 0 && off >= int64(l.ends) {
		return nil, &connectors.Error{Op: "open", Source: "lane", Err: fmt.Errorf("%w: the lane has ended", connectors.ErrUpstream)}
	}
	ctx, cancel := context.WithCancel(ctx)
	l.count(1, 0)
	p := &passage{lane: l, done: ctx.Done(), cancel: cancel, pos: int(off), end: int(end)}
	lead := l.lead
	if off == 0 {
		lead = 0
	}
	return &httpconn.Passage{ReadCloser: p, Host: "lane.example", Lead: lead}, nil
}

// passage is a range on its way.
type passage struct {
	lane     *lane
	done     <-chan struct{}
	cancel   context.CancelFunc
	pos, end int
	closed   bool
}

// Read gives the next bytes, at the lane's rate.
func (p *passage) Read(b []byte) (int, error) {
	n := min(len(b), piece, p.end-p.pos)
	switch {
	case n == 0:
		return 0, io.EOF
	case p.lane.ends > 0 && p.pos >= p.lane.ends:
		return 0, errors.New("the lane broke")
	}
	select {
	case <-p.done:
		return 0, context.Canceled
	case <-time.After(time.Duration(n) * time.Second / time.Duration(p.lane.rate)):
	}
	copy(b, p.lane.content[p.pos:p.pos+n])
	p.pos += n
	p.lane.count(0, n)
	return n, nil
}

// Close ends it.
func (p *passage) Close() error {
	p.cancel()
	p.lane.mu.Lock()
	defer p.lane.mu.Unlock()
	if !p.closed {
		p.closed = true
		p.lane.active--
	}
	return nil
}

// newLane returns a lane for the content of newSlow.
func newLane() *lane {
	o := newSlow()
	return &lane{slow: slow{content: o.content, rate: o.rate}}
}

// wander reads a target with a lane to its end, and returns what it took and what
// each transport brought.
func wander(t *testing.T, c *httpconn.Client, target httpconn.Target) (time.Duration, map[string]int64) {
	t.Helper()
	target.Operator, target.Digest, target.Size = true, true, int64(len(sample()))
	began := time.Now()
	body, err := c.Open(t.Context(), target, 0, -1, nil)
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	if _, err := io.CopyBuffer(struct{ io.Writer }{&got}, struct{ io.Reader }{body}, make([]byte, 256<<10)); err != nil {
		t.Errorf("after %d bytes: %v", got.Len(), err)
	}
	if err := body.Close(); err != nil {
		t.Error(err)
	}
	if !bytes.Equal(got.Bytes(), sample()) {
		t.Errorf("%d bytes that differ from the content", got.Len())
	}
	return time.Since(began), body.Via()
}

// TestTransportInParts: a slow transport is read over several connections, as an
// origin is, unless it has to skip much for each.
func TestTransportInParts(t *testing.T) {
	for _, lead := range []int64{0, 1 << 20, 1<<20 + 1} {
		t.Run(fmt.Sprint(lead), func(t *testing.T) {
			bubble(t, httpconn.Config{}, nil, func(t *testing.T, c *httpconn.Client, log *requests) {
				l := newLane()
				l.lead = lead
				took, via := wander(t, c, httpconn.Target{URL: "http://origin.example/f", Other: l, OtherFirst: true})
				active, most, _ := l.counts()
				parts := lead <= 1<<20
				if active != 0 || via["lane"] != int64(len(sample())) || log.count() != 0 {
					t.Errorf("%d passages are open, %v came, %d requests", active, via, log.count())
				}
				if parts != (most > 3) || parts != (took < l.alone()/2) {
					t.Errorf("it took %v over %d passages; alone it takes %v", took, most, l.alone())
				}
			})
		})
	}
}

// TestTransportChangesFromParts: an origin that goes away while it is read over
// several connections is left for the other transport, and the other way round.
func TestTransportChangesFromParts(t *testing.T) {
	const gone = 10 << 20 // offset from which neither gives more
	o := newSlow()
	handle := func(_ int, w http.ResponseWriter, r *http.Request) {
		start, end := spanOf(r, len(o.content))
		if start >= gone {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		pass(r, o.delay)
		w.Header().Set("ETag", o.etag)
		w.Header().Set("Content-Length", fmt.Sprint(end-start))
		if r.Header.Get("Range") != "" {
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", start, end-1, len(o.content)))
			w.WriteHeader(http.StatusPartialContent)
		}
		o.write(w, r, start, min(end, gone))
		if end > gone {
			cut(w)
		}
	}
	explain := func(*http.Response) *connectors.Error {
		return &connectors.Error{Op: "open", Source: "origin", Err: fmt.Errorf("%w: the bridge is gone", connectors.ErrUpstream)}
	}
	for _, otherFirst := range []bool{false, true} {
		t.Run(fmt.Sprint(otherFirst), func(t *testing.T) {
			bubble(t, httpconn.Config{}, func(n int, w http.ResponseWriter, r *http.Request) {
				if otherFirst {
					o.serve(w, r)
					return
				}
				handle(n, w, r)
			}, func(t *testing.T, c *httpconn.Client, _ *requests) {
				l := newLane()
				if otherFirst {
					l.ends = gone
				}
				took, via := wander(t, c, httpconn.Target{URL: "http://origin.example/f", Explain: explain, Other: l, OtherFirst: otherFirst})
				first, second := "http", "lane"
				if otherFirst {
					first, second = "lane", "http"
				}
				if via[first] != gone || via[first]+via[second] != int64(len(sample())) {
					t.Errorf("%v came, want %d over %s and the rest over %s", via, gone, first, second)
				}
				if took > o.alone()*3/4 {
					t.Errorf("it took %v; over one connection it takes %v", took, o.alone())
				}
				if active, _, _ := l.counts(); active != 0 {
					t.Errorf("%d passages are open", active)
				}
			})
		})
	}
}
