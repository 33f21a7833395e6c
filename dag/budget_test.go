package dag

import (
	"context"
	"errors"
	"testing"
	"time"
)

// TestMemoryOfOperations holds what is asked of a Budget against what the
// operations can take: TestPoolLimit holds that they take no more than that.
func TestMemoryOfOperations(t *testing.T) {
	for _, size := range []int64{-1, 0, 1, 1 << 20, 1<<20 + 1, 3 << 20, 5<<20 - 1, window - 1, window, window + 1, 1 << 40} {
		o := ImportOptions{Size: size}
		chunk := int64(o.Profile.leafSize())
		most := min(chunk, max(size, 0)) + 1 // readFirst
		if size < 0 || size > chunk {
			most = chunk + 1 + int64(o.newImporter(nil).limit)*int64(o.unitSize())
		}
		if got := ImportMemory(size); got < most {
			t.Errorf("ImportMemory(%d) = %d, an import takes %d", size, got, most)
		}
		if most := min(max(size, 0), window); ImportMemory(size) < most { // fileCopy's window
			t.Errorf("ImportMemory(%d) = %d, a copy takes %d", size, ImportMemory(size), most)
		}
		r := &Reader{local: true, top: &node{size: max(size, 0)}}
		runs := int64(r.newCopier(0, r.Size()).limit)
		if most := min(runs*runBytes, max(size, 0)); ExportMemory(size) < most {
			t.Errorf("ExportMemory(%d) = %d, an export takes %d", size, ExportMemory(size), most)
		}
	}
}

// take takes from a budget in a goroutine and returns when that waits.
func take(ctx context.Context, t *testing.T, b *Budget, n int64) <-chan error {
	t.Helper()
	waiting, got := b.Waiting(), make(chan error, 1)
	go func() {
		s, err := b.Take(ctx, n)
		if err == nil {
			s.Release()
		}
		got <- err
	}()
	tick, limit := time.NewTicker(time.Millisecond), time.After(time.Minute)
	defer tick.Stop()
	for b.Waiting() == waiting {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatal("nobody waits")
		}
	}
	return got
}

func TestBudget(t *testing.T) {
	b := NewBudget(1) // too small for anything: one window
	all, err := b.Take(t.Context(), 1<<50)
	if err != nil {
		t.Fatal(err)
	}
	stop := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	tired, patient := take(ctx, t, b, 1), take(t.Context(), t, b, 1)
	cancel(stop)
	if err := <-tired; !errors.Is(err, stop) {
		t.Errorf("cancelled: %v, want %v", err, stop)
	}
	all.Keep(1 << 60) // more than it has: nothing to give back
	if b.Waiting() != 1 {
		t.Errorf("%d wait, want 1", b.Waiting())
	}
	all.Keep(ImportMemory(-1) - 1)
	if err := <-patient; err != nil {
		t.Error(err)
	}
	all.Release()
	all.Release()
	again, err := b.Take(t.Context(), ImportMemory(-1))
	if err != nil {
		t.Fatal(err)
	}
	last := take(t.Context(), t, b, 1)
	again.Release()
	if err := <-last; err != nil {
		t.Error(err)
	}
}

// TestNoBudget: without a budget everybody gets what is asked for.
func TestNoBudget(t *testing.T) {
	var b *Budget
	s, err := b.Take(t.Context(), 1<<62)
	if err != nil {
		t.Fatal(err)
	}
	s.Keep(1)
	s.Release()
}

// TestTryTake: what is not needed is taken only from what nobody waits for.
func TestTryTake(t *testing.T) {
	b := NewBudget(0)
	s, err := b.Take(t.Context(), ImportMemory(-1))
	if err != nil {
		t.Fatal(err)
	}
	rest := 8*ImportMemory(-1) - ImportMemory(-1)
	if b.TryTake(rest + 1) {
		t.Error("took more than there is")
	}
	if !b.TryTake(rest-5) || !b.TryTake(5) || b.TryTake(1) {
		t.Error("took not what there is")
	}
	b.Give(rest / 2)
	ctx, cancel := context.WithCancel(t.Context())
	got := take(ctx, t, b, rest)
	if b.TryTake(1) {
		t.Error("took what somebody waits for")
	}
	cancel()
	if err := <-got; !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v", err)
	}
	if !b.TryTake(1) {
		t.Error("took nothing, though nobody waits any more")
	}
	b.Give(rest - rest/2 + 1)
	s.Release()
	whole, err := b.Take(t.Context(), 1<<62)
	if err != nil {
		t.Fatal(err)
	}
	whole.Release()
	if (*Budget)(nil).TryTake(1) {
		t.Error("took from nothing")
	}
}
