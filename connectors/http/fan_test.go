package httpconn_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hypha-node/hypha-node/connectors"
	httpconn "github.com/hypha-node/hypha-node/connectors/http"
)

// slow is an origin that gives each connection so many bytes per second, and
// counts.
type slow struct {
	content []byte
	etag    string
	rate    int           // bytes per second of one connection
	delay   time.Duration // before each answer

	mu     sync.Mutex
	active int // answers under way
	most   int // of them at once
	sent   int // bytes of bodies
}

// piece is how much a slow origin writes at once: bytes.
const piece = 64 << 10

// sample is what slow origins have, made once.
var sample = sync.OnceValue(func() []byte { return random(3, 24<<20+4711) }) //nolint:gochecknoglobals // a constant

// newSlow returns an origin that takes 24 s for its content over one connection.
func newSlow() *slow {
	return &slow{content: sample(), etag: `"v1"`, rate: 1 << 20, delay: 50 * time.Millisecond}
}

// errDiffers says that what was read is not the content.
var errDiffers = errors.New("differs from the content")

// follow opens a range of a target and compares it with what it should be. It
// returns how many bytes of that came before the end or an error.
func follow(ctx context.Context, c *httpconn.Client, target httpconn.Target, off, n int64, want []byte) (int, error) {
	target.Operator, target.Size = true, -1
	body, err := c.Open(ctx, target, off, n, nil)
	if err != nil {
		return 0, err
	}
	defer body.Close()
	buf := make([]byte, 256<<10)
	for same := 0; ; {
		n, err := body.Read(buf)
		if !bytes.HasPrefix(want[same:], buf[:n]) {
			return same, errDiffers
		}
		switch same += n; {
		case errors.Is(err, io.EOF) && same < len(want):
			return same, io.ErrUnexpectedEOF
		case errors.Is(err, io.EOF):
			return same, nil
		case err != nil:
			return same, err
		}
	}
}

// serve answers a request for the whole or for one range, by the book.
func (o *slow) serve(w http.ResponseWriter, r *http.Request) {
	start, end := spanOf(r, len(o.content))
	o.answer(w, r, start, end)
}

// answer sends a range, whatever was asked for.
func (o *slow) answer(w http.ResponseWriter, r *http.Request, start, end int) {
	pass(r, o.delay)
	if o.etag != "" {
		w.Header().Set("ETag", o.etag)
	}
	if r.Header.Get("Range") != "" {
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", start, end-1, len(o.content)))
		w.Header().Set("Content-Length", fmt.Sprint(end-start))
		w.WriteHeader(http.StatusPartialContent)
	} else {
		w.Header().Set("Content-Length", fmt.Sprint(len(o.content)))
	}
	o.write(w, r, start, end)
}

// write sends a range at the rate of the origin.
func (o *slow) write(w http.ResponseWriter, r *http.Request, start, end int) {
	o.count(1, 0)
	defer o.count(-1, 0)
	for start < end {
		n := min(piece, end-start)
		pass(r, time.Duration(n)*time.Second/time.Duration(o.rate))
		if _, err := w.Write(o.content[start : start+n]); err != nil {
			return
		}
		o.count(0, n)
		start += n
	}
}

// pass lets time pass, until the request has ended.
func pass(r *http.Request, d time.Duration) {
	select {
	case <-time.After(d):
	case <-r.Context().Done():
	}
}

// count takes down what goes on.
func (o *slow) count(active, sent int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.active += active
	o.most = max(o.most, o.active)
	o.sent += sent
}

// counts returns how many answers are under way, how many were at most, and how
// many bytes were sent.
func (o *slow) counts() (active, most, sent int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.active, o.most, o.sent
}

// alone returns how long the content takes over one connection.
func (o *slow) alone() time.Duration {
	return time.Duration(len(o.content)) * time.Second / time.Duration(o.rate)
}

