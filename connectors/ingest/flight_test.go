package ingest_test

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/connectors"
	"github.com/hypha-node/hypha-node/connectors/ingest"
	"github.com/hypha-node/hypha-node/dag"
)

// held returns a file that stops in the middle, and what starts it again.
func held(content []byte) (f *served, release func()) {
	f = &served{content: content, etag: `"1"`, hold: make(chan struct{}), reached: make(chan struct{})}
	return f, sync.OnceFunc(func() { close(f.hold) })
}

// call is one Fetch under way.
type call struct {
	cancel context.CancelCauseFunc
	done   chan struct{}
	got    ingest.Fetched
	err    error
	tee    *memFile
	seen   []ingest.Progress
}

func begin(t *testing.T, e *ingest.Engine, it connectors.Item) *call {
	t.Helper()
	ctx, cancel := context.WithCancelCause(t.Context())
	c := &call{cancel: cancel, done: make(chan struct{}), tee: &memFile{}}
	go func() {
		defer close(c.done)
		c.got, c.err = e.Fetch(ctx, it, ingest.Options{Tee: c.tee, Progress: func(p ingest.Progress) { c.seen = append(c.seen, p) }})
		c.tee.close()
	}()
	t.Cleanup(func() { cancel(nil); <-c.done })
	return c
}

var errGaveUp = errors.New("gave up")

// TestManyAtOnce holds that 64 callers cost the origin one copy, that the first
// and others may give up, and that all the rest get the content.
func TestManyAtOnce(t *testing.T) {
	eachStore(t, func(t *testing.T, s blockstore.Store) {
		for name, known := range map[string]bool{"by URL": false, "by sha256": true} {
			t.Run(name, func(t *testing.T) {
				content := random(byte(len(name)), 8<<20+1)
				f, release := held(content)
				defer release()
				o := newOrigin(t, map[string]*served{"/f": f})
				e := newEngine(t, ingest.Config{Store: s})
				ref := o.ref("/f")
				if known {
					ref = o.checked("/f", content)
				}
				calls := []*call{begin(t, e, item(t, e, ref))}
				<-f.reached
				for range 63 {
					calls = append(calls, begin(t, e, item(t, e, ref)))
				}
				until(t, "all wait", func() bool { n, _ := e.Waiting(); return n == 64 })
				for _, c := range calls[:20] {
					c.cancel(errGaveUp)
					<-c.done
					if !errors.Is(c.err, errGaveUp) || c.got.Teed {
						t.Errorf("cancelled call: %+v, %v", c.got, c.err)
					}
				}
				release()
				for i, c := range calls[20:] {
					<-c.done
					if c.err != nil || c.got.From != ingest.FromOrigin || c.got.Teed || !c.got.Shared {
						t.Fatalf("call %d: %+v, %v", i+20, c.got, c.err)
					}
					if c.got.File != calls[20].got.File {
						t.Errorf("call %d: %+v, another one has %+v", i+20, c.got.File, calls[20].got.File)
					}
					if last := c.seen[len(c.seen)-1]; last.Done != int64(len(content)) || last.Total != last.Done || last.From != ingest.FromOrigin {
						t.Errorf("call %d: last progress %+v", i+20, last)
					}
				}
				checkStored(t, s, calls[20].got.File, content)
				if n, b := o.requests.Load(), o.bytes.Load(); n != 1 || b != int64(len(content)) {
					t.Errorf("%d requests, %d bytes, want 1 and %d", n, b, len(content))
				}
				for i, c := range calls {
					if c.tee.late {
						t.Errorf("tee of call %d was used after its time", i)
					}
				}
			})
		}
	})
}

// TestLeaderKeepsTee holds that only the first caller's tee is taken, whole.
func TestLeaderKeepsTee(t *testing.T) {
	s, content := blockstore.NewMemory(), random(1, 4<<20)
	f, release := held(content)
	defer release()
	o := newOrigin(t, map[string]*served{"/f": f})
	e := newEngine(t, ingest.Config{Store: s})
	first := begin(t, e, item(t, e, o.ref("/f")))
	<-f.reached
	second := begin(t, e, item(t, e, o.ref("/f")))
	until(t, "both wait", func() bool { n, _ := e.Waiting(); return n == 2 })
	release()
	<-first.done
	<-second.done
	if first.err != nil || !first.got.Teed || first.got.Shared || !bytes.Equal(first.tee.b, content) {
		t.Errorf("first: %+v, %v", first.got, first.err)
	}
	if second.err != nil || second.got.Teed || !second.got.Shared || len(second.tee.b) > 0 {
		t.Errorf("second: %+v, %v", second.got, second.err)
	}
}

// TestAllGiveUp holds that a download ends with the last who waits for it, is
// recorded nowhere, and is begun anew by who comes then.
func TestAllGiveUp(t *testing.T) {
	eachStore(t, func(t *testing.T, s blockstore.Store) {
		content := random(1, 4<<20)
		f, release := held(content)
		defer release()
		o := newOrigin(t, map[string]*served{"/f": f})
		e := newEngine(t, ingest.Config{Store: s})
		calls := []*call{begin(t, e, item(t, e, o.ref("/f"))), begin(t, e, item(t, e, o.ref("/f")))}
		<-f.reached
		until(t, "both wait", func() bool { n, _ := e.Waiting(); return n == 2 })
		for _, c := range calls {
			c.cancel(errGaveUp)
			<-c.done
		}
		if n, flights := e.Waiting(); n != 0 || flights != 0 {
			t.Errorf("%d calls, %d flights left", n, flights)
		}
		until(t, "the origin is left alone", func() bool { return o.active.Load() == 0 })
		o.set("/f", &served{content: content, etag: `"1"`})
		fetch(t, e, s, o.ref("/f"), content)
		if n := o.requests.Load(); n != 2 {
			t.Errorf("%d requests, want 2", n)
		}
	})
}

