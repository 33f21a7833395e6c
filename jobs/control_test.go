package jobs

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/hypha-node/hypha-node/bridge/bridgetest"
)

// P1: bodies go to the controller and back byte for byte, once, with the job's id.
func TestController(t *testing.T) {
	var calls atomic.Int64
	answer := func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		w.Header().Set("Job", r.Header.Get(JobHeader))
		switch string(body) {
		case `"fail"`:
			w.WriteHeader(http.StatusInternalServerError)
		case `"move"`:
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		case `"cut"`:
			panic(http.ErrAbortHandler)
		case `"large"`:
			_, _ = w.Write(make([]byte, controllerBody+1))
		default:
			_, _ = io.WriteString(w, r.Method+" "+r.URL.Path+" "+r.Header.Get(JobHeader)+" "+string(body))
		}
	}
	tcp := httptest.NewServer(http.HandlerFunc(answer))
	defer tcp.Close()
	dir, err := os.MkdirTemp("/tmp", "hypha-test-") //nolint:usetesting // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	socket := filepath.Join(dir, "c.sock")
	l, err := new(net.ListenConfig).Listen(t.Context(), "unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	unix := &httptest.Server{Listener: l, Config: &http.Server{Handler: http.HandlerFunc(answer)}} //nolint:gosec // a test's
	unix.Start()
	defer unix.Close()

	for address, base := range map[string]string{tcp.URL: "", tcp.URL + "/base/": "/base", "unix:" + socket: "", "unix://" + socket: ""} {
		c, err := newController(address)
		if err != nil {
			t.Fatal(err)
		}
		const body = "{ \"n\": 12345678901234567890.50,\n \"t\": \"<\\u00e9>\" }"
		got, err := c.Call(t.Context(), "job-1", "/status/send", []byte(body))
		if want := "POST " + base + "/status/send job-1 " + body; err != nil || string(got) != want {
			t.Errorf("%s: %s, %v; want %s", address, got, err, want)
		}
		for body, want := range map[string]string{`"fail"`: "500", `"move"`: "307", `"cut"`: "EOF", `"large"`: "longer than"} {
			calls.Store(0)
			got, err := c.Call(t.Context(), "job-1", "/action/update", []byte(body))
			if err == nil || !strings.Contains(err.Error(), want) || calls.Load() != 1 {
				t.Errorf("%s %s: %.20s, %v, %d calls", address, body, got, err, calls.Load())
			}
		}
	}
	gone, err := newController("http://user:hush@127.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := gone.Call(t.Context(), "j", "/status/send", []byte("1")); err == nil || strings.Contains(err.Error(), "hush") {
		t.Errorf("%s, %v", got, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if got, err := gone.Call(ctx, "j", "/status/send", []byte("1")); err == nil {
		t.Errorf("%s", got)
	}
}

// A hold that ends takes its job with it; one that the node ends does not.
func TestHold(t *testing.T) {
	s := newSite(t, bridgetest.Options{})
	sup, stop := s.serving(t, nil)
	hold := func(sup *Supervisor, id string) (let func(), over <-chan error) {
		ctx, cancel := context.WithCancel(t.Context())
		ended, ready := make(chan error, 1), make(chan struct{})
		go func() {
			ended <- sup.Hold(ctx, id, func(Job) error { close(ready); return nil })
		}()
		bridgetest.Wait(t, ready, "the hold")
		return cancel, ended
	}
	gone := func(sup *Supervisor, id string) bool {
		_, err := sup.Show(t.Context(), id)
		return err != nil
	}

	job := create(t, sup, Spec{Held: true})
	letA, overA := hold(sup, job.ID)
	letB, overB := hold(sup, job.ID)
	letA()
	if err := <-overA; err != nil || gone(sup, job.ID) {
		t.Errorf("with one holder of two: %v", err)
	}
	letB()
	if err := <-overB; err != nil {
		t.Error(err)
	}
	bridgetest.Until(t, "the end of the job", func() bool { return gone(sup, job.ID) })

	kept := create(t, sup, Spec{Held: true, Keep: KeepFailed})
	let, over := hold(sup, kept.ID)
	let()
	if err := <-over; err != nil {
		t.Error(err)
	}
	if got := awaitState(t, sup, kept.ID); got.State != StateFailed || got.Error != "its owner went away" || !sup.place.hasWork(kept.ID) {
		t.Errorf("%+v", got)
	}

	free := create(t, sup, Spec{})
	let, over = hold(sup, free.ID)
	let()
	if err := <-over; err != nil || gone(sup, free.ID) {
		t.Errorf("a job that need not be held: %v", err)
	}

	stays := create(t, sup, Spec{Held: true})
	let, over = hold(sup, stays.ID)
	defer let()
	stop()
	if err := <-over; err == nil {
		t.Error("the end of the node looks like that of the job")
	}
	sup, stop = s.serving(t, nil)
	let, over = hold(sup, stays.ID)
	if err := sup.Remove(t.Context(), stays.ID); err != nil {
		t.Error(err)
	}
	if err := <-over; err != nil {
		t.Error(err)
	}
	let()
	left := create(t, sup, Spec{Held: true})
	stop()
	sup, _ = s.serving(t, func(c *Config) { c.HoldGrace = 1 })
	bridgetest.Until(t, "the end of a job whose holder did not come back", func() bool { return gone(sup, left.ID) })
	if err := sup.Hold(t.Context(), left.ID, func(Job) error { return nil }); err == nil {
		t.Error("held a job that is gone")
	}
}

// A job whose command is its owner's is staged and finished by calls.
func TestOwnersCommand(t *testing.T) {
	s := newSite(t, bridgetest.Options{})
	s.Origin.Put("/x", []byte("content"))
	sup, _ := s.serving(t, nil)
	spec := Spec{Outputs: []string{"out"}, Keep: KeepFailed}
	spec.AddInput("in", []byte(`"`+s.Origin.URL+`/x"`))
	job := create(t, sup, spec)
	if err := sup.Stage(t.Context(), job.ID, nil); err != nil {
		t.Fatal(err)
	}
	if got, err := sup.Show(t.Context(), job.ID); err != nil || got.State != StateRunning || got.Started.IsZero() {
		t.Errorf("%+v, %v", got, err)
	}
	if data, err := os.ReadFile(filepath.Join(job.WorkDir, "in", "x")); err != nil || string(data) != "content" {
		t.Errorf("%q, %v", data, err)
	}
	if err := os.WriteFile(filepath.Join(job.WorkDir, "out"), []byte("o"), 0o600); err != nil {
		t.Fatal(err)
	}
	done, err := sup.Finish(t.Context(), job.ID, Exit{}, "")
	if err != nil || done.State != StateFinished || *done.ExitCode != 0 || len(done.Outputs) != 1 || sup.place.hasWork(job.ID) {
		t.Errorf("%+v, %v", done, err)
	}
	for name, exit := range map[string]Exit{"exit code 3": {Code: 3}, "ended by SIGTERM": {Code: 143, Signal: "SIGTERM"}} {
		job := create(t, sup, Spec{})
		done, err := sup.Finish(t.Context(), job.ID, exit, "")
		if err != nil || done.State != StateFailed || done.Error != name || done.Signal != exit.Signal {
			t.Errorf("%s: %+v, %v", name, done, err)
		}
		if _, err := sup.Finish(t.Context(), job.ID, exit, ""); err == nil {
			t.Errorf("%s: finished twice", name)
		}
		if err := sup.Stage(t.Context(), job.ID, nil); err == nil {
			t.Errorf("%s: staged after its end", name)
		}
	}
	missing := Spec{}
	missing.AddInput("in", []byte(`"`+s.Origin.URL+`/none"`))
	job = create(t, sup, missing)
	if err := sup.Stage(t.Context(), job.ID, nil); err == nil {
		t.Error("staged what is not there")
	}
	if done, err := sup.Finish(t.Context(), job.ID, Exit{}, "no input"); err != nil || done.Error != "no input" || done.ExitCode != nil {
		t.Errorf("%+v, %v", done, err)
	}
	own := create(t, sup, shell("exec tail -f /dev/null"))
	if err := sup.Stage(t.Context(), own.ID, nil); err == nil {
		t.Error("staged a job that the node runs")
	}
	if job, err := sup.Stop(t.Context(), create(t, sup, Spec{}).ID); err != nil || job.State != StateStopped {
		t.Errorf("%+v, %v", job, err)
	}
}
