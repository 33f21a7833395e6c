package jobs

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/hypha-node/hypha-node/bridge/bridgetest"
)

// J5: what a command left running when the node died is found by the record and
// ended; a process that has only got the same id is not.
func TestNodeDied(t *testing.T) {
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
