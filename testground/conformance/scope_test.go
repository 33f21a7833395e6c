package conformance

import (
	"crypto/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// newID returns an id for jobs.
func newID() string { return "s-" + strings.ToLower(rand.Text()) }

// TestScopeTwoJobs: two jobs of one node receive from the same peer, each its
// own files.
func TestScopeTwoJobs(t *testing.T) {
	x, y := team(t, 0, 1), team(t, 0, 1)
	sx, sy := x[1].receive(t, anybody()), y[1].receive(t, anybody())
	for i, jobs := range [][]*job{x, y} {
		jobs[0].write(t, "f", []byte{byte('x' + i)})
		jobs[0].send(t, "f", shared.ids[1])
	}
	if item, _ := sx.next(t); string(x[1].read(t, item.Path)) != "x" {
		t.Errorf("x got %+v", item)
	}
	if item, _ := sy.next(t); string(y[1].read(t, item.Path)) != "y" {
		t.Errorf("y got %+v", item)
	}
	x[1].empty(t)
	y[1].empty(t)
}

// refusedBy sends to a peer that must know no such job.
func refusedBy(t *testing.T, j *job, to string) {
	t.Helper()
	r := j.post(t, "/resources/send", map[string]any{"send": toPeers("All", to), "path": "f"}).refused(t, 502, "delivery_failed")
	if !strings.Contains(string(r.Results), `"not_in_job"`) {
		t.Errorf("results %s, want not_in_job", r.Results)
	}
}

// TestScopePeers: only the peers of the list get in; a stranger is refused, and
// the job never hears of it.
func TestScopePeers(t *testing.T) {
	id := newID()
	to := newJob(t, shared.nodes[0], "--id", id, "--peer", shared.ids[1])
	friend, stranger := newJob(t, shared.nodes[1], "--id", id), newJob(t, shared.nodes[2], "--id", id)
	s := to.receive(t, anybody())
	for _, j := range []*job{friend, stranger} {
		j.write(t, "f", []byte("x"))
	}
	refusedBy(t, stranger, shared.ids[0])
	friend.send(t, "f", shared.ids[0])
	if item, _ := s.next(t); item.FromPeer != shared.ids[1] || item.Sequence != 0 {
		t.Errorf("%+v", item)
	}
	to.empty(t)
}

// TestScopeSecret: who does not know the job's secret does not get in.
func TestScopeSecret(t *testing.T) {
	id, dir := newID(), t.TempDir()
	for name, text := range map[string]string{"right": "correct horse\n", "wrong": "battery staple\n"} {
		ok(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	to := newJob(t, shared.nodes[0], "--id", id, "--secret-file", filepath.Join(dir, "right"))
	knows := newJob(t, shared.nodes[1], "--id", id, "--secret-file", filepath.Join(dir, "right"))
	guesses := newJob(t, shared.nodes[2], "--id", id, "--secret-file", filepath.Join(dir, "wrong"))
	for _, j := range []*job{knows, guesses} {
		j.write(t, "f", []byte("x"))
	}
	refusedBy(t, guesses, shared.ids[0])
	knows.send(t, "f", shared.ids[0])
	if item := to.one(t); item.FromPeer != shared.ids[1] || item.Sequence != 0 {
		t.Errorf("%+v", item)
	}
	to.empty(t)
}

// TestScopeOtherJob: a job's id alone opens its inbox; another one is no key.
func TestScopeOtherJob(t *testing.T) {
	to := newJob(t, shared.nodes[0])
	other := newJob(t, shared.nodes[1])
	other.write(t, "f", []byte("x"))
	refusedBy(t, other, shared.ids[0])
	to.empty(t)
}

// TestScopeChannels: a channel has its own files.
func TestScopeChannels(t *testing.T) {
	jobs := team(t, 0, 1)
	on := jobs[1].receive(t, map[string]any{"receive": toPeers("All"), "channel": "grads"})
	jobs[0].write(t, "f", []byte("g"))
	jobs[0].write(t, "d", []byte("d"))
	a := jobs[0].post(t, "/resources/send", map[string]any{"send": toPeers("All", shared.ids[1]), "path": "f", "channel": "grads"})
	if a.status != 200 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	jobs[0].send(t, "d", shared.ids[1])
	if item, _ := on.next(t); item.Name != "f" {
		t.Errorf("%+v", item)
	}
	if item := jobs[1].one(t); item.Name != "d" {
		t.Errorf("%+v", item)
	}
}
