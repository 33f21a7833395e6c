package jobs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/ipfs/go-cid"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/bridge"
	"github.com/hypha-node/hypha-node/bridge/bridgetest"
)

// serving opens a supervisor and serves it until the test ends or stop is called.
func (s *site) serving(t *testing.T, change func(*Config)) (sup *Supervisor, stop func()) {
	t.Helper()
	c := Config{
		Dir: s.dir, RuntimeDir: s.runtime, Records: s.records, Engine: s.Engine, Store: s.Store,
		Environ: []string{"PATH=/usr/bin:/bin"},
	}
	if change != nil {
		change(&c)
	}
	sup, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- sup.Serve(ctx, func() { close(ready) }) }()
	bridgetest.Wait(t, ready, "the start")
	ended := false
	stop = func() {
		if !ended {
			ended = true
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}
	t.Cleanup(stop)
	return sup, stop
}

// shell returns a spec that runs a script.
func shell(script string) Spec {
	return Spec{Command: &Program{Args: []string{"/bin/sh", "-c", script}}}
}

// create creates a job.
func create(t *testing.T, sup *Supervisor, spec Spec) Job {
	t.Helper()
	job, err := sup.Create(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	return job
}

// awaitState returns a job when it has one of the states, or has ended.
func awaitState(t *testing.T, sup *Supervisor, id string, states ...State) Job {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for job, err := range sup.Watch(ctx, id) {
		if err != nil {
			t.Fatalf("%s: %v", id, err)
		}
		if job.State.Ended() || slices.Contains(states, job.State) {
			return job
		}
	}
	t.Fatal("the watch ended")
	return Job{}
}

// logs returns what a job has written.
func logs(t *testing.T, sup *Supervisor, id string, stream Stream) string {
	t.Helper()
	var b bytes.Buffer
	if err := sup.Logs(t.Context(), id, stream, false, &b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// J2, J3, J4: a command runs to its end; what it wrote and how it ended is kept,
// its socket and its directory are gone.
func TestSubmit(t *testing.T) {
	s := newSite(t, bridgetest.Options{})
	sup, _ := s.serving(t, nil)
	for _, tt := range []struct {
		name, script string
		state        State
		code         int
		signal, why  string
	}{
		{"done", `echo out; echo err >&2`, StateFinished, 0, "", ""},
		{"fails", `echo out; echo err >&2; exit 3`, StateFailed, 3, "", "exit code 3"},
		{"killed", `echo out; echo err >&2; kill -KILL $$`, StateFailed, 128 + 9, "SIGKILL", "ended by SIGKILL"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			created := create(t, sup, shell(tt.script))
			if created.State != StateCreated || created.WorkDir == "" || created.Socket == "" {
				t.Errorf("%+v", created)
			}
			job := awaitState(t, sup, created.ID)
			if job.State != tt.state || job.ExitCode == nil || *job.ExitCode != tt.code || job.Signal != tt.signal || job.Error != tt.why {
				t.Errorf("%+v", job)
			}
			if job.Started.Before(job.Created.Truncate(time.Millisecond)) || job.Ended.Before(job.Started) || job.PID != 0 {
				t.Errorf("created %v, started %v, ended %v, process %d", job.Created, job.Started, job.Ended, job.PID)
			}
			if out, errs := logs(t, sup, job.ID, Stdout), logs(t, sup, job.ID, Stderr); out != "out\n" || errs != "err\n" {
				t.Errorf("%q and %q", out, errs)
			}
			for _, name := range []string{job.Socket, job.WorkDir} {
				if _, err := os.Lstat(name); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("%s is still there: %v", name, err)
				}
			}
			for _, stream := range []Stream{Stdout, Stderr} {
				name := filepath.Join(filepath.Dir(job.WorkDir), stream.file())
				if info, err := os.Lstat(name); err != nil || info.Mode() != 0o600 {
					t.Errorf("%s: %v, %v", name, info, err)
				}
			}
			if err := sup.Remove(t.Context(), job.ID); err != nil {
				t.Fatal(err)
			}
			if _, err := os.Lstat(filepath.Dir(job.WorkDir)); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("removed, and still there: %v", err)
			}
		})
	}
}

