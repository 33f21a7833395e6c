package rig

import (
	"context"
	"testing"
	"time"
)

// Within returns the test's context with an end: 5 minutes from now, and 20 s
// before the test binary would be killed, so that a program that hangs fails its
// test and is stopped instead of being left behind.
func Within(t *testing.T) context.Context {
	t.Helper()
	end := time.Now().Add(5 * time.Minute)
	if last, ok := t.Deadline(); ok && last.Add(-20*time.Second).Before(end) {
		end = last.Add(-20 * time.Second)
	}
	ctx, cancel := context.WithDeadline(t.Context(), end)
	t.Cleanup(cancel)
	return ctx
}
