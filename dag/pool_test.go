package dag

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
)

// TestPool: the buffer that came back last goes out first, so that it is still
// in the processor's cache.
func TestPool(t *testing.T) {
	made := 0
	p := newPool(3, func() int { made++; return made })
	var got [3]int
	for i := range got {
		var err error
		if got[i], err = p.get(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	p.put(got[2])
	p.put(got[0])
	for _, want := range []int{got[0], got[2]} {
		if b, err := p.get(t.Context()); err != nil || b != want {
			t.Errorf("got %d, %v, want %d", b, err, want)
		}
	}
	if made != 3 {
		t.Errorf("made %d buffers, want 3", made)
	}
}

// TestPoolEndsWithContext: who waits for a buffer gives up with its context.
func TestPoolEndsWithContext(t *testing.T) {
	p := newPool(1, func() int { return 0 })
	if _, err := p.get(t.Context()); err != nil {
		t.Fatal(err)
	}
	stop := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(stop)
	if _, err := p.get(ctx); !errors.Is(err, stop) {
		t.Errorf("got %v, want %v", err, stop)
	}
	p.put(0)
	if _, err := p.get(t.Context()); err != nil {
		t.Errorf("after it came back: %v", err)
	}
}

// TestPoolLimit: never more are out than the limit, and none is lost.
func TestPoolLimit(t *testing.T) {
	const limit, users, times = 3, 8, 200
	var made, out, most atomic.Int64
	p := newPool(limit, func() int64 { return made.Add(1) })
	var wg sync.WaitGroup
	for range users {
		wg.Go(func() {
			for range times {
				b, err := p.get(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				for n := out.Add(1); ; {
					m := most.Load()
					if n <= m || most.CompareAndSwap(m, n) {
						break
					}
				}
				out.Add(-1)
				p.put(b)
			}
		})
	}
	wg.Wait()
	if made.Load() > limit || most.Load() > limit {
		t.Errorf("%d made, %d out at once, want at most %d", made.Load(), most.Load(), limit)
	}
}