// TestClose holds that Close ends what is under way, and waits.
func TestClose(t *testing.T) {
	s, content := blockstore.NewMemory(), random(1, 4<<20)
	f, release := held(content)
	defer release()
	o := newOrigin(t, map[string]*served{"/f": f})
	e := newEngine(t, ingest.Config{Store: s})
	calls := []*call{begin(t, e, item(t, e, o.ref("/f"))), begin(t, e, item(t, e, o.ref("/f")))}
	<-f.reached
	must(t, e.Close())
	for _, c := range calls {
		<-c.done
		if !errors.Is(c.err, ingest.ErrClosed) {
			t.Errorf("%v, want ErrClosed", c.err)
		}
	}
	checkNothing(t, s, content)
	if _, err := e.Fetch(t.Context(), item(t, e, o.ref("/f")), ingest.Options{}); !errors.Is(err, ingest.ErrClosed) {
		t.Errorf("Fetch after Close: %v, want ErrClosed", err)
	}
}

// TestOtherSource holds that a caller whose own source works is not hurt by
// having waited for one that does not.
func TestOtherSource(t *testing.T) {
	s, content := blockstore.NewMemory(), random(1, 4<<20)
	f, release := held(random(2, 4<<20)) // other bytes
	defer release()
	bad := newOrigin(t, map[string]*served{"/f": f})
	good := newOrigin(t, map[string]*served{"/g": {content: content}})
	e := newEngine(t, ingest.Config{Store: s})
	first := begin(t, e, item(t, e, bad.checked("/f", content)))
	<-f.reached
	same := begin(t, e, item(t, e, bad.checked("/f", content)))
	other := []*call{begin(t, e, item(t, e, good.checked("/g", content))), begin(t, e, item(t, e, good.checked("/g", content)))}
	until(t, "all wait", func() bool { n, _ := e.Waiting(); return n == 4 })
	release()
	for _, c := range []*call{first, same} {
		<-c.done
		if !errors.Is(c.err, connectors.ErrMismatch) {
			t.Errorf("%v, want ErrMismatch", c.err)
		}
	}
	for _, c := range other {
		<-c.done
		must(t, c.err)
		checkStored(t, s, c.got.File, content)
	}
	if b, g := bad.requests.Load(), good.requests.Load(); b != 1 || g != 1 {
		t.Errorf("%d and %d requests, want 1 each", b, g)
	}
}

// TestOperatorApart holds that a job does not ride on the operator's download of
// an address that it may be refused.
func TestOperatorApart(t *testing.T) {
	content := random(1, 4<<20)
	f, release := held(content)
	defer release()
	o := newOrigin(t, map[string]*served{"/f": f})
	e := newEngine(t, ingest.Config{Store: blockstore.NewMemory()})
	operator := item(t, e, o.ref("/f"))
	var job connectors.Item
	for it, err := range e.Resolve(t.Context(), o.ref("/f"), connectors.Access{}) {
		must(t, err)
		job = it
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		_, err := e.Fetch(ctx, operator, ingest.Options{Access: connectors.Access{Operator: true}})
		done <- err
	}()
	<-f.reached
	if _, err := e.Fetch(t.Context(), job, ingest.Options{}); !errors.Is(err, connectors.ErrForbidden) {
		t.Errorf("job: %v, want ErrForbidden", err)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("operator: %v, want context.Canceled", err)
	}
}

// TestPublicStaysPublic holds that content that is here for everybody does not
// become private because somebody has a credential for it.
func TestPublicStaysPublic(t *testing.T) {
	for _, n := range []int{100, 3 << 20} {
		s, content := blockstore.NewMemory(), random(1, n)
		f, err := dag.Import(t.Context(), s, bytes.NewReader(content), dag.ImportOptions{})
		must(t, err)
		o := newOrigin(t, map[string]*served{"/f": {content: content, token: "a"}})
		e := newEngine(t, ingest.Config{Store: s})
		ref := o.ref("/f")
		ref.Token = "a"
		if got := fetch(t, e, s, ref, content); got.Private || got.From != ingest.FromOrigin {
			t.Errorf("%+v", got)
		}
		checkPrivate(t, s, f, false)
	}
}

// TestScopesApart holds that a caller with another credential, or none, does not
// get what is under way.
func TestScopesApart(t *testing.T) {
	content := random(1, 4<<20)
	f, release := held(content)
	defer release()
	f.token = "a"
	o := newOrigin(t, map[string]*served{"/f": f})
	e := newEngine(t, ingest.Config{Store: blockstore.NewMemory()})
	ref := o.checked("/f", content)
	ref.Token = "a"
	first := begin(t, e, item(t, e, ref))
	<-f.reached
	for _, token := range []string{"", "b"} {
		ref.Token = connectors.Secret(token)
		if _, err := e.Fetch(t.Context(), item(t, e, ref), ingest.Options{}); !errors.Is(err, connectors.ErrUnauthorized) {
			t.Errorf("token %q: %v, want ErrUnauthorized", token, err)
		}
	}
	release()
	<-first.done
	must(t, first.err)
}

func checkPrivate(t *testing.T, s blockstore.Store, f dag.File, want bool) {
	t.Helper()
	if got, err := blockstore.IsPrivate(t.Context(), s, f.Root); err != nil || got != want {
		t.Errorf("Private = %v, %v, want %v", got, err, want)
	}
}
