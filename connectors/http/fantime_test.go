package httpconn_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hypha-node/hypha-node/connectors"
	httpconn "github.com/hypha-node/hypha-node/connectors/http"
)

// fetched reads the whole content of an origin and returns how long that took.
func fetched(t *testing.T, c *httpconn.Client, o *slow) time.Duration {
	t.Helper()
	begin := time.Now()
	if n, err := follow(t.Context(), c, httpconn.Target{URL: origin}, 0, -1, o.content); err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
	return time.Since(begin)
}

// TestFanStall: one connection of several that falls silent, or becomes very
// slow, holds the content up for no longer than it takes to notice.
func TestFanStall(t *testing.T) {
	var normal time.Duration
	for _, tt := range []struct {
		name string
		rate int // bytes per second of the bad connection; 0: none
		most time.Duration
	}{
		{"none", 1 << 20, 12 * time.Second},
		{"silent", 0, 20 * time.Second},
		{"slow", 4 << 10, 20 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := newSlow()
			bubble(t, httpconn.Config{}, func(n int, w http.ResponseWriter, r *http.Request) {
				if n != 4 {
					o.serve(w, r)
					return
				}
				start, end := spanOf(r, len(o.content))
				w.Header().Set("ETag", o.etag)
				w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", start, end-1, len(o.content)))
				w.Header().Set("Content-Length", fmt.Sprint(end-start))
				w.WriteHeader(http.StatusPartialContent)
				o.write(w, r, start, start+100_000)
				_ = http.NewResponseController(w).Flush()
				for start += 100_000; tt.rate > 0 && start < end && r.Context().Err() == nil; {
					n := min(tt.rate, end-start)
					pass(r, time.Second*time.Duration(n)/time.Duration(tt.rate))
					_, _ = w.Write(o.content[start : start+n])
					_ = http.NewResponseController(w).Flush()
					start += n
				}
				if start < end {
					<-r.Context().Done()
				}
			}, func(t *testing.T, c *httpconn.Client, _ *requests) {
				took := fetched(t, c, o)
				if normal == 0 {
					normal = took
				}
				if took > normal+tt.most {
					t.Errorf("took %v, without a bad connection %v", took, normal)
				}
			})
		})
	}
}

// TestFanEnd: the connection that has the last part is silent. It is fetched a
// second time at once, and no more than one hundredth of the content is.
func TestFanEnd(t *testing.T) {
	o := newSlow()
	o.content, o.rate = random(5, 120<<20), 5<<20
	var stalled atomic.Bool
	bubble(t, httpconn.Config{}, func(n int, w http.ResponseWriter, r *http.Request) {
		if _, end := spanOf(r, len(o.content)); n > 2 && end == len(o.content) && stalled.CompareAndSwap(false, true) {
			<-r.Context().Done()
			return
		}
		o.serve(w, r)
	}, func(t *testing.T, c *httpconn.Client, _ *requests) {
		if took := fetched(t, c, o); took > o.alone()/2 {
			t.Errorf("took %v; one connection takes %v", took, o.alone())
		}
		if !stalled.Load() {
			t.Error("nobody asked for the last part")
		}
		if _, _, sent := o.counts(); sent > len(o.content)*101/100+4*piece {
			t.Errorf("%d bytes were sent for %d", sent, len(o.content))
		}
	})
}

// TestFanShared: where all connections share what one could have alone, there is
// little time with more than one, and hardly any loss.
func TestFanShared(t *testing.T) {
	o := newSlow()
	o.content, o.rate = random(5, 64<<20), 1<<30
	l := &link{}
	bubble(t, httpconn.Config{}, func(_ int, w http.ResponseWriter, r *http.Request) {
		o.serve(&shared{ResponseWriter: w, r: r, link: l}, r)
	}, func(t *testing.T, c *httpconn.Client, log *requests) {
		alone := time.Duration(len(o.content)) * time.Second / (2 << 20)
		if took := fetched(t, c, o); took > alone*103/100 {
			t.Errorf("took %v; one connection takes %v", took, alone)
		}
		if log.count() > 20 {
			t.Errorf("%d requests", log.count())
		}
	})
}

