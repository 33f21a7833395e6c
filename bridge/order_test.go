package bridge_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/hypha-node/hypha-node/bridge"
	"github.com/hypha-node/hypha-node/bridge/bridgetest"
	"github.com/hypha-node/hypha-node/connectors"
)

// Names that collide: the later one fails, nothing is half there.
func TestCollidingNames(t *testing.T) {
	for _, names := range [][]string{{"a", "a/b"}, {"a/b", "a"}, {"d/e/f", "d/e"}} {
		l := &listing{names: names}
		w := bridgetest.New(t, bridgetest.Options{First: connectors.Set{l}})
		job := w.Open(t, "collide")
		_, err := job.Fetch(t.Context(), fetchListing(""))
		fe, ok := errors.AsType[*bridge.FetchError](err)
		if !ok || !errors.Is(err, bridge.ErrInvalidPath) || len(fe.Completed) != 1 {
			t.Errorf("%v: %v", names, err)
		}
	}
	l := &listing{names: []string{"same", "same", "other"}}
	w := bridgetest.New(t, bridgetest.Options{First: connectors.Set{l}})
	job := w.Open(t, "same")
	results, err := job.Fetch(t.Context(), fetchListing(""))
	if err != nil || len(results) != 3 || results[0].Path != results[1].Path {
		t.Errorf("%v, %v", results, err)
	}
}

// Requests of one job that bring files of the same name do not fail each other:
// data loaders have several processes.
func TestSameNameAtOnce(t *testing.T) {
	const callers = 32
	l := &listing{names: []string{"same", "other"}}
	w := bridgetest.New(t, bridgetest.Options{First: connectors.Set{l}})
	job := w.Open(t, "at-once")
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for range 8 {
				if results, err := job.Fetch(t.Context(), fetchListing("")); err != nil || len(results) != 2 {
					t.Errorf("%v, %v", results, err)
				}
			}
		})
	}
	wg.Wait()
}

func TestOrderAndBound(t *testing.T) {
	names := make([]string, 300)
	for i := range names {
		names[i] = fmt.Sprintf("d%d/%03d", i%7, 299-i)
	}
	l := &listing{names: names}
	w := bridgetest.New(t, bridgetest.Options{First: connectors.Set{l}})
	job := w.Open(t, "order")
	results, err := job.Fetch(t.Context(), fetchListing(""))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range results {
		got = append(got, strings.TrimPrefix(r.Path, "artifacts/"))
	}
	if !slices.Equal(got, names) {
		t.Errorf("not in the order of the request: %v", got[:5])
	}
}

// A bad name ends the listing, however long it would go on.
func TestStopsAtTheFirstFailure(t *testing.T) {
	endless := &endless{}
	w := bridgetest.New(t, bridgetest.Options{First: connectors.Set{endless}})
	job := w.Open(t, "many")
	_, err := job.Fetch(t.Context(), fetchListing(""))
	if !errors.Is(err, bridge.ErrInvalidPath) || endless.given > 100 {
		t.Errorf("%v after %d items", err, endless.given)
	}
}

// endless offers files without end; the tenth has a bad name.
type endless struct{ given int }

func (e *endless) Supports(ref connectors.Ref) bool { return ref.Type == connectors.TypeScheduler }

func (e *endless) Items(context.Context, connectors.Ref, connectors.Access) iter.Seq2[connectors.Item, error] {
	return func(yield func(connectors.Item, error) bool) {
		for {
			e.given++
			name := fmt.Sprint(e.given)
			if e.given == 10 {
				name = ".."
			}
			if !yield(item(name, []byte(name)), nil) {
				return
			}
		}
	}
}

// gauge offers files whose download waits until a number of them are under way,
// and records how many were at most.
type gauge struct {
	want int

	mu         sync.Mutex
	now, most  int
	full       chan struct{} // closed when want downloads are under way
	onceFilled sync.Once
}

func (g *gauge) Supports(ref connectors.Ref) bool { return ref.Type == connectors.TypeScheduler }

func (g *gauge) Items(_ context.Context, ref connectors.Ref, _ connectors.Access) iter.Seq2[connectors.Item, error] {
	return func(yield func(connectors.Item, error) bool) {
		for i := range 20 {
			it := item(fmt.Sprint(i), []byte(ref.Dataset+fmt.Sprint(i)))
			open := it.Open
			it.Open = func(ctx context.Context, off, n int64, cond []byte) (*connectors.Body, error) {
				g.enter()
				defer g.leave()
				select {
				case <-g.full:
				case <-ctx.Done():
				}
				return open(ctx, off, n, cond)
			}
			if !yield(it, nil) {
				return
			}
		}
	}
}

func (g *gauge) enter() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.now++
	g.most = max(g.most, g.now)
	if g.now == g.want {
		g.onceFilled.Do(func() { close(g.full) })
	}
}

func (g *gauge) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.now--
}

// A request fetches eight files at once, a job sixteen, however many are wanted.
func TestBounds(t *testing.T) {
	for _, tt := range []struct{ requests, want int }{{1, 8}, {4, 16}} {
		g := &gauge{want: tt.want, full: make(chan struct{})}
		w := bridgetest.New(t, bridgetest.Options{First: connectors.Set{g}})
		job := w.Open(t, "bounds")
		var wg sync.WaitGroup
		for n := range tt.requests {
			wg.Go(func() {
				req := fetchListing(fmt.Sprint("d", n))
				req.Ref.Dataset = fmt.Sprint(n) // other content for each request
				if results, err := job.Fetch(t.Context(), req); err != nil || len(results) != 20 {
					t.Errorf("%d files, %v", len(results), err)
				}
			})
		}
		wg.Wait()
		if g.most != tt.want {
			t.Errorf("%d requests: %d downloads at once, want %d", tt.requests, g.most, tt.want)
		}
	}
}
