package conformance

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/hypha-node/hypha-node/testground/rig"
)

// TestS01Send: the answer comes when every peer has the verified bytes, one
// element a peer, in the order of the request; in every dialect.
func TestS01Send(t *testing.T) {
	jobs := team(t, 0, 1, 2)
	for i, size := range []int64{0, 1, 1000, 256 << 10, 256<<10 + 1, 5<<20 + 3} {
		content := random(t, uint64(200+i), size)
		name := fmt.Sprintf("output/f-%d.bin", i)
		jobs[0].write(t, name, content)
		for _, d := range jobs[0].send(t, name, shared.ids[2], shared.ids[1]) {
			if d.SentBytes != size || d.Checksum != digest(content) || d.CID == "" || d.TransferID == "" {
				t.Errorf("%d bytes: %+v", size, d)
			}
		}
		for _, j := range jobs[1:] {
			item := j.one(t)
			j.has(t, item, content)
			if item.FromPeer != shared.ids[0] || item.Name != filepath.Base(name) {
				t.Errorf("received %+v", item)
			}
		}
	}
	for i, body := range []string{
		`{"send":{"type":"Peers","peers":["%s"],"strategy":"All"},"path":"f"}`,
		`{"send":{"type":"peers","peers":["%s"],"strategy":{"type":"All"},"resource":null},"path":"f"}`,
		`{"resource":{"type":"peers","peers":["%s"],"strategy":{"type":"All"},"resource":null},"path":"f"}`,
		`{"resource":{"type":"peers","peers":["%s"],"strategy":{"type":"All"}},"path":"f","timeout_ms":null,"remove_file":false}`,
	} {
		content := random(t, uint64(220+i), 3000)
		jobs[0].write(t, "f", content)
		var got []delivered
		jobs[0].post(t, "/resources/send", fmt.Sprintf(body, shared.ids[1])).into(t, http.StatusOK, &got)
		if len(got) != 1 || got[0].Status != "delivered" {
			t.Errorf("dialect %c: %+v", 'A'+i, got)
		}
		jobs[1].has(t, jobs[1].one(t), content)
	}
}

// sendTo sends the file f by a strategy and returns who got it.
func sendTo(t *testing.T, j *job, strategy string, ids ...string) string {
	t.Helper()
	var got []delivered
	j.post(t, "/resources/send", map[string]any{"send": toPeers(strategy, ids...), "path": "f"}).into(t, http.StatusOK, &got)
	if len(got) != 1 || got[0].Status != "delivered" {
		t.Fatalf("%s answers %+v", strategy, got)
	}
	return got[0].PeerID
}

// TestS02Strategies: One is the first that can be reached, Random any of them.
func TestS02Strategies(t *testing.T) {
	jobs := team(t, 0, 1, 2)
	gone := nobody(t)
	jobs[0].write(t, "f", []byte("x"))
	if to := sendTo(t, jobs[0], "One", shared.ids[2], shared.ids[1]); to != shared.ids[2] {
		t.Errorf("One went to %s, not to the first", to)
	}
	if to := sendTo(t, jobs[0], "One", gone, shared.ids[1], shared.ids[2]); to != shared.ids[1] {
		t.Errorf("One went to %s, not to the first that can be reached", to)
	}
	seen := map[string]int{}
	for range 40 { // that one is never chosen is a chance of 2^-39
		seen[sendTo(t, jobs[0], "Random", shared.ids[1], shared.ids[2])]++
	}
	if seen[shared.ids[1]] == 0 || seen[shared.ids[2]] == 0 {
		t.Errorf("Random chose %v", seen)
	}
	if to := sendTo(t, jobs[0], "Random", gone, shared.ids[1]); to != shared.ids[1] {
		t.Errorf("Random went to %s", to)
	}
}

// TestS03NoPeers: nobody to send to is a mistake.
func TestS03NoPeers(t *testing.T) {
	j := newJob(t, shared.nodes[0])
	j.write(t, "f", []byte("x"))
	j.post(t, "/resources/send", map[string]any{"send": toPeers("All"), "path": "f"}).refused(t, 400, "invalid_request")
	j.post(t, "/resources/send", map[string]any{"send": toPeers("All", "no peer"), "path": "f"}).refused(t, 400, "invalid_request")
	j.post(t, "/resources/send", map[string]any{"send": rig.URI("https://h/f"), "path": "f"}).refused(t, 422, "unsupported_reference")
	j.post(t, "/resources/send", map[string]any{"send": toPeers("Most", shared.ids[1]), "path": "f"}).refused(t, 400, "invalid_request")
}

