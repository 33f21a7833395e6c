package control

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hypha-node/hypha-node/jobs"
)

// serveJobs has the rig's supervisor serve until the test ends.
func (r *rig) serveJobs(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- r.server.Jobs.Serve(ctx, func() { close(ready) }) }()
	<-ready
	t.Cleanup(func() {
		cancel()
		must(t, <-done)
	})
}

// awaitEnd returns a job when it has ended, and the states that were seen.
func (r *rig) awaitEnd(t *testing.T, id string) (last jobs.Job, states []jobs.State) {
	t.Helper()
	for ev, err := range r.JobWatch(t.Context(), id) {
		must(t, err)
		if ev.Item != nil {
			last = *ev.Item
			states = append(states, last.State)
		}
	}
	return last, states
}

func TestJobSubmit(t *testing.T) {
	both(t, func(t *testing.T, r *rig) {
		r.serveJobs(t)
		r.files["x"] = "content"
		spec := JobRequest{ID: "a", Outputs: []string{"out"}, Command: &jobs.Program{
			Args: []string{"/bin/sh", "-c", "/bin/cat in/x; echo oops >&2; echo o > out; exit $CODE"}, Env: map[string]string{"CODE": "0"},
		}}
		spec.AddInput("in", []byte(`"`+r.origin+`/x"`))
		_, err := r.JobCreate(t.Context(), spec)
		must(t, err)
		j, _ := r.awaitEnd(t, "a")
		if j.State != jobs.StateFinished || j.ExitCode == nil || *j.ExitCode != 0 || len(j.Outputs) != 1 {
			t.Errorf("%+v", j)
		}
		for stream, want := range map[jobs.Stream]string{"": "content", jobs.Stdout: "content", jobs.Stderr: "oops\n"} {
			for _, follow := range []bool{false, true} {
				var b bytes.Buffer
				if err := r.JobLogs(t.Context(), LogsRequest{ID: "a", Stream: stream, Follow: follow}, &b); err != nil || b.String() != want {
					t.Errorf("%s: %q, %v", stream, &b, err)
				}
			}
		}
		var b bytes.Buffer
		wantError(t, r.JobLogs(t.Context(), LogsRequest{ID: "a", Stream: "stdin"}, &b), CodeInvalid, "stdin")
		wantError(t, r.JobLogs(t.Context(), LogsRequest{ID: "nobody"}, &b), CodeNotFound, "nobody")

		spec = JobRequest{ID: "b", After: []string{"a"}, Command: &jobs.Program{Args: []string{"/bin/sh", "-c", "echo ready; exec tail -f /dev/null"}, Env: map[string]string{"PATH": "/usr/bin:/bin"}}}
		_, err = r.JobCreate(t.Context(), spec)
		must(t, err)
		ready := &signalled{want: "ready\n", seen: make(chan struct{})}
		followed := make(chan error, 1)
		go func() { followed <- r.JobLogs(t.Context(), LogsRequest{ID: "b", Follow: true}, ready) }()
		<-ready.seen
		j, err = r.JobStop(t.Context(), "b")
		if err != nil || j.State != jobs.StateStopped || j.Signal != "SIGTERM" {
			t.Errorf("%+v, %v", j, err)
		}
		must(t, <-followed)
		for _, bad := range []JobRequest{
			{Command: &jobs.Program{}}, {After: []string{"nobody"}}, {Peers: []string{""}}, {Command: &jobs.Program{Executor: "none"}}, {WorkDir: "relative"},
		} {
			_, err := r.JobCreate(t.Context(), bad)
			wantError(t, err, CodeInvalid, "")
		}
	})
}

// signalled closes seen when it has got a text.
type signalled struct {
	want string
	got  strings.Builder
	seen chan struct{}
}

func (s *signalled) Write(b []byte) (int, error) {
	before := s.got.String() == s.want
	s.got.Write(b)
	if !before && s.got.String() == s.want {
		close(s.seen)
	}
	return len(b), nil
}

// A job whose command is the client's: held, staged, finished.
func TestJobOfTheClient(t *testing.T) {
	both(t, func(t *testing.T, r *rig) {
		r.serveJobs(t)
		r.files["x"] = "content"
		spec := JobRequest{Held: true, Keep: jobs.KeepAlways}
		spec.AddInput("in", []byte(`"`+r.origin+`/x"`))
		j, err := r.JobCreate(t.Context(), spec)
		must(t, err)
		held, over := make(chan struct{}), make(chan error, 1)
		go func() {
			var last error
			for ev, err := range r.JobHold(t.Context(), j.ID) {
				if last = err; ev.Item != nil {
					close(held)
				}
			}
			over <- last
		}()
		<-held
		staged, err := items(r.JobStage(t.Context(), j.ID))
		if err != nil || len(staged) != 1 || staged[0].State != jobs.StateRunning {
			t.Errorf("%+v, %v", staged, err)
		}
		if text, err := os.ReadFile(filepath.Join(j.WorkDir, "in", "x")); err != nil || string(text) != "content" {
			t.Errorf("%q, %v", text, err)
		}
		done, err := r.JobFinish(t.Context(), JobEnd{ID: j.ID, ExitCode: 130, Signal: "SIGINT"})
		if err != nil || done.State != jobs.StateFailed || done.Signal != "SIGINT" || *done.ExitCode != 130 {
			t.Errorf("%+v, %v", done, err)
		}
		if err := <-over; err != nil {
			t.Errorf("the hold of a job that has ended: %v", err)
		}
		_, err = r.JobFinish(t.Context(), JobEnd{ID: j.ID})
		wantError(t, err, CodeConflict, "")
		_, err = items(r.JobStage(t.Context(), j.ID))
		wantError(t, err, CodeConflict, "")
		_, err = items(r.JobHold(t.Context(), "nobody"))
		wantError(t, err, CodeNotFound, "")
		_, err = r.JobStop(t.Context(), "../x")
		wantError(t, err, CodeNotFound, "")
	})
}
