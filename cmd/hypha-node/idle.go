package main

import (
	"context"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// How an idle daemon is told from a busy one: it allocates less than this many
// bytes between two looks.
const (
	idleLook   = 15 * time.Second
	idleAllocs = 4 << 20
)

// shrinkWhenIdle gives memory back to the system once after every time of work,
// until ctx ends. The collector alone takes minutes for it: it runs every two
// when nothing is allocated, and buffers in pools survive the first run.
// Measured after reading 1 GiB: 62 MiB resident for more than 3 minutes without
// this, 36 MiB after half a minute with it.
func shrinkWhenIdle(ctx context.Context) {
	look := time.NewTicker(idleLook)
	defer look.Stop()
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	last, worked := sample[0].Value.Uint64(), false
	for {
		select {
		case <-look.C:
		case <-ctx.Done():
			return
		}
		metrics.Read(sample)
		now := sample[0].Value.Uint64()
		switch busy := now-last >= idleAllocs; {
		case busy:
			worked = true
		case worked:
			worked = false
			runtime.GC() // what pools hold is dropped by the second run
			debug.FreeOSMemory()
		}
		last = now
	}
}