// TestS05WhatCanBeSent: a regular file of the work directory. Nothing is opened
// that would block.
func TestS05WhatCanBeSent(t *testing.T) {
	j := newJob(t, shared.nodes[0])
	in := func(name string) string { return filepath.Join(j.WorkDir, name) }
	secret := filepath.Join(t.TempDir(), "secret")
	ok(t, os.WriteFile(secret, []byte("secret"), 0o600))
	ok(t, os.Mkdir(in("dir"), 0o700))
	ok(t, syscall.Mkfifo(in("fifo"), 0o600))
	ok(t, os.Symlink(secret, in("out")))
	ok(t, os.Symlink(filepath.Dir(secret), in("outdir")))
	ok(t, os.Symlink("/dev/zero", in("device")))
	for _, tc := range []struct {
		path   string
		status int
		code   string
	}{
		{"missing", 404, "not_found"},
		{"dir/missing", 404, "not_found"},
		{"dir", 400, "invalid_path"},
		{"fifo", 400, "invalid_path"},
		{"out", 400, "invalid_path"},
		{"outdir/secret", 400, "invalid_path"},
		{"device", 400, "invalid_path"},
		{"../" + filepath.Base(j.WorkDir) + "/f", 400, "invalid_path"},
		{secret, 400, "invalid_path"},
		{".", 400, "invalid_path"},
		{"a\x00b", 400, "invalid_path"},
		{".hypha/job.json", 400, "invalid_path"},
	} {
		t.Run(tc.path, func(t *testing.T) {
			j.post(t, "/resources/send", map[string]any{"send": toPeers("All", shared.ids[1]), "path": tc.path}).refused(t, tc.status, tc.code)
		})
	}
	j.post(t, "/resources/send", map[string]any{"send": toPeers("All", shared.ids[1])}).refused(t, 422, "invalid_request")
}

// TestS06SomeFail: the answer says how it went with each.
func TestS06SomeFail(t *testing.T) {
	jobs := team(t, 0, 1)
	gone := nobody(t)
	jobs[0].write(t, "f", []byte("content"))
	for _, tc := range []struct{ bad, code string }{{gone, "unreachable"}, {shared.ids[2], "not_in_job"}} {
		r := jobs[0].post(t, "/resources/send", map[string]any{"send": toPeers("All", tc.bad, shared.ids[1]), "path": "f"}).
			refused(t, 502, "delivery_failed")
		if r.Class != "network_error" {
			t.Errorf("class %q", r.Class)
		}
		var results []delivered
		ok(t, json.Unmarshal(r.Results, &results))
		if len(results) != 2 || results[0].PeerID != tc.bad || results[0].Status != "failed" || results[0].Error != tc.code ||
			results[1].PeerID != shared.ids[1] || results[1].Status != "delivered" {
			t.Errorf("results %+v", results)
		}
		jobs[1].has(t, jobs[1].one(t), []byte("content"))
	}
	jobs[1].empty(t)
}

// TestS07Timeout: a peer that does not answer ends the call by its deadline.
func TestS07Timeout(t *testing.T) {
	other := start(t, filepath.Join(shortDir(t), "r"), nil)
	connect(t, shared.nodes[0], other)
	j := newJob(t, shared.nodes[0])
	newJob(t, other, "--id", j.ID)
	j.write(t, "f", []byte("x"))
	to := peerID(t, other)
	thaw := freeze(t, other)
	j.post(t, "/resources/send", map[string]any{"send": toPeers("All", to), "path": "f", "timeout_ms": 300}).refused(t, 504, "timeout")
	thaw()
}

// TestS08RemoveFile: the file goes when all have it, and only then.
func TestS08RemoveFile(t *testing.T) {
	jobs := team(t, 0, 1)
	jobs[0].write(t, "f", []byte("content"))
	body := map[string]any{"resource": toPeers("All", shared.ids[1], nobody(t)), "path": "f", "remove_file": true}
	jobs[0].post(t, "/resources/send", body).refused(t, 502, "delivery_failed")
	if string(jobs[0].read(t, "f")) != "content" {
		t.Error("the file changed")
	}
	body["resource"] = toPeers("All", shared.ids[1])
	var got []delivered
	jobs[0].post(t, "/resources/send", body).into(t, http.StatusOK, &got)
	if names := jobs[0].list(t, "."); slices.Contains(names, "f") {
		t.Errorf("the file stays: %q", names)
	}
}