// The states that a job goes through are all recorded, in their order.
func TestStates(t *testing.T) {
	s := newSite(t, bridgetest.Options{})
	s.Origin.Put("/x", []byte("content"))
	seen := &recorder{Records: s.records}
	s.records = seen
	sup, _ := s.serving(t, nil)
	first := create(t, sup, shell("true"))
	spec := shell("cat in/x")
	spec.After = []string{first.ID}
	spec.Inputs = map[string]json.RawMessage{"in": json.RawMessage(`"` + s.Origin.URL + `/x"`)}
	job := awaitState(t, sup, create(t, sup, spec).ID)
	if job.State != StateFinished || logs(t, sup, job.ID, Stdout) != "content" {
		t.Errorf("%+v", job)
	}
	want := []State{StateCreated, StateWaiting, StateQueued, StateStaging, StateRunning, StateFinished}
	if got := seen.states(job.ID); !cmp.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if !cmp.Equal(job.Inputs, map[string][]string{"in": {s.Origin.URL + "/x"}}) {
		t.Errorf("inputs %v", job.Inputs)
	}
	if n := pins(t, s.Store, job.ID); n != 0 {
		t.Errorf("%d pins are left of a job that is not kept", n)
	}
}

func TestTimeout(t *testing.T) {
	s := newSite(t, bridgetest.Options{})
	sup, _ := s.serving(t, nil)
	spec := shell("exec tail -f /dev/null")
	spec.Command.Timeout = Duration(10 * time.Millisecond)
	spec.Keep = KeepFailed
	job := awaitState(t, sup, create(t, sup, spec).ID)
	if job.State != StateFailed || job.Error != "timed out after 10ms" || job.Signal != "SIGTERM" {
		t.Errorf("%+v", job)
	}
	if _, err := os.Lstat(job.WorkDir); err != nil {
		t.Errorf("keep failed: %v", err)
	}
}

// J1: SIGTERM to the whole group, then SIGKILL for who does not heed it.
func TestStop(t *testing.T) {
	s := newSite(t, bridgetest.Options{})
	sup, _ := s.serving(t, nil)
	for name, tt := range map[string]struct {
		spec   Spec
		grace  time.Duration
		signal string
		code   int
		out    string
	}{
		"heeds":    {heeds(t), time.Minute, "", 0, "ready\nbye\n"},
		"does not": {shell(`trap '' TERM; echo ready; tail -f /dev/null`), 200 * time.Millisecond, "SIGKILL", 137, "ready\n"},
	} {
		t.Run(name, func(t *testing.T) {
			spec := tt.spec
			spec.Command.Grace = Duration(tt.grace)
			spec.Keep = KeepFailed
			id := create(t, sup, spec).ID
			reader := &seeing{text: "ready\n", seen: make(chan struct{})}
			followed := make(chan error, 1)
			go func() { followed <- sup.Logs(t.Context(), id, Stdout, true, reader) }()
			bridgetest.Wait(t, reader.seen, "the command's begin")
			job, err := sup.Stop(t.Context(), id)
			if err != nil || job.State != StateStopped || job.Signal != tt.signal || *job.ExitCode != tt.code || job.Error != "" {
				t.Errorf("%+v, %v", job, err)
			}
			if err := <-followed; err != nil || reader.String() != tt.out {
				t.Errorf("followed %q, %v", reader, err)
			}
			if again, err := sup.Stop(t.Context(), id); err != nil || !cmp.Equal(again, job) {
				t.Errorf("stopped again: %+v, %v", again, err)
			}
			if _, err := os.Lstat(job.WorkDir); err != nil {
				t.Errorf("keep failed: %v", err)
			}
		})
	}
}

// Only so many run at once; the others run in the order of their creation.
func TestQueue(t *testing.T) {
	s := newSite(t, bridgetest.Options{})
	sup, _ := s.serving(t, func(c *Config) { c.Running = 1 })
	order := filepath.Join(t.TempDir(), "order")
	first := create(t, sup, shell(`exec tail -f /dev/null`))
	awaitState(t, sup, first.ID, StateRunning)
	var ids []string
	for _, name := range []string{"a", "b", "c", "d"} {
		spec := shell(`echo ` + name + ` >> "` + order + `"`)
		spec.ID = name
		ids = append(ids, create(t, sup, spec).ID)
	}
	if job, err := sup.Stop(t.Context(), "b"); err != nil || job.State != StateStopped || job.ExitCode != nil {
		t.Errorf("a queued job: %+v, %v", job, err)
	}
	for _, id := range []string{"a", "c", "d"} {
		if job := awaitState(t, sup, id, StateQueued); job.State != StateQueued {
			t.Errorf("%+v", job)
		}
	}
	if _, err := sup.Stop(t.Context(), first.ID); err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		if job := awaitState(t, sup, id); job.State != StateFinished && id != "b" {
			t.Errorf("%+v", job)
		}
	}
	if got, err := os.ReadFile(order); err != nil || string(got) != "a\nc\nd\n" {
		t.Errorf("%q, %v", got, err)
	}
}

