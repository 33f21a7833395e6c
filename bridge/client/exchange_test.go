package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/bridge"
	"github.com/hypha-node/hypha-node/bridge/bridgetest"
	"github.com/hypha-node/hypha-node/bridge/client"
	"github.com/hypha-node/hypha-node/bridge/rest"
)

// end is one of two jobs that send each other files, and its client.
type end struct {
	*client.Client
	job *bridge.Job
	dir string
}

// write writes a file of the work directory.
func (e *end) write(t testing.TB, name, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(e.dir, name), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// read reads one.
func (e *end) read(t testing.TB, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(e.dir, filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// ends returns two jobs of one id on the nodes peer-a and peer-b, and what ends
// the bridge of the second.
func ends(t *testing.T, ctrl bridge.Controller) (a, b *end, stop func()) {
	t.Helper()
	net := bridgetest.NewNetwork()
	var both []*end
	for _, id := range []string{"peer-a", "peer-b"} {
		store := blockstore.NewMemory()
		t.Cleanup(func() { store.Close() })
		w := bridgetest.New(t, bridgetest.Options{Store: store})
		dir := filepath.Join(t.TempDir(), "work")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		node := net.Node(id, store)
		conf := w.Config("train", dir)
		conf.Peers, conf.Inbox, conf.Controller = node, store.Records("inbox"), ctrl
		job := w.OpenWith(t, conf)
		node.Serve(job)
		socket := filepath.Join(filepath.Dir(dir), "b.sock")
		if err := os.Chmod(filepath.Dir(socket), 0o700); err != nil {
			t.Fatal(err)
		}
		l, err := rest.Listen(t.Context(), socket)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- rest.New(rest.Config{Job: job}).Serve(ctx, l) }()
		c := client.New(socket)
		stop = sync.OnceFunc(func() { // who calls it later waits as well
			job.Stop()
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
			c.Close()
		})
		t.Cleanup(stop)
		both = append(both, &end{c, job, dir})
	}
	return both[0], both[1], stop
}

func TestSendAndReceive(t *testing.T) {
	a, b, _ := ends(t, nil)
	a.write(t, "u.bin", "weights")
	req := bridge.SendRequest{Peers: []string{"peer-b"}, Path: "u.bin", Key: "k"}
	for range 2 { // the second is the same delivery
		got, err := a.Send(t.Context(), req)
		if err != nil || len(got) != 1 || got[0].PeerID != "peer-b" || got[0].Status != "delivered" || got[0].SentBytes != 7 {
			t.Fatalf("%+v, %v", got, err)
		}
	}
	told := 0
	a.write(t, "v.bin", "weights 2")
	got, err := a.Send(t.Context(), bridge.SendRequest{
		Peers: []string{"peer-b"}, Path: "v.bin", Strategy: bridge.One, Name: "w.bin", RemoveFile: true, Timeout: time.Hour,
		Progress: func(tr bridge.Transfer) {
			if told++; tr.Kind != "send" {
				t.Errorf("%+v", tr)
			}
		},
	})
	if err != nil || len(got) != 1 || told == 0 {
		t.Fatalf("%+v, %v, %d reports", got, err, told)
	}
	if _, err := os.Lstat(filepath.Join(a.dir, "v.bin")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file is still there: %v", err)
	}
	want := []string{"weights", "weights 2", "later"}
	ready := 0
	for item, err := range b.Receive(t.Context(), bridge.ReceiveRequest{Peers: []string{"peer-a"}, OutDir: "in", Ready: func() { ready++ }}) {
		if err != nil {
			t.Fatal(err)
		}
		if b.read(t, item.Path) != want[0] || item.FromPeer != "peer-a" || item.Sequence != int64(3-len(want)) {
			t.Errorf("%+v: %q", item, b.read(t, item.Path))
		}
		if want = want[1:]; len(want) == 1 {
			a.write(t, "x.bin", "later")
			id, err := a.SendLater(t.Context(), bridge.SendRequest{Peers: []string{"peer-b"}, Path: "x.bin"})
			if tr, terr := a.Transfer(t.Context(), id); err != nil || terr != nil || tr.ID != id || tr.Name != "x.bin" {
				t.Errorf("%+v, %v, %v", tr, err, terr)
			}
		}
		if len(want) == 0 {
			break
		}
	}
	if ready != 1 {
		t.Errorf("ready %d times", ready)
	}
	if stats, err := a.Stats(t.Context()); err != nil || stats.Sent < 3 {
		t.Errorf("%+v, %v", stats, err)
	}
	if list, err := a.Transfers(t.Context()); err != nil || len(list) != 4 {
		t.Errorf("%+v, %v", list, err)
	}
}

func TestReceiveOneAndReplay(t *testing.T) {
	a, b, _ := ends(t, nil)
	past := time.Unix(1, 0)
	if item, ok, err := b.ReceiveOne(t.Context(), bridge.ReceiveRequest{Until: past}); ok || err != nil {
		t.Errorf("%+v, %v", item, err)
	}
	for _, name := range []string{"0", "1", "2"} {
		a.write(t, name, "content "+name)
		if _, err := a.Send(t.Context(), bridge.SendRequest{Peers: []string{"peer-b"}, Path: name}); err != nil {
			t.Fatal(err)
		}
	}
	item, ok, err := b.ReceiveOne(t.Context(), bridge.ReceiveRequest{Until: past})
	if err != nil || !ok || item.Sequence != 0 || b.read(t, item.Path) != "content 0" {
		t.Errorf("%+v, %v, %v", item, ok, err)
	}
	item, ok, err = b.ReceiveOne(t.Context(), bridge.ReceiveRequest{})
	if err != nil || !ok || item.Sequence != 1 {
		t.Errorf("%+v, %v, %v", item, ok, err)
	}
	// Again from the second on, and what is queued; a time that has passed ends it.
	zero := int64(0)
	var got []int64
	for item, err := range b.Receive(t.Context(), bridge.ReceiveRequest{Since: &zero, Until: past}) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, item.Sequence)
	}
	if !slices.Equal(got, []int64{1, 2}) {
		t.Errorf("got %v", got)
	}
}