// TestS09Later: 202 at once, and the transfer tells how it goes.
func TestS09Later(t *testing.T) {
	jobs := team(t, 0, 1)
	content := random(t, 209, 2<<20)
	jobs[0].write(t, "f", content)
	a := jobs[0].post(t, "/resources/send", map[string]any{"send": toPeers("All", shared.ids[1]), "path": "f", "wait": false})
	var later struct {
		TransferID string `json:"transfer_id"`
	}
	a.into(t, http.StatusAccepted, &later)
	if a.header.Get("Location") != "/transfers/"+later.TransferID {
		t.Errorf("headers %v", a.header)
	}
	jobs[1].has(t, jobs[1].one(t), content)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for ctx := rig.Within(t); ; {
		var tr struct {
			ID, Kind, State string
			Total           int64
			Delivered       []delivered
		}
		jobs[0].get(t, "/transfers/"+later.TransferID).into(t, http.StatusOK, &tr)
		if tr.ID != later.TransferID || tr.Kind != "send" || tr.State != "running" && tr.State != "done" {
			t.Fatalf("%+v", tr)
		}
		if tr.State == "done" {
			if len(tr.Delivered) != 1 || tr.Delivered[0].Status != "delivered" || tr.Delivered[0].SentBytes != int64(len(content)) {
				t.Errorf("%+v", tr)
			}
			break
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("not done: %+v", tr)
		}
	}
	jobs[0].get(t, "/transfers/nothing").refused(t, 404, "not_found")
}

// TestS10Snapshot: what arrives is what the answer says, while somebody writes
// the file all the time; or the answer is 409.
func TestS10Snapshot(t *testing.T) {
	const size = 3 << 20
	jobs := team(t, 0, 1)
	jobs[0].write(t, "f", random(t, 210, size))
	stop, stopped := make(chan struct{}), make(chan error, 1)
	go func() {
		f, err := os.OpenFile(filepath.Join(jobs[0].WorkDir, "f"), os.O_WRONLY, 0)
		for i := int64(0); err == nil; i++ {
			select {
			case <-stop:
				stopped <- f.Close()
				return
			default:
				_, err = f.WriteAt([]byte{byte(i)}, i*4099%size)
			}
		}
		stopped <- err
	}()
	for range 8 {
		a := jobs[0].post(t, "/resources/send", map[string]any{"send": toPeers("All", shared.ids[1]), "path": "f"})
		if a.status == http.StatusConflict {
			a.refused(t, http.StatusConflict, "conflict")
			continue
		}
		var got []delivered
		a.into(t, http.StatusOK, &got)
		if item := jobs[1].one(t); item.Checksum != got[0].Checksum || item.Size != got[0].SentBytes {
			t.Errorf("sent %+v, received %+v", got, item)
		}
	}
	close(stop)
	ok(t, <-stopped)
	jobs[1].empty(t)
}

// TestS11Idempotent: the same key delivers once.
func TestS11Idempotent(t *testing.T) {
	jobs := team(t, 0, 1)
	jobs[0].write(t, "f", []byte("content"))
	body := map[string]any{"send": toPeers("All", shared.ids[1]), "path": "f"}
	var answers [3][]delivered
	for i, key := range []string{"k-1", "k-1", "k-2"} {
		jobs[0].post(t, "/resources/send", body, "Idempotency-Key", key).into(t, http.StatusOK, &answers[i])
	}
	if answers[0][0] != answers[1][0] || answers[0][0].TransferID == answers[2][0].TransferID {
		t.Errorf("%+v", answers)
	}
	first, second := jobs[1].one(t), jobs[1].one(t)
	if first.Path == second.Path {
		t.Errorf("%+v, %+v", first, second)
	}
	jobs[1].empty(t)
	body["transfer_id"] = "k-2"
	var named []delivered
	jobs[0].post(t, "/resources/send", body).into(t, http.StatusOK, &named)
	if named[0] != answers[2][0] {
		t.Errorf("%+v with the transfer_id, want %+v", named, answers[2])
	}
	jobs[0].post(t, "/resources/send", body, "Idempotency-Key", "k-1").refused(t, 400, "invalid_request")
	jobs[1].empty(t)
	delete(body, "transfer_id")
	for _, bad := range []string{"two words", "ü"} {
		jobs[0].post(t, "/resources/send", body, "Idempotency-Key", bad).refused(t, 400, "invalid_request")
	}
}

