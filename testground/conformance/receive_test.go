package conformance

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptrace"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hypha-node/hypha-node/testground/rig"
)

// TestR01Stream: headers before any item, one line of data an item, its sequence
// as id, and keep-alives; nothing else.
func TestR01Stream(t *testing.T) {
	jobs := team(t, 0, 1)
	s := jobs[1].receive(t, `{"receive":{"type":"Peers","peers":[],"strategy":"All"},"out_dir":"in"}`)
	if s.resp.Header.Get("Cache-Control") != "no-cache" {
		t.Errorf("headers %v", s.resp.Header)
	}
	content := random(t, 301, 300000)
	jobs[0].write(t, "weights.safetensors", content)
	sent := jobs[0].send(t, "weights.safetensors", shared.ids[1])
	item, id := s.next(t)
	jobs[1].has(t, item, content)
	if id != "0" || item.Sequence != 0 || item.FromPeer != shared.ids[0] || item.Name != "weights.safetensors" ||
		item.Checksum != sent[0].Checksum || item.CID != sent[0].CID || !strings.HasPrefix(item.Path, "in/") {
		t.Errorf("event %s: %+v; sent %+v", id, item, sent)
	}
	for {
		line, more := s.line(t)
		if !more {
			t.Fatal("the stream ended")
		}
		if strings.HasPrefix(line, ":") {
			break // comes every 5 s
		}
		if line != "" {
			t.Errorf("a line that nobody asked for: %s", line)
		}
	}
}

// TestR02Sequence: from 0, without gaps; a path of its own for each, and what
// was received is never written again.
func TestR02Sequence(t *testing.T) {
	jobs := team(t, 0, 1, 2)
	s := jobs[2].receive(t, anybody())
	const each = 10
	var wg sync.WaitGroup
	for i, j := range jobs[:2] {
		wg.Go(func() {
			for n := range each {
				content := []byte(fmt.Sprintf("%d of %d", n, i))
				if err := os.WriteFile(filepath.Join(j.WorkDir, "same"), content, 0o600); err != nil {
					t.Error(err)
				}
				a, err := j.try(rig.Within(t), http.MethodPost, "/resources/send", map[string]any{"send": toPeers("All", shared.ids[2]), "path": "same"})
				if err != nil || a.status != http.StatusOK {
					t.Errorf("%v, %d %s", err, a.status, a.body)
				}
			}
		})
	}
	seen := map[string]string{}
	for n := range int64(2 * each) {
		item, id := s.next(t)
		if item.Sequence != n || id != strconv.FormatInt(n, 10) {
			t.Errorf("item %d has sequence %d, id %s", n, item.Sequence, id)
		}
		if seen[item.Path] != "" || filepath.Base(item.Path) == "same" {
			t.Errorf("path %s is not unique", item.Path)
		}
		seen[item.Path] = item.Checksum
	}
	wg.Wait()
	for path, sum := range seen {
		if digest(jobs[2].read(t, path)) != sum {
			t.Errorf("%s was written again", path)
		}
	}
	if got := len(slices.Collect(maps.Keys(seen))); got != 2*each {
		t.Errorf("%d files", got)
	}
}

// TestR03Complete: with the event the file is there, whole and 0600; before it
// the directory shows nothing of it.
func TestR03Complete(t *testing.T) {
	jobs := team(t, 0, 1)
	s := jobs[1].receive(t, anybody())
	stop, stopped := make(chan struct{}), make(chan struct{})
	const size = 8 << 20
	go func() { // what the executor could see meanwhile
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
			}
			entries, err := os.ReadDir(filepath.Join(jobs[1].WorkDir, "incoming"))
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				t.Error(err)
			}
			for _, e := range entries {
				if info, err := e.Info(); err != nil || info.Size() != size || info.Mode().Perm() != 0o600 {
					t.Errorf("%s is there with %v, %v", e.Name(), info, err)
				}
			}
		}
	}()
	for i := range 3 {
		content := random(t, uint64(303+i), size)
		jobs[0].write(t, "f", content)
		jobs[0].send(t, "f", shared.ids[1])
		item, _ := s.next(t)
		jobs[1].has(t, item, content)
	}
	close(stop)
	<-stopped
}