// spanOf returns the range that a request asks for.
func spanOf(r *http.Request, size int) (start, end int) {
	field := r.Header.Get("Range")
	if _, err := fmt.Sscanf(field, "bytes=%d-%d", &start, &end); err == nil {
		return start, end + 1
	}
	_, _ = fmt.Sscanf(field, "bytes=%d-", &start)
	return start, size
}

// without returns a request without a field.
func without(r *http.Request, field string) *http.Request {
	r = r.Clone(r.Context())
	r.Header.Del(field)
	return r
}

// origin is the URL of the origins in bubbles.
const origin = "http://origin.test/file"

// TestFan: a content from an origin that gives little to each connection comes
// over several of them, whole, in order, much faster, and nothing of it twice but
// what was under way on the first connection as that was given up.
func TestFan(t *testing.T) {
	o := newSlow()
	bubble(t, httpconn.Config{}, func(_ int, w http.ResponseWriter, r *http.Request) { o.serve(w, r) },
		func(t *testing.T, c *httpconn.Client, log *requests) {
			for _, from := range []int64{0, 3<<20 + 7} {
				begin := time.Now()
				if n, err := follow(t.Context(), c, httpconn.Target{URL: origin}, from, -1, o.content[from:]); err != nil {
					t.Errorf("%d bytes, %v", n, err)
				}
				if took := time.Since(begin); took > o.alone()/2 {
					t.Errorf("took %v; one connection takes %v", took, o.alone())
				}
			}
			for _, r := range log.list()[1:] {
				if r.Header.Get("If-Range") != `"v1"` && r.Header.Get("Range") != "bytes=3145735-" {
					t.Errorf("%s is asked for if it is %q", r.Header.Get("Range"), r.Header.Get("If-Range"))
				}
			}
			_, most, sent := o.counts()
			if most < 4 || most > 8 {
				t.Errorf("%d connections at once", most)
			}
			if want := 2*len(o.content) - 3<<20 - 7; sent > want+4*piece {
				t.Errorf("%d bytes were sent for %d", sent, want)
			}
		})
}

// TestOneConnection: when more than one connection is of no use, or not allowed,
// there is one.
func TestOneConnection(t *testing.T) {
	tests := []struct {
		name   string
		cfg    httpconn.Config
		change func(o *slow)
		target httpconn.Target
		n      int64 // bytes asked for; 0: all
		fields map[string]string
	}{
		{name: "configured", cfg: httpconn.Config{Connections: 1}},
		{name: "host is busy", cfg: httpconn.Config{PerHost: 1}},
		{name: "no memory", cfg: httpconn.Config{Memory: &memory{}}},
		{name: "limit is the bottleneck", cfg: httpconn.Config{MaxRate: 1 << 19}},
		{name: "small", change: func(o *slow) { o.content = o.content[:8<<20-1] }},
		{name: "small range", n: 4 << 20},
		{name: "soon over", change: func(o *slow) { o.rate = 16 << 20 }},
		{name: "no validator", change: func(o *slow) { o.etag = "" }},
		{name: "weak validator", change: func(o *slow) { o.etag = `W/"v1"` }},
		{name: "says no ranges", fields: map[string]string{"Accept-Ranges": "none"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := newSlow()
			if tt.change != nil {
				tt.change(o)
			}
			bubble(t, tt.cfg, func(_ int, w http.ResponseWriter, r *http.Request) {
				for name, value := range tt.fields {
					w.Header().Set(name, value)
				}
				o.serve(w, r)
			}, func(t *testing.T, c *httpconn.Client, _ *requests) {
				want, n := o.content, int64(-1)
				if tt.n > 0 {
					want, n = want[:tt.n], tt.n
				}
				if n, err := follow(t.Context(), c, httpconn.Target{URL: origin}, 0, n, want); err != nil {
					t.Errorf("%d bytes, %v", n, err)
				}
				if _, most, _ := o.counts(); most != 1 && tt.name != "no memory" {
					t.Errorf("%d connections at once", most)
				}
			})
		})
	}
}