// TestS11Concurrent: the same key, while the first send with it runs, also after a
// 202 with the transfer_id of its answer: one delivery, and the same answer.
func TestS11Concurrent(t *testing.T) {
	slow := start(t, filepath.Join(shortDir(t), "r"), nil)
	connect(t, shared.nodes[0], slow)
	from := team(t, 0)[0]
	to := newJob(t, slow, "--id", from.ID)
	from.write(t, "f", random(t, 211, 1<<20))
	body := map[string]any{"send": toPeers("All", peerID(t, slow)), "path": "f"}
	thaw := freeze(t, slow)
	later := map[string]any{"wait": false}
	maps.Copy(later, body)
	var accepted struct {
		TransferID string `json:"transfer_id"`
	}
	from.post(t, "/resources/send", later).into(t, http.StatusAccepted, &accepted)
	later["transfer_id"] = accepted.TransferID
	first := accepted
	from.post(t, "/resources/send", later).into(t, http.StatusAccepted, &accepted)
	if accepted != first {
		t.Errorf("%+v, then %+v", first, accepted)
	}
	body["transfer_id"] = first.TransferID
	answers := make(chan answer)
	for range 3 {
		go func() {
			a, err := from.try(rig.Within(t), http.MethodPost, "/resources/send", body)
			if err != nil {
				t.Error(err)
			}
			answers <- a
		}()
	}
	thaw()
	var got [3][]delivered
	for i := range got {
		(<-answers).into(t, http.StatusOK, &got[i])
		if got[i][0] != got[0][0] || got[i][0].TransferID != first.TransferID+".0" {
			t.Errorf("%+v, want %+v", got[i], got[0])
		}
	}
	to.one(t)
	to.empty(t)
}

// TestS12Parallel: a peer that hangs does not delay the others.
func TestS12Parallel(t *testing.T) {
	slow := start(t, filepath.Join(shortDir(t), "r"), nil)
	connect(t, shared.nodes[0], slow)
	jobs := team(t, 0, 1)
	last := newJob(t, slow, "--id", jobs[0].ID)
	content := random(t, 212, 1<<20)
	jobs[0].write(t, "f", content)
	to := peerID(t, slow)
	thaw := freeze(t, slow)
	done := make(chan answer, 1)
	go func() {
		a, err := jobs[0].try(rig.Within(t), http.MethodPost, "/resources/send", map[string]any{"send": toPeers("All", to, shared.ids[1]), "path": "f"})
		if err != nil {
			t.Error(err)
		}
		done <- a
	}()
	jobs[1].has(t, jobs[1].one(t), content) // while the first peer hangs
	select {
	case a := <-done:
		t.Fatalf("answered before all had it: %d %s", a.status, a.body)
	default:
	}
	thaw()
	var got []delivered
	(<-done).into(t, http.StatusOK, &got)
	last.has(t, last.one(t), content)
}

// TestS04OwnNode: to its own peer id a job sends to the other jobs of its scope
// on this node, a trainer to its parameter server, and never to itself.
func TestS04OwnNode(t *testing.T) {
	scope := newID()
	trainer, server := newJob(t, shared.nodes[0], "--scope", scope), newJob(t, shared.nodes[0], "--scope", scope)
	for i, size := range []int64{10, 2 << 20} {
		content := random(t, uint64(204+i), size)
		trainer.write(t, "f", content)
		trainer.send(t, "f", shared.ids[0])
		item := server.one(t)
		server.has(t, item, content)
		if item.FromPeer != shared.ids[0] {
			t.Errorf("%+v", item)
		}
		server.write(t, "answer", content[:5])
		server.send(t, "answer", shared.ids[0])
		trainer.has(t, trainer.one(t), content[:5])
	}
	trainer.empty(t)
	server.empty(t)
	alone := newJob(t, shared.nodes[0])
	alone.write(t, "f", []byte("x"))
	refusedBy(t, alone, shared.ids[0])
}