// TestR04OrderOfSends: files of one sender come in the order of its calls, the
// small ones do not overtake.
func TestR04OrderOfSends(t *testing.T) {
	jobs := team(t, 0, 1)
	const many = 24
	for i := range many {
		size := int64(100)
		if i%4 == 0 {
			size = 1 << 20
		}
		name := fmt.Sprintf("f-%02d", i)
		jobs[0].write(t, name, random(t, uint64(400+i), size))
		a := jobs[0].post(t, "/resources/send", map[string]any{"send": toPeers("All", shared.ids[1]), "path": name, "wait": false})
		if a.status != http.StatusAccepted {
			t.Fatalf("%d %s", a.status, a.body)
		}
	}
	s := jobs[1].receive(t, anybody())
	for i := range many {
		if item, _ := s.next(t); item.Name != fmt.Sprintf("f-%02d", i) {
			t.Errorf("item %d is %s", i, item.Name)
		}
	}
}

// TestR05Filter: a list of peers filters, an empty one does not.
func TestR05Filter(t *testing.T) {
	jobs := team(t, 0, 1, 2)
	from := jobs[2].receive(t, map[string]any{"resource": toPeers("All", shared.ids[1]), "path": "from-1"})
	for i, j := range jobs[:2] {
		j.write(t, "f", []byte{byte('0' + i)})
		j.send(t, "f", shared.ids[2])
	}
	if item, _ := from.next(t); item.FromPeer != shared.ids[1] || !strings.HasPrefix(item.Path, "from-1/") {
		t.Errorf("%+v", item)
	}
	if item := jobs[2].one(t); item.FromPeer != shared.ids[0] {
		t.Errorf("%+v", item)
	}
	jobs[2].post(t, "/resources/receive", map[string]any{"receive": toPeers("All", "no peer")}).refused(t, 400, "invalid_request")
}

// TestR06Strategy: One ends after one, Random is refused.
func TestR06Strategy(t *testing.T) {
	jobs := team(t, 0, 1)
	jobs[1].post(t, "/resources/receive", map[string]any{"receive": toPeers("Random")}).refused(t, 422, "invalid_request")
	jobs[1].post(t, "/resources/receive", map[string]any{"receive": rig.URI("https://h/f")}).refused(t, 422, "unsupported_reference")
	s := jobs[1].receive(t, map[string]any{"receive": toPeers("One")})
	jobs[0].write(t, "f", []byte("x"))
	jobs[0].send(t, "f", shared.ids[1])
	jobs[0].send(t, "f", shared.ids[1])
	s.next(t)
	s.ends(t)
	if item := jobs[1].one(t); item.Sequence != 1 {
		t.Errorf("%+v", item)
	}
}

// TestR07Queue: what comes while nobody subscribes waits, in order, and outlives
// the node.
func TestR07Queue(t *testing.T) {
	repo := filepath.Join(shortDir(t), "r")
	n := start(t, repo, nil)
	connect(t, shared.nodes[0], n)
	sender := newJob(t, shared.nodes[0])
	j := createJob(t, n, "--id", sender.ID)
	to := peerID(t, n)
	var contents [][]byte
	for i := range 4 {
		contents = append(contents, random(t, uint64(700+i), int64(i)*200000))
		sender.write(t, "f", contents[i])
		sender.send(t, "f", to)
	}
	first := j.one(t)
	j.has(t, first, contents[0])
	ok(t, n.Kill()) // what was acknowledged is on disk
	n = start(t, repo, nil)
	again := &job{Job: j.Job, node: n, http: overSocket(t, j.Socket)}
	item := again.one(t)
	if item.Sequence == 0 { // its receipt was young when the node died: it comes again, and says so
		again.has(t, item, contents[0])
		item = again.one(t)
	}
	for i := 1; i < len(contents); i++ {
		again.has(t, item, contents[i])
		if item.Sequence != int64(i) {
			t.Errorf("item %d has sequence %d", i, item.Sequence)
		}
		if i+1 < len(contents) {
			item = again.one(t)
		}
	}
	again.empty(t)
}