// What a job comes after must have finished; anything else fails it.
func TestAfter(t *testing.T) {
	s := newSite(t, bridgetest.Options{})
	sup, _ := s.serving(t, nil)
	after := func(ids ...string) Job {
		spec := shell("echo ran")
		spec.After = ids
		return create(t, sup, spec)
	}
	good := awaitState(t, sup, create(t, sup, shell("true")).ID)
	bad := awaitState(t, sup, create(t, sup, shell("false")).ID)
	running := create(t, sup, shell("exec tail -f /dev/null"))
	attached := create(t, sup, Spec{})

	if job := awaitState(t, sup, after(good.ID).ID); job.State != StateFinished {
		t.Errorf("after a finished one: %+v", job)
	}
	if job := awaitState(t, sup, after(good.ID, bad.ID).ID); job.State != StateFailed || !strings.Contains(job.Error, bad.ID+", which it comes after, has failed") || job.ExitCode != nil {
		t.Errorf("after a failed one: %+v", job)
	}
	waits, removed := after(running.ID, good.ID), after(attached.ID)
	chain := after(waits.ID)
	if job := awaitState(t, sup, waits.ID, StateWaiting); job.State != StateWaiting {
		t.Errorf("%+v", job)
	}
	if _, err := sup.Stop(t.Context(), running.ID); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{waits.ID, chain.ID} {
		if job := awaitState(t, sup, id); job.State != StateFailed || job.ExitCode != nil {
			t.Errorf("after a stopped one: %+v", job)
		}
	}
	if err := sup.Remove(t.Context(), attached.ID); err != nil {
		t.Fatal(err)
	}
	if job := awaitState(t, sup, removed.ID); job.State != StateFailed {
		t.Errorf("after one that was removed: %+v", job)
	}
	if _, err := sup.Create(t.Context(), Spec{After: []string{"nobody"}}); !errors.Is(err, ErrSpec) {
		t.Errorf("after nobody: %v", err)
	}
	// Whoever finishes may be removed at once.
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	slow := create(t, sup, shell(`read line < "`+pipe+`"`))
	next := after(slow.ID)
	if err := os.WriteFile(pipe, []byte("go\n"), 0); err != nil { // opens when the other side does
		t.Fatal(err)
	}
	if job := awaitState(t, sup, slow.ID); job.State != StateFinished {
		t.Errorf("%+v", job)
	}
	if err := sup.Remove(t.Context(), slow.ID); err != nil {
		t.Fatal(err)
	}
	if job := awaitState(t, sup, next.ID); job.State != StateFinished {
		t.Errorf("after one that finished and was removed: %+v", job)
	}
}

