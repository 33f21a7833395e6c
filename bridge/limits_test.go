package bridge

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hypha-node/hypha-node/connectors"
)

// Bytes come at the rate: a second's worth is free, what follows takes its time.
func TestRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const perSecond = 1 << 20
		m := newLimiter(Limits{Rate: perSecond})
		content := make([]byte, 3*perSecond+perSecond/2)
		it := m.paced(connectors.Item{Open: func(context.Context, int64, int64, []byte) (*connectors.Body, error) {
			return &connectors.Body{ReadCloser: io.NopCloser(bytes.NewReader(content)), ETag: "e", Size: int64(len(content))}, nil
		}})
		start := time.Now()
		body, err := it.Open(t.Context(), 0, -1, nil)
		if err != nil || body.ETag != "e" {
			t.Fatalf("%+v, %v", body, err)
		}
		if n, err := io.Copy(io.Discard, body); err != nil || n != int64(len(content)) {
			t.Errorf("%d, %v", n, err)
		}
		if took := time.Since(start); took < 2499*time.Millisecond || took > 2501*time.Millisecond {
			t.Errorf("took %v", took)
		}
		// Who comes next waits for those who wait already.
		owe := func(seconds int) {
			for range seconds {
				m.pace.ReserveN(time.Now(), perSecond)
			}
		}
		owe(5)
		if d := m.debt(); d < 4999*time.Millisecond || d > 5001*time.Millisecond {
			t.Errorf("debt %v", d)
		}
		start = time.Now()
		if err := m.settle(t.Context()); err != nil {
			t.Error(err)
		}
		if took := time.Since(start); took < 4999*time.Millisecond || took > 5001*time.Millisecond {
			t.Errorf("took %v", took)
		}
		owe(1)
		short, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		if err := m.settle(short); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		gone, cancelNow := context.WithCancelCause(t.Context())
		cancelNow(ErrCancelled)
		if err := m.pay(gone, 10); !errors.Is(err, ErrCancelled) {
			t.Errorf("%v", err)
		}
	})
}

// Without a rate nothing waits and nothing is wrapped.
func TestNoRate(t *testing.T) {
	m := newLimiter(Limits{})
	if m.payer() != nil || m.debt() != 0 || m.settle(t.Context()) != nil || m.pay(t.Context(), 1<<40) != nil {
		t.Error("waits")
	}
}

// Who waits at a full gate comes in when somebody leaves, else it is busy.
func TestGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(1)
		if err := g.enter(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		if err := g.enter(t.Context(), 0); !errors.Is(err, ErrBusy) {
			t.Errorf("%v", err)
		}
		if err := g.enter(t.Context(), slotWait); !errors.Is(err, ErrBusy) {
			t.Errorf("%v", err)
		}
		done := make(chan error)
		go func() { done <- g.enter(t.Context(), slotWait) }()
		synctest.Wait()
		g.leave()
		if err := <-done; err != nil || g.held() != 1 {
			t.Errorf("%v, %d inside", err, g.held())
		}
		all := newGate(-1)
		for range 10_000 {
			if err := all.enter(t.Context(), 0); err != nil {
				t.Fatal(err)
			}
		}
		all.leave()
	})
}

// How long a delivery is tried again, without a network: in virtual time.
func TestPatience(t *testing.T) {
	for _, c := range []struct {
		name     string
		err      error
		fallback bool
		from, to time.Duration
	}{
		{"lost connection", io.ErrUnexpectedEOF, false, 50 * time.Second, defaultPatience},
		{"lost connection, others can stand in", io.ErrUnexpectedEOF, true, 2 * time.Second, failOver},
		{"no such job", notInJob(), false, 800 * time.Millisecond, shyPatience},
		{"no such job, others can stand in", notInJob(), true, 0, 0},
		{"busy", busy(ErrBusy), false, 9 * time.Minute, busyPatience},
		{"busy, others can stand in", busy(ErrBusy), true, 0, 0},
		{"bad offer", invalidOffer("name"), false, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := &attempt{fallback: c.fallback, patience: defaultPatience, since: time.Now(), reached: true}
				start := time.Now()
				for {
					pause, again := a.again(c.err)
					if !again {
						break
					}
					if err := sleep(t.Context(), pause); err != nil {
						t.Fatal(err)
					}
				}
				if took := time.Since(start); took < c.from || took > c.to {
					t.Errorf("gave up after %v, want %v to %v", took, c.from, c.to)
				}
			})
		})
	}
}