// TestR08Competing: with two subscriptions each item goes to exactly one.
func TestR08Competing(t *testing.T) {
	jobs := team(t, 0, 1)
	const many = 30
	subs := []*stream{jobs[1].receive(t, anybody()), jobs[1].receive(t, anybody())}
	got := make(chan int64, 2*many)
	var readers sync.WaitGroup
	for _, s := range subs {
		readers.Go(func() {
			for s.lines.Scan() {
				if id, is := strings.CutPrefix(s.lines.Text(), "id: "); is {
					n, err := strconv.ParseInt(id, 10, 64)
					if err != nil {
						t.Error(err)
					}
					got <- n
				}
			}
		})
	}
	jobs[0].write(t, "f", []byte("x"))
	for range many {
		jobs[0].send(t, "f", shared.ids[1])
	}
	seen := map[int64]bool{}
	for range many {
		select {
		case n := <-got:
			if seen[n] {
				t.Errorf("item %d came twice", n)
			}
			seen[n] = true
		case <-rig.Within(t).Done():
			t.Fatalf("%d of %d items came", len(seen), many)
		}
	}
	jobs[1].empty(t)
	for _, s := range subs {
		s.close()
	}
	readers.Wait()
	if len(got) > 0 {
		t.Errorf("%d items came twice", len(got))
	}
}

// TestR09Replay: Last-Event-ID and since replay what came after.
func TestR09Replay(t *testing.T) {
	jobs := team(t, 0, 1)
	const many = 5
	for i := range many {
		jobs[0].write(t, "f", []byte{byte(i)})
		jobs[0].send(t, "f", shared.ids[1])
	}
	first := jobs[1].receive(t, anybody())
	for range many {
		first.next(t)
	}
	first.close()
	body := anybody()
	for _, tc := range []struct {
		name   string
		header string
		since  any
		want   int64 // first item
	}{{"header", "2", nil, 3}, {"since", "", 0, 1}, {"from the beginning", "", -1, 0}, {"the header wins", "3", 0, 4}} {
		t.Run(tc.name, func(t *testing.T) {
			body["since"] = tc.since
			s := jobs[1].receive(t, body, "Last-Event-ID", tc.header)
			for n := tc.want; n < many; n++ {
				if item, id := s.next(t); item.Sequence != n || id != strconv.FormatInt(n, 10) || jobs[1].read(t, item.Path)[0] != byte(n) {
					t.Errorf("%+v, id %s, want %d", item, id, n)
				}
			}
			s.close()
		})
	}
	jobs[1].post(t, "/resources/receive", anybody(), "Last-Event-ID", "x").refused(t, 400, "invalid_request")
	jobs[1].post(t, "/resources/receive", map[string]any{"receive": toPeers("All"), "since": "x"}).refused(t, 422, "invalid_request")
}

// TestR10ClientGone: what a client that went away did not get goes to the next.
func TestR10ClientGone(t *testing.T) {
	jobs := team(t, 0, 1)
	for i := range 10 {
		gone := jobs[1].receive(t, anybody()) // first in line
		gone.close()
		ok(t, gone.resp.Body.Close())
		jobs[0].write(t, "f", []byte{byte(i)})
		next := jobs[1].receive(t, anybody())
		jobs[0].send(t, "f", shared.ids[1])
		if item, _ := next.next(t); jobs[1].read(t, item.Path)[0] != byte(i) {
			t.Errorf("round %d: %+v", i, item)
		}
		next.close() // what it has read is not given again, however soon it goes
		ok(t, next.resp.Body.Close())
	}
	jobs[1].empty(t)
}