// Outputs are stored, pinned and described, and stay pinned until the job is
// removed.
func TestOutputs(t *testing.T) {
	s := newSite(t, bridgetest.Options{})
	var announced []cid.Cid
	sup, _ := s.serving(t, func(c *Config) {
		c.Announce = func(_ context.Context, root cid.Cid) error { announced = append(announced, root); return nil }
	})
	spec := shell(`mkdir -p out/deep .hidden; printf hello\ world > out/a.txt; echo b > out/deep/b.txt; echo c > out/deep/c.bin
		ln -s /etc/passwd out/passwd.txt; ln -s a.txt out/link.txt; mkfifo out/fifo.txt; echo d > .hidden/d.txt; echo e > result`)
	spec.Outputs = []string{"result", "out/*.txt", "**/*.txt", "out/deep"}
	spec.Announce = true
	job := awaitState(t, sup, create(t, sup, spec).ID)
	var paths []string
	for _, o := range job.Outputs {
		paths = append(paths, o.Path)
	}
	if want := []string{"out/a.txt", "out/deep", "out/deep/b.txt", "result"}; job.State != StateFinished || !cmp.Equal(paths, want) {
		t.Fatalf("%+v\noutputs %v, want %v", job, paths, want)
	}
	want := Output{
		Path: "out/a.txt", CID: "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e", Size: 11,
		Checksum: "sha256:b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9",
	}
	if job.Outputs[0] != want || job.Outputs[1].Checksum != "" || job.Outputs[1].Size != 4 {
		t.Errorf("%+v", job.Outputs)
	}
	if len(announced) != 4 {
		t.Errorf("announced %v", announced)
	}
	if n := pinned(t, s.Store, bridge.MatchedPin(job.ID, true)); n != 4 {
		t.Errorf("%d outputs are pinned", n)
	}
	// What the job asked to be kept is not the supervisor's, be it the same content.
	kept, err := cid.Decode(want.CID)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Store.Pin(t.Context(), blockstore.Pin{Root: kept, Name: bridge.OutputPin(job.ID, true)}); err != nil {
		t.Fatal(err)
	}
	if err := sup.Remove(t.Context(), job.ID); err != nil {
		t.Fatal(err)
	}
	if matched, own := pinned(t, s.Store, bridge.MatchedPin(job.ID, true)), pinned(t, s.Store, bridge.OutputPin(job.ID, true)); matched != 0 || own != 1 {
		t.Errorf("%d and %d outputs are pinned after the removal", matched, own)
	}
	quiet := shell("echo x > there")
	quiet.Outputs = []string{"there"}
	job = awaitState(t, sup, create(t, sup, quiet).ID)
	if err := sup.Dismiss(t.Context(), job.ID); err != nil {
		t.Fatal(err)
	}
	if n := pinned(t, s.Store, bridge.MatchedPin(job.ID, false)); n != 1 {
		t.Errorf("%d outputs are pinned of a dismissed job", n)
	}

	for name, tt := range map[string]struct {
		script, why string
		outputs     []string
		stored      int
	}{
		"missing":        {"echo x > there", `output "gone*": nothing matches`, []string{"there", "gone*"}, 1},
		"of a failed":    {"echo x > there; exit 1", "exit code 1", []string{"there"}, 1},
		"only a link":    {"ln -s /etc/passwd link", "nothing matches", []string{"link"}, 0},
		"through a link": {"ln -s /etc link", "nothing matches", []string{"link/passwd", "link/*"}, 0},
		"private":        {"true", "nothing matches", []string{"*hypha/*", "**/job.json"}, 0},
		"hostile name":   {`touch "$(printf 'a\nb')" good`, "holds U+000A", []string{"*"}, 1},
		"too many":       {`i=0; while [ $i -lt 1001 ]; do : > f$i; i=$((i+1)); done`, "more than 1000", []string{"f*"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			spec := shell(tt.script)
			spec.Outputs = tt.outputs
			job := awaitState(t, sup, create(t, sup, spec).ID)
			if job.State != StateFailed || !strings.Contains(job.Error, tt.why) || len(job.Outputs) != tt.stored {
				t.Errorf("%+v", job)
			}
		})
	}
}

// recorder notes the states that are written.
type recorder struct {
	blockstore.Records

	mu     sync.Mutex
	values map[string][]State
}

func (r *recorder) Put(ctx context.Context, key string, value []byte) error {
	var rec record
	if err := json.Unmarshal(value, &rec); err != nil {
		return err
	}
	r.mu.Lock()
	if r.values == nil {
		r.values = map[string][]State{}
	}
	r.values[key] = append(r.values[key], rec.State)
	r.mu.Unlock()
	return r.Records.Put(ctx, key, value)
}

// states returns the states that were written of a job, each once.
func (r *recorder) states(id string) []State {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Compact(slices.Clone(r.values[id]))
}

// seeing is a buffer that tells when a text has been written to it.
type seeing struct {
	text string
	seen chan struct{}

	mu   sync.Mutex
	once sync.Once
	b    bytes.Buffer
}

func (s *seeing) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.b.Write(p)
	if strings.Contains(s.b.String(), s.text) {
		s.once.Do(func() { close(s.seen) })
	}
	return len(p), nil
}

func (s *seeing) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// Outputs wait while the node's memory is taken, and give their shares back.
func TestOutputsWaitForMemory(t *testing.T) {
	s := newSite(t, bridgetest.Options{})
	sup, _ := s.serving(t, nil)
	budget := s.Engine.Memory()
	all, err := budget.Take(t.Context(), 1<<62)
	if err != nil {
		t.Fatal(err)
	}
	spec := shell("mkdir d; echo a > d/a; echo b > b")
	spec.Outputs = []string{"b", "d"}
	job := create(t, sup, spec)
	bridgetest.Until(t, "an output that waits", func() bool { return budget.Waiting() == 1 })
	all.Release()
	if job = awaitState(t, sup, job.ID); job.State != StateFinished || len(job.Outputs) != 2 {
		t.Errorf("%+v", job)
	}
	again, err := budget.Take(t.Context(), 1<<62)
	if err != nil {
		t.Fatal(err)
	}
	again.Release()
}
