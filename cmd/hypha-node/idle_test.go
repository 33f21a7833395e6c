package main

import (
	"context"
	"runtime/metrics"
	"testing"
	"testing/synctest"
	"time"
)

// forced returns how many collections were asked for.
func forced() uint64 {
	sample := []metrics.Sample{{Name: "/gc/cycles/forced:gc-cycles"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// TestShrinkWhenIdle: memory is given back once after the start and after work, and
// not while there is some or none.
func TestShrinkWhenIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			shrinkWhenIdle(ctx)
		}()
		var kept [][]byte
		work := func() { kept = append(kept, make([]byte, 2*idleAllocs)) }
		wait := func(d time.Duration) {
			time.Sleep(d) //nolint:forbidigo // virtual
			synctest.Wait()
		}
		pass := func() { wait(idleLook) }
		begin := forced()
		check := func(when string, want uint64) {
			t.Helper()
			if got := forced() - begin; got != want {
				t.Errorf("%s: %d collections were asked for, want %d", when, got, want)
			}
		}
		wait(0) // it has begun
		work()
		wait(startLook)
		check("the start goes on", 0)
		wait(startLook)
		check("the start is over", 2)
		pass()
		check("nothing has been done", 2)
		work()
		pass()
		check("work goes on", 2)
		work()
		pass()
		check("work goes on", 2)
		pass()
		check("idle", 4)
		pass()
		pass()
		check("idle for long", 4)
		work()
		pass()
		pass()
		check("idle again", 6)
		cancel()
		<-ended
		kept = nil
	})
}