// link passes 2 MiB/s.
type link struct {
	mu   sync.Mutex
	free time.Time
}

// take returns how long so many bytes have to wait for what is before them, and
// to pass.
func (l *link) take(n int) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := time.Now(); l.free.Before(now) {
		l.free = now
	}
	l.free = l.free.Add(time.Duration(n) * time.Second / (2 << 20))
	return time.Until(l.free)
}

// shared is an answer over a link.
type shared struct {
	http.ResponseWriter
	r    *http.Request
	link *link
}

func (s *shared) Write(p []byte) (int, error) {
	pass(s.r, s.link.take(len(p)))
	return s.ResponseWriter.Write(p)
}

// TestFanSlowReader: a reader that takes its time gets no second connection.
func TestFanSlowReader(t *testing.T) {
	o := newSlow()
	o.rate = 64 << 20
	bubble(t, httpconn.Config{}, func(_ int, w http.ResponseWriter, r *http.Request) { o.serve(w, r) },
		func(t *testing.T, c *httpconn.Client, log *requests) {
			body, err := c.Open(t.Context(), httpconn.Target{URL: origin, Size: -1, Operator: true}, 0, -1, nil)
			if err != nil {
				t.Fatal(err)
			}
			var got bytes.Buffer
			for err == nil {
				<-time.After(500 * time.Millisecond)
				_, err = io.CopyN(&got, body, 1<<20)
			}
			if cerr := body.Close(); !errors.Is(err, io.EOF) || cerr != nil || !bytes.Equal(got.Bytes(), o.content) {
				t.Errorf("read gives %d bytes, %v, %v", got.Len(), err, cerr)
			}
			if log.count() != 1 {
				t.Errorf("%d requests", log.count())
			}
		})
}

