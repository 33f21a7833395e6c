package node

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hypha-node/hypha-node/api/control"
	"github.com/hypha-node/hypha-node/bridge"
	"github.com/hypha-node/hypha-node/jobs"
)

// post posts JSON to a job's bridge and returns the answer.
func post(t *testing.T, j jobs.Job, path string, body any) (status int, answer string) {
	t.Helper()
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", j.Socket)
	}
	c := http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}
	text, err := json.Marshal(body)
	must(t, err)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://hypha"+path, bytes.NewReader(text))
	must(t, err)
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.Do(req)
	must(t, err)
	got, err := io.ReadAll(resp.Body)
	must(t, err)
	must(t, resp.Body.Close())
	return resp.StatusCode, string(got)
}

// send sends a file of a job to peers.
func send(t *testing.T, j jobs.Job, text string, peers ...string) (int, string) {
	t.Helper()
	const name = "f"
	must(t, os.WriteFile(filepath.Join(j.WorkDir, name), []byte(text), 0o600))
	return post(t, j, "/resources/send", map[string]any{
		"send": map[string]any{"type": "Peers", "peers": peers, "strategy": "All"}, "path": name, "timeout_ms": 60_000,
	})
}

// receive takes the next file of a job's inbox and returns its content; "" when
// there is none.
func receive(t *testing.T, j jobs.Job, wait time.Duration) string {
	t.Helper()
	deadline := time.Now().Add(wait)
	status, answer := post(t, j, "/resources/receive", map[string]any{
		"resource": map[string]any{"type": "peers", "peers": []string{}, "strategy": map[string]string{"type": "All"}},
		"timeout":  map[string]int64{"secs_since_epoch": deadline.Unix(), "nanos_since_epoch": int64(deadline.Nanosecond())},
	})
	if status == http.StatusNoContent {
		return ""
	}
	var got bridge.Received
	if err := json.Unmarshal([]byte(answer), &got); err != nil || status != http.StatusOK {
		t.Fatalf("%d %s", status, answer)
	}
	text, err := os.ReadFile(filepath.Join(j.WorkDir, filepath.FromSlash(got.Path)))
	must(t, err)
	return string(text)
}

// long is a wait for what must come, past for what must not: it has come, if it
// does at all, before the sender was answered.
const (
	long = time.Minute
	past = -time.Second
)

// create makes a job.
func create(t *testing.T, c *control.Client, r control.JobRequest) jobs.Job {
	t.Helper()
	j, err := c.JobCreate(t.Context(), r)
	must(t, err)
	return j
}

// Jobs of two nodes that share a scope exchange files, others never learn of it.
func TestJobScope(t *testing.T) {
	dir := shortDir(t)
	a, _, stopA := run(t, config(t, filepath.Join(dir, "a")))
	defer stopA()
	b, idB, stopB := run(t, config(t, filepath.Join(dir, "b")))
	defer stopB()
	_, err := a.Connect(t.Context(), control.ConnectRequest{Address: idB.Addresses[0]})
	must(t, err)

	// The id is the scope, and who shares it gets the file.
	sender, same := create(t, a, control.JobRequest{ID: "x"}), create(t, b, control.JobRequest{ID: "x"})
	other := create(t, b, control.JobRequest{ID: "y"})
	if status, answer := send(t, sender, "for x", idB.PeerID); status != http.StatusOK || !strings.Contains(answer, `"delivered"`) {
		t.Fatalf("%d %s", status, answer)
	}
	if got := receive(t, same, long); got != "for x" {
		t.Errorf("x received %q", got)
	}
	if got := receive(t, other, past); got != "" {
		t.Errorf("y received %q, which was for x", got)
	}
	if got := receive(t, sender, past); got != "" {
		t.Errorf("the sender received %q", got)
	}

	// Two tasks of one scope on one node: each gets what others send, nobody his own.
	trainer := create(t, b, control.JobRequest{ID: "trainer", Scope: "z"})
	server := create(t, b, control.JobRequest{ID: "server", Scope: "z"})
	far := create(t, a, control.JobRequest{ID: "trainer", Scope: "z"}) // the same id on another node is another task
	if status, answer := send(t, far, "from far", idB.PeerID); status != http.StatusOK {
		t.Fatalf("%d %s", status, answer)
	}
	if status, answer := send(t, trainer, "from the trainer", idB.PeerID); status != http.StatusOK {
		t.Fatalf("to the own node: %d %s", status, answer)
	}
	if one, two := receive(t, server, long), receive(t, server, long); one != "from far" || two != "from the trainer" {
		t.Errorf("the server received %q and %q", one, two)
	}
	if one, two := receive(t, trainer, long), receive(t, trainer, past); one != "from far" || two != "" {
		t.Errorf("the trainer received %q and %q", one, two)
	}

	// A list, a channel and a secret: who does not fit is told nothing but that.
	create(t, b, control.JobRequest{ID: "listed", Peers: []string{idB.PeerID}})
	create(t, b, control.JobRequest{ID: "channelled", Channel: "c"})
	secret := create(t, b, control.JobRequest{ID: "secret", Secret: "hush"})
	for _, r := range []control.JobRequest{
		{ID: "listed"}, {ID: "channelled"}, {ID: "secret"}, {ID: "secret-2", Scope: "secret", Secret: "wrong"}, {ID: "nobody"},
	} {
		from := create(t, a, r)
		if status, answer := send(t, from, "x", idB.PeerID); status != http.StatusBadGateway || !strings.Contains(answer, "not_in_job") {
			t.Errorf("%s: %d %s", r.ID, status, answer)
		}
	}
	knows := create(t, a, control.JobRequest{ID: "knows", Scope: "secret", Secret: "hush", Peers: []string{idB.PeerID}})
	if status, answer := send(t, knows, "psst", idB.PeerID); status != http.StatusOK {
		t.Errorf("%d %s", status, answer)
	}
	if got := receive(t, secret, long); got != "psst" {
		t.Errorf("received %q", got)
	}
	if _, err := b.JobCreate(t.Context(), control.JobRequest{Peers: []string{"nonsense"}}); err == nil {
		t.Error("a list with what is no peer")
	}

	// Nothing of a job that has gone is left, and what nobody took is lost with it.
	if status, answer := send(t, sender, "never taken", idB.PeerID); status != http.StatusOK {
		t.Fatalf("%d %s", status, answer)
	}
	must(t, b.JobRemove(t.Context(), "x"))
	for ev, err := range b.Pins(t.Context()) {
		must(t, err)
		if strings.HasPrefix(ev.Item.Name, "job:x") {
			t.Errorf("pin %+v", ev.Item)
		}
	}
	again := create(t, b, control.JobRequest{ID: "x"})
	if got := receive(t, again, past); got != "" {
		t.Errorf("a new job of the same id received %q", got)
	}
}