// The end of the caller's context is an error, the end of the job is none.
func TestReceiveEnds(t *testing.T) {
	_, b, stop := ends(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	var last error
	for _, err := range b.Receive(ctx, bridge.ReceiveRequest{Ready: cancel}) {
		last = err
	}
	if !errors.Is(last, context.Canceled) {
		t.Errorf("%v", last)
	}
	for item, err := range b.Receive(t.Context(), bridge.ReceiveRequest{Ready: func() { go stop() }}) {
		t.Errorf("%+v, %v", item, err)
	}
	stop()
	for _, err := range b.Receive(t.Context(), bridge.ReceiveRequest{}) {
		if last = err; last == nil {
			t.Error("an item after the end")
		}
	}
	if !errors.Is(last, os.ErrNotExist) {
		t.Errorf("%v", last)
	}
}

func TestRefusals(t *testing.T) {
	a, b, _ := ends(t, nil)
	a.write(t, "x", "x")
	refused := func(err error) *client.Error {
		t.Helper()
		e, ok := errors.AsType[*client.Error](err)
		if !ok {
			t.Fatalf("%v is no refusal", err)
		}
		return e
	}
	_, err := a.Send(t.Context(), bridge.SendRequest{Peers: []string{"peer-b"}, Path: "none"})
	if e := refused(err); e.Status != http.StatusNotFound || e.Code != "not_found" || e.RequestID == "" {
		t.Errorf("%+v", e)
	}
	for _, progress := range []func(bridge.Transfer){nil, func(bridge.Transfer) {}} {
		_, err = a.Send(t.Context(), bridge.SendRequest{
			Peers: []string{"peer-b", "peer-nobody"}, Path: "x", Progress: progress,
		})
		if e := refused(err); e.Code != "delivery_failed" || len(e.Results) != 2 || e.Results[0].Status != "delivered" || e.Results[1].Status != "failed" {
			t.Errorf("%+v", e)
		}
	}
	_, err = a.SendLater(t.Context(), bridge.SendRequest{Path: "x"})
	if e := refused(err); e.Status != http.StatusBadRequest {
		t.Errorf("%+v", e)
	}
	for _, err := range b.Receive(t.Context(), bridge.ReceiveRequest{OutDir: "../x"}) {
		if e := refused(err); e.Code != "invalid_path" {
			t.Errorf("%+v", e)
		}
	}
	_, _, err = b.ReceiveOne(t.Context(), bridge.ReceiveRequest{Strategy: bridge.Random})
	if e := refused(err); e.Status != http.StatusUnprocessableEntity {
		t.Errorf("%+v", e)
	}
	_, err = a.Put(t.Context(), bridge.PutRequest{Path: "/etc/passwd"})
	if e := refused(err); e.Code != "invalid_path" {
		t.Errorf("%+v", e)
	}
	_, err = a.Transfer(t.Context(), "a/b?c")
	if e := refused(err); e.Status != http.StatusNotFound {
		t.Errorf("%+v", e)
	}
	if e := refused(a.Cancel(t.Context(), "none")); e.Status != http.StatusNotFound {
		t.Errorf("%+v", e)
	}
	if err := a.Cancel(t.Context(), ""); err == nil {
		t.Error("an empty id was cancelled")
	}
}

func TestPutPrefetchProgress(t *testing.T) {
	w := bridgetest.New(t, bridgetest.Options{})
	w.Origin.Put("/x", []byte("hello world"))
	_, c := serve(t, w)
	id, err := c.Prefetch(t.Context(), w.Origin.URL+"/x")
	if err != nil {
		t.Fatal(err)
	}
	bridgetest.Until(t, "the prefetch", func() bool {
		tr, err := c.Transfer(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		return tr.State == "done"
	})
	if err := c.Cancel(t.Context(), id); err != nil {
		t.Error(err)
	}
	told := 0
	got, err := c.FetchProgress(t.Context(), w.Origin.URL+"/x", "d", func(bridge.Transfer) { told++ })
	if err != nil || len(got) != 1 || got[0].Path != "d/x" || !got[0].Metadata.Cached || told == 0 {
		t.Errorf("%+v, %v, %d reports", got, err, told)
	}
	p, err := c.Put(t.Context(), bridge.PutRequest{Path: "d/x", Pin: true})
	if err != nil || p.CID != got[0].CID || p.Checksum != got[0].Checksum || p.Size != 11 {
		t.Errorf("%+v, %v", p, err)
	}
	if p, err = c.Put(t.Context(), bridge.PutRequest{Path: "d"}); err != nil || p.CID == "" || p.Checksum != "" || p.Size != 11 {
		t.Errorf("%+v, %v", p, err)
	}
	if _, err := c.FetchProgress(t.Context(), w.Origin.URL+"/none", "", func(bridge.Transfer) {}); err == nil {
		t.Error("no error")
	}
}

// echo is a controller that answers what it was told.
type echo struct{}

func (echo) Call(_ context.Context, job, route string, body json.RawMessage) (json.RawMessage, error) {
	return json.RawMessage(`{"job":"` + job + `","route":"` + route + `","body":` + string(body) + `}`), nil
}

func TestReports(t *testing.T) {
	a, _, _ := ends(t, echo{})
	// Byte for byte: no space is lost, no number rounded, nothing escaped.
	const body = `{ "loss" : 0.1000000000000000055511151231257827 ,"s":"<&>\u00e9" }`
	for route, f := range map[string]func(context.Context, any) (json.RawMessage, error){
		"/status/send": a.Status, "/action/update": a.Action, "/job/progress": a.Progress,
	} {
		got, err := f(t.Context(), json.RawMessage(body))
		if want := `{"job":"train","route":"` + route + `","body":` + body + `}`; err != nil || string(got) != want {
			t.Errorf("%s, %v; want %s", got, err, want)
		}
	}
	got, err := a.Status(t.Context(), map[string]int{"n": 1})
	if err != nil || string(got) != `{"job":"train","route":"/status/send","body":{"n":1}}` {
		t.Errorf("%s, %v", got, err)
	}
	if got, err = a.Status(t.Context(), nil); err != nil || string(got) != `{"job":"train","route":"/status/send","body":null}` {
		t.Errorf("%s, %v", got, err)
	}
}