// TestFanExpired: a signed URL that expires is signed anew once, not once by each
// connection; credentials stay with the origin.
func TestFanExpired(t *testing.T) {
	const life = 3 * time.Second
	o := newSlow()
	var mu sync.Mutex
	var signed []time.Time
	bubble(t, httpconn.Config{}, func(_ int, w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if r.Host == "origin.test" {
			if r.Header.Get("Authorization") != "Bearer x" {
				t.Errorf("no credentials for %s", r.URL)
			}
			signed = append(signed, time.Now())
			w.Header().Set("Location", fmt.Sprintf("http://cdn.test/file?sig=%d", len(signed)))
			w.WriteHeader(http.StatusFound)
			return
		}
		if r.Header.Get("Authorization") != "" {
			t.Errorf("credentials for %s", r.URL)
		}
		var n int
		if _, err := fmt.Sscanf(r.URL.RawQuery, "sig=%d", &n); err != nil || n < 1 || time.Since(signed[n-1]) > life {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		mu.Unlock()
		o.serve(w, r)
		mu.Lock()
	}, func(t *testing.T, c *httpconn.Client, log *requests) {
		target := httpconn.Target{URL: origin, Secret: http.Header{"Authorization": {"Bearer x"}}}
		begin := time.Now()
		if n, err := follow(t.Context(), c, target, 0, -1, o.content); err != nil {
			t.Errorf("%d bytes, %v", n, err)
		}
		took := time.Since(begin)
		if took > o.alone()/2 {
			t.Errorf("took %v; one connection takes %v", took, o.alone())
		}
		if most := 1 + int(took/life); len(signed) > most || len(signed) < 2 {
			t.Errorf("signed %d times in %v, want at most %d", len(signed), took, most)
		}
		if log.count() < 10 {
			t.Errorf("%d requests", log.count())
		}
	})
}

// TestFanWait: an origin that asks for a pause is not asked for anything during
// it, by any connection, and half of them go.
func TestFanWait(t *testing.T) {
	o := newSlow()
	var mu sync.Mutex
	var until time.Time
	bubble(t, httpconn.Config{}, func(n int, w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		early := time.Now().Before(until)
		if n == 6 {
			until = time.Now().Add(7 * time.Second)
		}
		mu.Unlock()
		if early {
			t.Errorf("request %d came during the pause", n)
		}
		if n == 6 {
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		o.serve(w, r)
	}, func(t *testing.T, c *httpconn.Client, _ *requests) {
		fetched(t, c, o)
		if until.IsZero() {
			t.Error("nobody was asked to wait")
		}
	})
}

// TestFanOutage: an origin that is away for a while, and breaks all connections
// at once, is waited for like with one connection.
func TestFanOutage(t *testing.T) {
	o := newSlow()
	began := time.Now()
	bubble(t, httpconn.Config{}, func(n int, w http.ResponseWriter, r *http.Request) {
		if n == 0 {
			began = time.Now()
		}
		away, back := began.Add(4*time.Second), began.Add(8*time.Second)
		if now := time.Now(); now.After(away) && now.Before(back) {
			cut(w)
			return
		}
		ctx, cancel := context.WithDeadline(r.Context(), away)
		defer cancel()
		if time.Now().After(away) {
			ctx = r.Context()
		}
		o.serve(w, r.WithContext(ctx))
	}, func(t *testing.T, c *httpconn.Client, _ *requests) {
		if took := fetched(t, c, o); took > o.alone()+10*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

// TestFanEnds: what ends a content in mid-flight ends all that was done for it:
// connections, goroutines (or the bubble would not end), memory.
func TestFanEnds(t *testing.T) {
	reason := errors.New("reason")
	for _, at := range []int64{1, 1 << 20, 4 << 20, 8 << 20, 20 << 20} {
		for _, way := range []string{"close", "cancel", "both, without reading on"} {
			t.Run(fmt.Sprintf("%s at %d", way, at), func(t *testing.T) {
				o := newSlow()
				m := &memory{room: 64 << 20}
				bubble(t, httpconn.Config{Memory: m}, func(_ int, w http.ResponseWriter, r *http.Request) { o.serve(w, r) },
					func(t *testing.T, c *httpconn.Client, _ *requests) {
						ctx, cancel := context.WithCancelCause(t.Context())
						defer cancel(nil)
						body, err := c.Open(ctx, httpconn.Target{URL: origin, Size: -1, Operator: true}, 0, -1, nil)
						if err != nil {
							t.Fatal(err)
						}
						if n, err := io.CopyN(io.Discard, body, at); err != nil {
							t.Errorf("%d bytes, %v", n, err)
						}
						read := make(chan error, 1)
						switch way {
						case "close":
							go func() {
								_, err := io.Copy(io.Discard, body)
								read <- err
							}()
							synctest.Wait()
							if err := body.Close(); err != nil {
								t.Error(err)
							}
							if err := <-read; err == nil {
								t.Error("read to the end of what was closed")
							}
						case "cancel":
							go func() {
								_, err := io.Copy(io.Discard, body)
								read <- err
							}()
							synctest.Wait()
							cancel(reason)
							if err := <-read; !errors.Is(err, reason) {
								t.Errorf("error is %v, want %v", err, reason)
							}
						default:
							cancel(reason)
						}
						if err := body.Close(); err != nil {
							t.Error(err)
						}
						<-time.After(5 * time.Second) // for the origin to notice
						if active, _, _ := o.counts(); active != 0 {
							t.Errorf("%d answers are under way", active)
						}
						if m.used != 0 || m.most > 32<<20 {
							t.Errorf("%d bytes of memory are taken, %d were", m.used, m.most)
						}
					})
			})
		}
	}
}

// TestFanMemory: a content takes no more memory than there is, gives it back when
// others wait, and goes on with what it has.
func TestFanMemory(t *testing.T) {
	for _, room := range []int64{1 << 20, 6 << 20, 11 << 20, 1 << 30} {
		o := newSlow()
		m := &memory{room: room}
		bubble(t, httpconn.Config{Memory: m}, func(n int, w http.ResponseWriter, r *http.Request) {
			m.mu.Lock()
			if n >= 7 {
				m.waiting = 1
			}
			m.mu.Unlock()
			o.serve(w, r)
		}, func(t *testing.T, c *httpconn.Client, _ *requests) {
			fetched(t, c, o)
			if m.most > min(room, 32<<20) || m.used != 0 {
				t.Errorf("%d of %d bytes were taken, %d not given back", m.most, room, m.used)
			}
		})
	}
}

// TestPerHost: large contents together keep to the number of connections that a
// host may get; each has one.
func TestPerHost(t *testing.T) {
	o := newSlow()
	bubble(t, httpconn.Config{PerHost: 5}, func(_ int, w http.ResponseWriter, r *http.Request) { o.serve(w, r) },
		func(t *testing.T, c *httpconn.Client, _ *requests) {
			var all sync.WaitGroup
			for range 3 {
				all.Go(func() { fetched(t, c, o) })
			}
			all.Wait()
			if _, most, _ := o.counts(); most > 5 || most < 4 {
				t.Errorf("%d connections at once", most)
			}
			// All are given back: one content alone gets as many again.
			fetched(t, c, o)
		})
}

// TestMaxRate: all bodies together keep to the rate.
func TestMaxRate(t *testing.T) {
	o := newSlow()
	o.rate = 1 << 30
	const limit = 4 << 20
	bubble(t, httpconn.Config{MaxRate: limit}, func(_ int, w http.ResponseWriter, r *http.Request) { o.serve(w, r) },
		func(t *testing.T, c *httpconn.Client, _ *requests) {
			begin := time.Now()
			var all sync.WaitGroup
			for range 3 {
				all.Go(func() { fetched(t, c, o) })
			}
			all.Wait()
			want := 3 * time.Duration(len(o.content)) * time.Second / limit
			if took := time.Since(begin); took < want*98/100 || took > want*105/100 {
				t.Errorf("took %v, want %v", took, want)
			}
		})
}

// TestFanForbidden: a part that is redirected to a private address is not fetched
// from there. The first connection waits for the second one to be asked for.
func TestFanForbidden(t *testing.T) {
	b := random(6, 12<<20)
	asked := make(chan struct{})
	var once sync.Once
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Range") != "" {
			once.Do(func() { close(asked) })
			http.Redirect(w, r, "http://10.0.0.1/file", http.StatusFound)
			return
		}
		w.Header().Set("ETag", `"v1"`)
		w.Header().Set("Content-Length", fmt.Sprint(len(b)))
		left := b
		drip := time.NewTicker(50 * time.Millisecond)
		defer drip.Stop()
		for waiting := true; waiting; {
			select {
			case <-asked:
				waiting = false
			case <-r.Context().Done():
				return
			case <-drip.C:
				_, _ = w.Write(left[:100])
				_ = http.NewResponseController(w).Flush()
				left = left[100:]
			}
		}
		_, _ = w.Write(left)
	}))
	defer server.Close()
	c := newClient(t, httpconn.Config{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	body, err := c.Open(t.Context(), httpconn.Target{URL: server.URL, Size: -1}, 0, -1, nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(body)
	if cerr := body.Close(); err != nil || cerr != nil || !bytes.Equal(got, b) {
		t.Errorf("read gives %d bytes, %v, %v", len(got), err, cerr)
	}
	if _, err := c.Open(t.Context(), httpconn.Target{URL: server.URL, Size: -1}, 5, 10, nil); !errors.Is(err, connectors.ErrForbidden) || !strings.Contains(err.Error(), "10.0.0.1") {
		t.Errorf("error is %v", err)
	}
}