// TestR11SingleShot: one object, or 204 when the deadline passes.
func TestR11SingleShot(t *testing.T) {
	jobs := team(t, 0, 1)
	jobs[1].empty(t) // a deadline that has passed, and nothing there: at once
	jobs[0].write(t, "f", []byte("one"))
	jobs[0].send(t, "f", shared.ids[1])
	body := map[string]any{"resource": toPeers("All", shared.ids[0]), "path": "incoming-x", "timeout": past()}
	var item received
	jobs[1].post(t, "/resources/receive", body).into(t, http.StatusOK, &item) // and something there
	jobs[1].has(t, item, []byte("one"))
	if !strings.HasPrefix(item.Path, "incoming-x/") {
		t.Errorf("%+v", item)
	}
	ok(t, os.RemoveAll(filepath.Join(jobs[1].WorkDir, "incoming-x"))) // as executors do

	waiting := make(chan answer, 1)
	body["timeout"] = map[string]int64{"secs_since_epoch": time.Now().Add(patience).Unix(), "nanos_since_epoch": 5}
	go func() {
		a, err := jobs[1].try(rig.Within(t), http.MethodPost, "/resources/receive", body)
		if err != nil {
			t.Error(err)
		}
		waiting <- a
	}()
	jobs[0].write(t, "f", []byte("two"))
	jobs[0].send(t, "f", shared.ids[1])
	(<-waiting).into(t, http.StatusOK, &item)
	jobs[1].has(t, item, []byte("two"))

	delete(body, "timeout")
	body["timeout_ms"] = 1
	if a := jobs[1].post(t, "/resources/receive", body); a.status != http.StatusNoContent || len(a.body) > 0 {
		t.Errorf("%d %s", a.status, a.body)
	}
	jobs[0].send(t, "f", shared.ids[1])
	jobs[1].post(t, "/resources/receive", anybody(), "Accept", "application/json").into(t, http.StatusOK, &item)
	jobs[0].send(t, "f", shared.ids[1])
	jobs[1].post(t, "/resources/receive", map[string]any{"receive": toPeers("All"), "stream": false}).into(t, http.StatusOK, &item)
	body["timeout"] = "soon"
	jobs[1].post(t, "/resources/receive", body).refused(t, 422, "invalid_request")
}

// TestR12JobEnds: the end of the job, or of the node, is a proper end of the
// stream, and 204 for who waits for one.
func TestR12JobEnds(t *testing.T) {
	for _, tc := range []struct {
		name string
		end  func(t *testing.T, n *rig.Node, j *job)
	}{
		{"job", func(t *testing.T, n *rig.Node, j *job) { run(t, n, "job", "rm", j.ID) }},
		{"node", func(t *testing.T, n *rig.Node, _ *job) { ok(t, n.Stop()) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			n := start(t, filepath.Join(shortDir(t), "r"), nil)
			j := createJob(t, n)
			s := j.receive(t, anybody())
			single, taken := make(chan answer, 1), make(chan struct{})
			ctx := httptrace.WithClientTrace(rig.Within(t), &httptrace.ClientTrace{Got100Continue: func() { close(taken) }})
			go func() {
				body := map[string]any{"resource": toPeers("All"), "timeout": nil}
				a, err := j.try(ctx, http.MethodPost, "/resources/receive", body, "Expect", "100-continue")
				if err != nil {
					t.Error(err)
				}
				single <- a
			}()
			await(t, "the request", taken)
			tc.end(t, n, j)
			s.ends(t)
			if a := <-single; a.status != http.StatusNoContent {
				t.Errorf("who waited for one got %d %s", a.status, a.body)
			}
		})
	}
}