// TestFanHostile: origins that lie, refuse or break while a content comes over
// several connections. What arrives is the content, or its beginning and an error.
func TestFanHostile(t *testing.T) {
	type answerer func(o *slow, n int, w http.ResponseWriter, r *http.Request)
	changed := &slow{content: random(4, len(sample())), etag: `"v2"`, rate: 1 << 20}
	status := func(code int, fields ...string) answerer {
		return func(_ *slow, _ int, w http.ResponseWriter, _ *http.Request) {
			for _, f := range fields {
				name, value, _ := strings.Cut(f, ": ")
				w.Header().Set(name, value)
			}
			w.WriteHeader(code)
		}
	}
	shifted := func(o *slow, _ int, w http.ResponseWriter, r *http.Request) {
		start, end := spanOf(r, len(o.content))
		o.answer(w, r, start+1, min(end+1, len(o.content)))
	}
	whole := func(o *slow, _ int, w http.ResponseWriter, r *http.Request) {
		o.answer(w, without(r, "Range"), 0, len(o.content))
	}
	other := func(_ *slow, _ int, w http.ResponseWriter, r *http.Request) { changed.serve(w, r) }
	otherWhole := func(_ *slow, _ int, w http.ResponseWriter, r *http.Request) {
		changed.answer(w, without(r, "Range"), 0, len(changed.content))
	}
	zipped := func(o *slow, _ int, w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		o.serve(w, r)
	}
	short := func(o *slow, _ int, w http.ResponseWriter, r *http.Request) {
		start, end := spanOf(r, len(o.content))
		o.answer(w, r, start, min(end, start+300_000))
	}
	broken := func(o *slow, _ int, w http.ResponseWriter, r *http.Request) {
		start, end := spanOf(r, len(o.content))
		w.Header().Set("ETag", o.etag)
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", start, end-1, len(o.content)))
		w.Header().Set("Content-Length", fmt.Sprint(end-start))
		w.WriteHeader(http.StatusPartialContent)
		o.write(w, r, start, min(end, start+300_000))
		cut(w)
	}
	endless := func(o *slow, _ int, w http.ResponseWriter, r *http.Request) {
		start, end := spanOf(r, len(o.content))
		w.Header().Set("ETag", o.etag)
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", start, end-1, len(o.content)))
		w.WriteHeader(http.StatusPartialContent)
		o.write(w, r, start, end)
		for {
			pass(r, time.Second)
			if _, err := w.Write(make([]byte, piece)); err != nil {
				return
			}
		}
	}
	silent := func(o *slow, _ int, w http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
	}
	gone := func(_ *slow, _ int, w http.ResponseWriter, _ *http.Request) {
		if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
			_ = conn.Close()
		}
	}
	page := func(_ *slow, _ int, w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("<html>Please log in.</html>"))
	}
	once := func(at int, do answerer) answerer {
		return func(o *slow, n int, w http.ResponseWriter, r *http.Request) {
			if n == at {
				do(o, n, w, r)
				return
			}
			o.serve(w, r)
		}
	}
	from := func(at int, do answerer) answerer {
		return func(o *slow, n int, w http.ResponseWriter, r *http.Request) {
			if n >= at {
				do(o, n, w, r)
				return
			}
			o.serve(w, r)
		}
	}
	crowd := func(limit int, do answerer) answerer {
		return func(o *slow, n int, w http.ResponseWriter, r *http.Request) {
			if active, _, _ := o.counts(); active >= limit {
				do(o, n, w, r)
				return
			}
			o.serve(w, r)
		}
	}
	tests := []struct {
		name   string
		do     answerer
		digest bool
		says   string // part of the error; "": the content arrives
		most   int    // connections at once; 0: several
	}{
		// The scout is request 1. What it meets costs the stream nothing.
		{name: "second range from elsewhere", do: from(1, shifted), most: 2},
		{name: "whole for the second range", do: from(1, whole), most: 2},
		{name: "second range of another version", do: from(1, other), most: 1},
		{name: "whole of another version for the second range", do: from(1, otherWhole), most: 1},
		{name: "second range encoded", do: from(1, zipped), most: 2},
		{name: "second range denied", do: from(1, status(403)), most: 1},
		{name: "second range not found", do: from(1, status(404)), most: 1},
		{name: "second range not satisfiable", do: from(1, status(416)), most: 1},
		{name: "second range redirected in a loop", do: from(1, status(302, "Location: /file")), most: 1},
		{name: "second range unanswered", do: from(1, silent), most: 1},
		{name: "second connection closed", do: from(1, gone), most: 1},
		{name: "503 to the second connection", do: crowd(1, status(503)), most: 1},
		{name: "429 to the second connection, with a wait", do: crowd(1, status(429, "Retry-After: 3600")), most: 1},
		// Later on.
		{name: "one range from elsewhere", do: once(5, shifted)},
		{name: "one range of the whole", do: once(5, whole)},
		{name: "one range encoded", do: once(5, zipped)},
		{name: "one range denied", do: once(5, status(403))},
		{name: "one range broken", do: once(5, broken)},
		{name: "one range unanswered", do: once(5, silent)},
		{name: "one range endless", do: once(5, endless)},
		{name: "all ranges broken", do: from(1, broken)},
		{name: "all ranges short", do: from(1, short)},
		{name: "all ranges endless", do: from(1, endless)},
		{name: "503 to the fourth connection", do: crowd(3, status(503)), most: 3},
		{name: "403 to the fourth connection", do: crowd(3, status(403)), most: 3},
		{name: "fourth connection closed", do: crowd(3, gone), most: 3},
		{name: "a page for the fourth connection", do: crowd(3, page), most: 3},
		{name: "one range is a page", do: once(5, page)},
		{name: "all are pages later on", do: from(6, page), says: "has changed"},
		{name: "ranges are not given any more", do: from(6, whole), says: ""},
		{name: "all encoded later on", do: from(6, zipped), says: "encoded"},
		{name: "all from elsewhere later on", do: from(6, shifted), says: "were sent instead of"},
		{name: "all denied later on", do: from(6, status(403)), says: "no access"},
		{name: "all gone later on", do: from(6, status(404)), says: "not found"},
		{name: "all fail later on", do: from(6, status(500)), says: "after 6 attempts without progress"},
		{name: "too long a wait later on", do: from(6, status(429, "Retry-After: 3600")), says: "too many requests"},
		{name: "changed later on", do: from(6, otherWhole), says: "has changed"},
		{name: "part of another version", do: once(6, other), says: "has changed"},
		{name: "part of another version, with a digest", do: once(6, other), digest: true},
		{name: "no validator, with a digest", do: func(o *slow, n int, w http.ResponseWriter, r *http.Request) { o.etag = ""; o.serve(w, r) }, digest: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := newSlow()
			if strings.HasPrefix(tt.name, "no validator") {
				o.etag = ""
			}
			bubble(t, httpconn.Config{}, func(n int, w http.ResponseWriter, r *http.Request) { tt.do(o, n, w, r) },
				func(t *testing.T, c *httpconn.Client, log *requests) {
					n, err := follow(t.Context(), c, httpconn.Target{URL: origin, Digest: tt.digest}, 0, -1, o.content)
					if tt.says == "" && err != nil {
						t.Errorf("%d bytes, %v", n, err)
					}
					if tt.says != "" {
						if _, ok := errors.AsType[*connectors.Error](err); !ok || !strings.Contains(err.Error(), tt.says) {
							t.Errorf("error is %v, want one that says %q", err, tt.says)
						}
					}
					_, most, _ := o.counts()
					if tt.most > 0 && most > tt.most || tt.most == 0 && most < 3 {
						t.Errorf("%d connections at once", most)
					}
					if log.count() < 2 {
						t.Error("nothing more was asked for")
					}
				})
		})
	}
}
