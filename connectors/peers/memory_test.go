package peers

import (
	"testing"
	"time"

	"github.com/hypha-node/hypha-node/dag"
)

// TestMemoryIsWaitedFor: while the node's memory is taken, a file that is pulled
// waits, its sender is told that somebody is alive, and content that comes with
// its offer does not wait.
func TestMemoryIsWaitedFor(t *testing.T) {
	budget := dag.NewBudget(0)
	a := newNode(t, nil)
	b := newNode(t, func(c *Config) { c.Memory = budget })
	introduce(a.host, b.host)
	all, err := budget.Take(t.Context(), 1<<62)
	if err != nil {
		t.Fatal(err)
	}
	large := content(1, 3<<20)
	f := a.add(t, large, dag.ImportOptions{})
	done := make(chan error, 1)
	go func() {
		_, err := a.Send(bounded(t), b.host.ID().String(), offer("large", f), SendOptions{})
		done <- err
	}()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for limit := bounded(t); budget.Waiting() != 1; {
		select {
		case <-tick.C:
		case err := <-done:
			t.Fatalf("did not wait: %v", err)
		case <-limit.Done():
			t.Fatal("nobody waits")
		}
	}
	small := a.add(t, content(2, 100), dag.ImportOptions{})
	if _, err := a.Send(bounded(t), b.host.ID().String(), offer("small", small), SendOptions{}); err != nil {
		t.Error(err)
	}
	all.Release()
	if err := <-done; err != nil {
		t.Error(err)
	}
	b.has(t, f, large)
	again, err := budget.Take(bounded(t), 1<<62) // all came back
	if err != nil {
		t.Fatal(err)
	}
	again.Release()
}
