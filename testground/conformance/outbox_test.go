package conformance

import (
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hypha-node/hypha-node/testground/rig"
)

// laterTransfer is what GET /transfers/{id} tells of a send that nobody waits for.
type laterTransfer struct {
	ID, Kind, State, Error string
	Delivered              []delivered
	Waiting                *struct {
		Attempts int64
		Next     time.Time
		Error    string
	}
}

// later sends a file that nobody waits for.
func (j *job) later(t *testing.T, path, to string) (id string) {
	t.Helper()
	var answer struct {
		TransferID string `json:"transfer_id"`
	}
	body := map[string]any{"send": toPeers("All", to), "path": path, "wait": false}
	j.post(t, "/resources/send", body).into(t, http.StatusAccepted, &answer)
	return answer.TransferID
}

// until looks at a transfer until it is as ok wants it.
func (j *job) until(t *testing.T, id, what string, ok func(laterTransfer) bool) (tr laterTransfer) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for ctx := rig.Within(t); ; {
		tr = laterTransfer{}
		j.get(t, "/transfers/"+id).into(t, http.StatusOK, &tr)
		if ok(tr) {
			return tr
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%s: no %s: %+v", id, what, tr)
		}
	}
}

// on returns a job on the node that serves it now.
func (j *job) on(t *testing.T, n *rig.Node) *job {
	t.Helper()
	return &job{Job: j.Job, node: n, http: overSocket(t, j.Socket)}
}

// TestS09Durable: what was accepted is delivered once, in the order of the calls
// and as it was, though the receiver was down and both nodes were killed; what
// was cancelled is not, and the job's end ends the rest.
func TestS09Durable(t *testing.T) {
	dir := shortDir(t)
	repos := []string{filepath.Join(dir, "a"), filepath.Join(dir, "b")}
	a, b := start(t, repos[0], nil), start(t, repos[1], nil)
	connect(t, a, b)
	sender := createJob(t, a)
	receiver := createJob(t, b, "--id", sender.ID)
	to := peerID(t, b)
	ok(t, b.Kill())
	contents := [][]byte{random(t, 901, 3<<20), random(t, 902, 100), random(t, 903, 700_000)}
	var ids []string
	for _, content := range contents {
		sender.write(t, "f", content)
		ids = append(ids, sender.later(t, "f", to))
	}
	sender.write(t, "f", []byte("cancelled"))
	dropped := sender.later(t, "f", to)
	sender.call(t, http.MethodDelete, "/transfers/"+dropped, nil)
	sender.until(t, dropped, "end", func(tr laterTransfer) bool { return tr.State == "cancelled" })
	ok(t, a.Kill()) // what was accepted is on disk
	sender.write(t, "f", []byte("written after the crash"))

	b, a = start(t, repos[1], nil), start(t, repos[0], nil)
	sender, receiver = sender.on(t, a), receiver.on(t, b)
	connect(t, a, b)
	for _, id := range ids {
		tr := sender.until(t, id, "end", func(tr laterTransfer) bool { return tr.State != "running" })
		if tr.State != "done" || len(tr.Delivered) != 1 || tr.Delivered[0].Status != "delivered" || tr.Waiting != nil {
			t.Errorf("%+v", tr)
		}
	}
	for i, content := range contents {
		item := receiver.one(t)
		receiver.has(t, item, content)
		if item.Sequence != int64(i) {
			t.Errorf("item %d has sequence %d", i, item.Sequence)
		}
	}
	receiver.empty(t)
	sender.get(t, "/transfers/"+dropped).refused(t, 404, "not_found")

	ok(t, b.Kill())
	sender.write(t, "f", random(t, 904, 300_000))
	last := sender.later(t, "f", to)
	tr := sender.until(t, last, "attempt", func(tr laterTransfer) bool { return tr.Waiting != nil })
	if tr.State != "running" || tr.Waiting.Attempts < 1 || tr.Waiting.Error == "" {
		t.Errorf("%+v", tr)
	}
	if pins := run(t, a, "pin", "ls"); !strings.Contains(pins, "job:"+sender.ID+"/outbox") {
		t.Errorf("not pinned: %s", pins)
	}
	run(t, a, "job", "rm", sender.ID)
	if pins := run(t, a, "pin", "ls"); strings.Contains(pins, sender.ID) {
		t.Errorf("still pinned: %s", pins)
	}
}
