package conformance

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/hypha-node/hypha-node/testground/rig"
)

// team creates one job on each of the shared nodes with these numbers, all of
// one id: they may send to each other.
func team(t *testing.T, nodes ...int) []*job {
	t.Helper()
	id := "c-" + strings.ToLower(rand.Text())
	jobs := make([]*job, len(nodes))
	for i, n := range nodes {
		jobs[i] = newJob(t, shared.nodes[n], "--id", id)
	}
	return jobs
}

// toPeers is a reference to peers in the form of today's executors.
func toPeers(strategy string, ids ...string) map[string]any {
	if ids == nil {
		ids = []string{}
	}
	return map[string]any{"type": "peers", "peers": ids, "strategy": map[string]any{"type": strategy}}
}

// delivered is one element of the answer to a send.
type delivered struct {
	PeerID     string `json:"peer_id"`
	SentBytes  int64  `json:"sent_bytes"`
	Status     string `json:"status"`
	CID        string `json:"cid"`
	Checksum   string `json:"checksum"`
	TransferID string `json:"transfer_id"`
	Error      string `json:"error"`
}

// send sends a file to all of these peers and wants it delivered.
func (j *job) send(t *testing.T, path string, ids ...string) []delivered {
	t.Helper()
	var got []delivered
	j.post(t, "/resources/send", map[string]any{"send": toPeers("All", ids...), "path": path}).into(t, http.StatusOK, &got)
	for i, d := range got {
		if d.PeerID != ids[i] || d.Status != "delivered" {
			t.Errorf("element %d: %+v, want delivered to %s", i, d, ids[i])
		}
	}
	return got
}

// received is one file that came.
type received struct {
	Path     string `json:"path"`
	Size     int64  `json:"size"`
	FromPeer string `json:"from_peer"`
	Sequence int64  `json:"sequence"`
	Checksum string `json:"checksum"`
	CID      string `json:"cid"`
	Name     string `json:"name"`
}

// stream is a subscription that is read line by line.
type stream struct {
	job   *job
	resp  *http.Response
	lines *bufio.Scanner
	close context.CancelFunc
}

// receive subscribes: it returns when the headers are here.
func (j *job) receive(t *testing.T, body any, headers ...string) *stream {
	t.Helper()
	ctx, cancel := context.WithCancel(rig.Within(t))
	resp, err := j.open(ctx, http.MethodPost, "/resources/receive", body, headers...)
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		resp.Body.Close()
	})
	if resp.StatusCode != http.StatusOK || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") {
		t.Fatalf("receive answers %s, %q", resp.Status, resp.Header.Get("Content-Type"))
	}
	return &stream{job: j, resp: resp, lines: bufio.NewScanner(resp.Body), close: cancel}
}

// anybody is the body of a receive from any peer of the job.
func anybody() map[string]any { return map[string]any{"receive": toPeers("All")} }

// line returns the next line, and false at a proper end of the stream.
func (s *stream) line(t *testing.T) (string, bool) {
	t.Helper()
	if !s.lines.Scan() {
		ok(t, s.lines.Err())
		return "", false
	}
	return s.lines.Text(), true
}

// next returns the next item, whose file must be as the event says, and the id
// of the event.
func (s *stream) next(t *testing.T) (item received, id string) {
	t.Helper()
	for {
		line, more := s.line(t)
		if !more {
			t.Fatal("the stream ended")
		}
		field, value, _ := strings.Cut(line, ":")
		switch field {
		case "id":
			id = strings.TrimSpace(value)
		case "data":
			ok(t, json.Unmarshal([]byte(value), &item))
			s.job.holds(t, item.Path, item.Size, item.Checksum)
			return item, id
		case "event":
			t.Fatalf("an event with a name, which executors take for a file: %s", line)
		}
	}
}

// ends waits for the proper end of the stream, without another item.
func (s *stream) ends(t *testing.T) {
	t.Helper()
	for {
		line, more := s.line(t)
		if !more {
			return
		}
		if strings.HasPrefix(line, "data") {
			t.Fatalf("one more item: %s", line)
		}
	}
}

// one takes one file that must come.
func (j *job) one(t *testing.T) received {
	t.Helper()
	var item received
	j.post(t, "/resources/receive", map[string]any{"resource": toPeers("All"), "timeout": nil}).into(t, http.StatusOK, &item)
	j.holds(t, item.Path, item.Size, item.Checksum)
	return item
}

// empty ends the test when the inbox has anything: a deadline that has passed
// answers what is there.
func (j *job) empty(t *testing.T) {
	t.Helper()
	if a := j.post(t, "/resources/receive", map[string]any{"resource": toPeers("All"), "timeout": past()}); a.status != http.StatusNoContent {
		t.Errorf("the inbox is not empty: %d %s", a.status, a.body)
	}
}

// past is a point in time that has passed, as actions carry it.
func past() map[string]int64 { return map[string]int64{"secs_since_epoch": 1, "nanos_since_epoch": 0} }

// nobody returns the id of a peer that does not run.
func nobody(t *testing.T) string {
	t.Helper()
	r, err := rig.Program{Path: shared.binary, Args: []string{"--repo", filepath.Join(t.TempDir(), "r"), "id", "--json"}}.Run(rig.Within(t))
	ok(t, err)
	var id struct {
		PeerID string `json:"peer_id"`
	}
	ok(t, json.Unmarshal([]byte(r.Stdout), &id))
	return id.PeerID
}

// peerID returns the id of a node.
func peerID(t *testing.T, n *rig.Node) string {
	t.Helper()
	address, err := n.Address(rig.Within(t))
	ok(t, err)
	return address[strings.LastIndexByte(address, '/')+1:]
}

// connect connects two nodes.
func connect(t *testing.T, a, b *rig.Node) {
	t.Helper()
	address, err := b.Address(rig.Within(t))
	ok(t, err)
	run(t, a, "connect", address)
}

// freeze stops a node from running, without ending its connections.
func freeze(t *testing.T, n *rig.Node) (thaw func()) {
	t.Helper()
	ok(t, syscall.Kill(n.PID(), syscall.SIGSTOP))
	thaw = func() {
		if err := syscall.Kill(n.PID(), syscall.SIGCONT); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(func() {
		select {
		case <-n.Ended():
		default:
			thaw()
		}
	})
	return thaw
}

// read returns a file of the work directory.
func (j *job) read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(j.WorkDir, filepath.FromSlash(path)))
	ok(t, err)
	return b
}

// has ends the test unless what came is that content.
func (j *job) has(t *testing.T, item received, content []byte) {
	t.Helper()
	if item.Size != int64(len(content)) || !bytes.Equal(j.read(t, item.Path), content) {
		t.Errorf("%+v is not what was sent: %d bytes, %s", item, len(content), digest(content))
	}
}
