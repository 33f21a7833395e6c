package jobs

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
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

// J5: what a command left running when the node died is found by the record and
// ended; a process that has only got the same id is not.
func TestNodeDied(t *testing.T) {
	if startOf(os.Getpid()) == "" {
		t.Skip("processes are not told apart on this system")
	}
	s := newSite(t, bridgetest.Options{})
	sup, stop := s.serving(t, nil)
	// The record of a run in which the node died is one that was taken while the
	// command ran. Its first process has another session, and a child with an
	// environment of its own.
	ready := filepath.Join(t.TempDir(), "ready")
	script := `env -i /bin/sh -c 'echo $$ > "` + ready + `.1"; exec tail -f /dev/null' & setsid tail -f /dev/null & echo $! > "` + ready + `.2"; wait`
	job := create(t, sup, shell(script))
	awaitState(t, sup, job.ID, StateRunning)
	var pids []int
	for _, suffix := range []string{".1", ".2"} {
		bridgetest.Until(t, "a process", func() bool {
			text, err := os.ReadFile(ready + suffix)
			pid, perr := strconv.Atoi(strings.TrimSpace(string(text)))
			if err == nil && perr == nil {
				pids = append(pids, pid)
			}
			return err == nil && perr == nil
		})
	}
	rec, err := sup.read(t.Context(), job.ID)
	bridgetest.Until(t, "the process in the record", func() bool {
		rec, err = sup.read(t.Context(), job.ID)
		return err != nil || rec.Run.PID != 0
	})
	if err != nil {
		t.Fatal(err)
	}
	wrong := running{Cookie: "HYPHA_RUN_ID=none", PID: rec.Run.PID, Start: "another boot/1"}
	if err := wrong.kill(); err != nil {
		t.Fatal(err)
	}
	for _, pid := range append(pids, rec.Run.PID) {
		if startOf(pid) == "" {
			t.Errorf("process %d was killed for having the id of another", pid)
		}
	}
	if err := rec.Run.kill(); err != nil {
		t.Fatal(err)
	}
	for _, pid := range pids { // what was killed may take a moment to end
		bridgetest.Until(t, "the end of a process", func() bool {
			fields := statOf(pid)
			return fields == nil || fields[0] == "Z"
		})
	}
	awaitState(t, sup, job.ID)
	stop()

	// The record as the dead node left it.
	if err := sup.put(context.Background(), job.ID, rec); err != nil {
		t.Fatal(err)
	}
	sup, _ = s.serving(t, nil)
	if got := awaitState(t, sup, job.ID); got.State != StateFailed || got.Error != "node restarted" || got.PID != 0 {
		t.Errorf("%+v", got)
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
