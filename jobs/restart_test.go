package jobs

import (
	"testing"

	"github.com/hypha-node/hypha-node/bridge/bridgetest"
	"github.com/hypha-node/hypha-node/bridge/client"
)

// A node that ends in order ends its commands; the jobs that did not run yet go
// on when it starts again.
func TestNodeStops(t *testing.T) {
	s := newSite(t, bridgetest.Options{})
	one := func(c *Config) { c.Running = 1 }
	sup, stop := s.serving(t, one)
	first := create(t, sup, shell("exec tail -f /dev/null"))
	awaitState(t, sup, first.ID, StateRunning)
	queued := create(t, sup, shell("echo went on"))
	awaitState(t, sup, queued.ID, StateQueued)
	spec := shell("echo waited")
	spec.After = []string{queued.ID}
	waiting := create(t, sup, spec)
	attached := create(t, sup, Spec{})
	stop()

	if job, err := s.open(t).Show(t.Context(), first.ID); err != nil || job.State != StateFailed || job.Error != "the node was stopped" {
		t.Errorf("%+v, %v", job, err)
	}
	sup, _ = s.serving(t, one)
	for id, want := range map[string]string{queued.ID: "went on\n", waiting.ID: "waited\n"} {
		if job := awaitState(t, sup, id); job.State != StateFinished || logs(t, sup, id, Stdout) != want {
			t.Errorf("%+v", job)
		}
	}
	c := client.New(attached.Socket)
	defer c.Close()
	if err := c.Healthy(t.Context()); err != nil {
		t.Errorf("the attached job does not answer where it did: %v", err)
	}
}

// A node that dies while it ends a job ends it when it starts again, as it was.
func TestDiedWhileEnding(t *testing.T) {
	s := newSite(t, bridgetest.Options{})
	sup, stop := s.serving(t, nil)
	done := awaitState(t, sup, create(t, sup, shell("exit 3")).ID)
	attached := create(t, sup, Spec{})
	stop()
	for id, state := range map[string]State{done.ID: StateRunning, attached.ID: StateCreated} {
		rec, err := sup.read(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		rec.State, rec.Next = state, StateFailed
		if err := sup.put(t.Context(), id, rec); err != nil {
			t.Fatal(err)
		}
		if err := sup.place.make(id); err != nil {
			t.Fatal(err)
		}
	}
	sup, _ = s.serving(t, nil)
	for _, id := range []string{done.ID, attached.ID} {
		if job := awaitState(t, sup, id); job.State != StateFailed || sup.place.hasWork(id) {
			t.Errorf("%+v", job)
		}
	}
	if job := awaitState(t, sup, done.ID); job.ExitCode == nil || *job.ExitCode != 3 {
		t.Errorf("%+v", job)
	}
}
