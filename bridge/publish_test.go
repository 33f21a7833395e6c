package bridge_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/hypha-node/hypha-node/bridge"
	"github.com/hypha-node/hypha-node/bridge/bridgetest"
	"github.com/hypha-node/hypha-node/connectors"
	"github.com/hypha-node/hypha-node/connectors/peers"
	"github.com/hypha-node/hypha-node/dag"
)

// pins returns "name root" of all pins.
func (p *party) pins() map[string]bool {
	p.t.Helper()
	all := map[string]bool{}
	for pin, err := range p.store.Pins(p.t.Context()) {
		if err != nil {
			p.t.Fatal(err)
		}
		all[pin.Name+" "+pin.Root.String()] = true
	}
	return all
}

func TestPut(t *testing.T) {
	var announced []cid.Cid
	p := single(t, func(c *bridge.Config) {
		c.Announce = func(_ context.Context, root cid.Cid) error {
			announced = append(announced, root)
			return nil
		}
	})
	content := strings.Repeat("model ", 500_000)
	p.write("out/model.bin", content)
	p.write("out/sub/.hidden", "h")
	if err := os.Symlink("model.bin", filepath.Join(p.conf.WorkDir, "out", "link")); err != nil {
		t.Fatal(err)
	}
	got, err := p.job.Put(t.Context(), bridge.PutRequest{Path: "out/model.bin", Pin: true, Announce: true})
	if err != nil {
		t.Fatal(err)
	}
	want, err := dag.Import(t.Context(), nil, strings.NewReader(content), dag.ImportOptions{HashOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	if got.CID != want.Root.String() || got.Size != want.Size || got.Checksum != fmt.Sprintf("sha256:%x", want.SHA256) {
		t.Errorf("%+v", got)
	}
	if len(announced) != 1 || announced[0] != want.Root {
		t.Errorf("announced %v", announced)
	}
	tree, err := p.job.Put(t.Context(), bridge.PutRequest{Path: "out", Announce: true})
	if err != nil || tree.Size != want.Size+1 || tree.Checksum != "" {
		t.Fatalf("%+v, %v", tree, err)
	}
	for _, keep := range []bool{true, false} { // nobody asked to announce these
		if _, err := p.job.Put(t.Context(), bridge.PutRequest{Path: "out/sub", Pin: keep}); err != nil {
			t.Fatal(err)
		}
	}
	if len(announced) != 2 {
		t.Errorf("announced %v", announced)
	}
	sub := hiddenRoot(t, p)
	for name, root := range map[string]string{"published:train": got.CID, "job:train": tree.CID, "output:train": sub, "job:train/put": sub} {
		if !p.pins()[name+" "+root] || bridge.Unannounced(name) != (root == sub) {
			t.Errorf("%s: unannounced %t, pins %v", name, bridge.Unannounced(name), p.pins())
		}
	}
	if pins := p.pins(); len(pins) != 4 {
		t.Errorf("pins %v", pins)
	}
	names := map[string]bool{}
	for e, err := range dag.Walk(t.Context(), p.store, cid.MustParse(tree.CID), dag.Limits{}) {
		if err != nil {
			t.Fatal(err)
		}
		names[e.Path] = true
	}
	for _, n := range []string{"model.bin", "link", "sub/.hidden"} {
		if !names[n] {
			t.Errorf("no %s in %v", n, names)
		}
	}
	if s := p.job.Stats(); s.Put != 4 {
		t.Errorf("%+v", s)
	}
}

// hiddenRoot returns the root of the directory out/sub.
func hiddenRoot(t *testing.T, p *party) string {
	t.Helper()
	dir, err := os.OpenRoot(p.conf.WorkDir)
	if err != nil {
		t.Fatal(err)
	}
	e, err := dag.ImportTree(t.Context(), nil, dir, "out/sub", dag.TreeOptions{Hidden: true, ImportOptions: dag.ImportOptions{HashOnly: true}})
	if err := errors.Join(err, dir.Close()); err != nil {
		t.Fatal(err)
	}
	return e.Cid.String()
}

func TestPutRefusals(t *testing.T) {
	p := single(t, nil)
	p.write("dir/file", "x")
	if err := syscall.Mkfifo(filepath.Join(p.conf.WorkDir, "dir", "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc", filepath.Join(p.conf.WorkDir, "etc")); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]error{
		"missing": bridge.ErrNotFound, "dir": bridge.ErrInvalidPath, "dir/fifo": bridge.ErrInvalidPath, "etc": bridge.ErrInvalidPath,
		"etc/hosts": bridge.ErrInvalidPath, ".": bridge.ErrInvalidPath, "": bridge.ErrInvalidPath, "../x": bridge.ErrInvalidPath,
		".hypha": bridge.ErrInvalidPath, "/etc": bridge.ErrInvalidPath,
	} {
		if got, err := p.job.Put(t.Context(), bridge.PutRequest{Path: path}); !errors.Is(err, want) {
			t.Errorf("%q: %+v, %v; want %v", path, got, err, want)
		}
	}
	if pins := p.pins(); len(pins) != 0 {
		t.Errorf("%v", pins)
	}
}

// What was fetched with a credential is not told to the network.
func TestPutOfPrivateContent(t *testing.T) {
	asked := false
	secret := &listing{names: []string{"secret"}, scope: "credential"}
	store := bridgetest.New(t, bridgetest.Options{First: connectors.Set{secret}})
	dir := t.TempDir()
	c := store.Config("private", dir)
	c.Announce = func(context.Context, cid.Cid) error { asked = true; return nil }
	job := store.OpenWith(t, c)
	results, err := job.Fetch(t.Context(), fetchListing("d"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{results[0].Path, "d"} {
		if _, err := job.Put(t.Context(), bridge.PutRequest{Path: path, Announce: true}); !errors.Is(err, connectors.ErrUnauthorized) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if _, err := job.Put(t.Context(), bridge.PutRequest{Path: "d"}); err != nil || asked {
		t.Errorf("%v, announced %v", err, asked)
	}
}

// A prefetched file costs the origin nothing when it is fetched.
func TestPrefetch(t *testing.T) {
	p := single(t, nil)
	file := p.world.Origin.Put("/data/slice.bin", []byte(strings.Repeat("slice ", 100_000)))
	ref := connectors.Ref{Type: connectors.TypeURI, Value: p.world.Origin.URL + "/data/slice.bin", Index: -1}
	id, err := p.job.Prefetch(t.Context(), bridge.FetchRequest{Ref: ref})
	if err != nil {
		t.Fatal(err)
	}
	bridgetest.Until(t, "the prefetch", func() bool {
		tr, err := p.job.Transfer(id)
		return err == nil && tr.State == "done" && tr.Kind == "prefetch" && len(tr.Results) == 1 &&
			tr.Done == 600_000 && tr.Total == 600_000 && tr.From["origin"] == 600_000
	})
	if entries, err := os.ReadDir(p.conf.WorkDir); err != nil || len(entries) != 1 {
		t.Errorf("work directory: %v, %v", entries, err)
	}
	sent := file.Sent()
	results, err := p.job.Fetch(t.Context(), bridge.FetchRequest{Ref: ref})
	if err != nil || len(results) != 1 || !results[0].Metadata.Cached || file.Sent() != sent {
		t.Errorf("%+v, %v, %d bytes more", results, err, file.Sent()-sent)
	}
	if s := p.job.Stats(); s.Files != 2 || s.Bytes["origin"] != 600_000 || s.Bytes["store"] != 600_000 || s.Dedup != 0.5 {
		t.Errorf("%+v", s)
	}
	if pins := p.pins(); !pins["job:train "+results[0].CID] {
		t.Errorf("%v", pins)
	}
}

// The job's end ends a prefetch.
func TestPrefetchEndsWithTheJob(t *testing.T) {
	p := single(t, nil)
	gate := p.world.Origin.Put("/slow", make([]byte, 1<<20)).Stop()
	id, err := p.job.Prefetch(t.Context(), bridge.FetchRequest{Ref: connectors.Ref{Type: connectors.TypeURI, Value: p.world.Origin.URL + "/slow", Index: -1}})
	if err != nil {
		t.Fatal(err)
	}
	bridgetest.Wait(t, gate.Reached(), "the middle of the file")
	if tr, err := p.job.Transfer(id); err != nil || tr.State != "running" {
		t.Errorf("%+v, %v", tr, err)
	}
	p.job.Stop()
	if tr, err := p.job.Transfer(id); err != nil || tr.State != "cancelled" || tr.Ended.IsZero() {
		t.Errorf("%+v, %v", tr, err)
	}
	bridgetest.Wait(t, gate.Abandoned(), "the end of the download")
	if _, err := p.job.Prefetch(t.Context(), bridge.FetchRequest{}); !errors.Is(err, bridge.ErrClosed) {
		t.Errorf("%v", err)
	}
}

// A fetch tells how far it is, is on the list, and can be cancelled there.
func TestFetchProgressAndCancel(t *testing.T) {
	p := single(t, nil)
	p.world.Origin.Put("/a", make([]byte, 300_000))
	ref := connectors.Ref{Type: connectors.TypeURI, Value: p.world.Origin.URL + "/a", Index: -1}
	var mu sync.Mutex
	var told []bridge.Transfer
	tell := func(tr bridge.Transfer) {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, tr)
	}
	if _, err := p.job.Fetch(t.Context(), bridge.FetchRequest{Ref: ref, Progress: tell}); err != nil {
		t.Fatal(err)
	}
	last := told[len(told)-1]
	if last.State != "done" || last.Done != 300_000 || last.Total != 300_000 || last.From["origin"] != 300_000 || len(last.Results) != 1 {
		t.Errorf("%+v", last)
	}
	for i, tr := range told[1:] {
		if tr.Done < told[i].Done {
			t.Errorf("%d after %d", tr.Done, told[i].Done)
		}
	}
	gate := p.world.Origin.Put("/b", make([]byte, 300_000)).Stop()
	ref.Value = p.world.Origin.URL + "/b"
	errs := make(chan error, 1)
	go func() {
		_, err := p.job.Fetch(t.Context(), bridge.FetchRequest{Ref: ref})
		errs <- err
	}()
	bridgetest.Wait(t, gate.Reached(), "the middle of the file")
	all := p.job.Transfers()
	if len(all) != 2 || all[1].Kind != "fetch" || all[1].State != "running" {
		t.Fatalf("%+v", all)
	}
	if err := p.job.Cancel(all[1].ID); err != nil {
		t.Fatal(err)
	}
	if err := <-errs; !errors.Is(err, bridge.ErrCancelled) {
		t.Errorf("%v", err)
	}
	if err := p.job.Cancel(all[1].ID); err != nil {
		t.Errorf("again: %v", err)
	}
}

// The list of ended transfers is bounded.
func TestHistoryIsBounded(t *testing.T) {
	p := single(t, nil)
	p.world.Origin.Put("/a", []byte("x"))
	ref := connectors.Ref{Type: connectors.TypeURI, Value: p.world.Origin.URL + "/a", Index: -1}
	for range 300 {
		if _, err := p.job.Fetch(t.Context(), bridge.FetchRequest{Ref: ref}); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(p.job.Transfers()); n != 256 {
		t.Errorf("%d transfers", n)
	}
}

// Limits: so many files and bytes come into the work directory, and no more.
func TestWorkDirectoryQuota(t *testing.T) {
	for _, c := range []struct {
		name   string
		limits bridge.Limits
	}{{"files", bridge.Limits{Files: 2}}, {"bytes", bridge.Limits{Bytes: 20}}} {
		t.Run(c.name, func(t *testing.T) {
			p := single(t, func(conf *bridge.Config) { conf.Limits = c.limits })
			fetch := func(name string) error {
				p.world.Origin.Put("/"+name, []byte("0123456789"))
				_, err := p.job.Fetch(t.Context(), bridge.FetchRequest{Ref: connectors.Ref{
					Type: connectors.TypeURI, Value: p.world.Origin.URL + "/" + name, Index: -1,
				}})
				return err
			}
			if err := fetch("a"); err != nil {
				t.Fatal(err)
			}
			p.fill(1) // nine bytes
			p.drain()
			if err := fetch("b"); !errors.Is(err, bridge.ErrQuota) {
				t.Errorf("fetch: %v", err)
			}
			if err := p.keep(p.offer("more", "more", nil)); err != nil {
				t.Fatal(err) // the inbox is not the work directory
			}
			var last error
			for _, err := range p.job.Receive(t.Context(), bridge.ReceiveRequest{Until: time.Unix(1, 0)}) {
				last = err
			}
			if !errors.Is(last, bridge.ErrQuota) {
				t.Errorf("receive: %v", last)
			}
			if use := p.job.Use(); use.Files != 2 || use.Bytes != 19 || use.InboxItems != 1 {
				t.Errorf("%+v", use)
			}
			if tree, err := filepath.Glob(filepath.Join(p.conf.WorkDir, "*", "*")); err != nil || len(tree) != 3 { // with .hypha/tmp
				t.Errorf("%v, %v", tree, err)
			}
		})
	}
}

// Limits: so many transfers at once; what waits too long is told that it is busy,
// at the latest when its own time is up.
func TestTransfersAtOnce(t *testing.T) {
	p := single(t, func(c *bridge.Config) { c.Limits.Transfers = 1 })
	gate := p.world.Origin.Put("/slow", make([]byte, 300_000)).Stop()
	slow := connectors.Ref{Type: connectors.TypeURI, Value: p.world.Origin.URL + "/slow", Index: -1}
	id, err := p.job.Prefetch(t.Context(), bridge.FetchRequest{Ref: slow})
	if err != nil {
		t.Fatal(err)
	}
	bridgetest.Wait(t, gate.Reached(), "the middle of the file")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errGivenUp)
	if _, err := p.job.Fetch(ctx, bridge.FetchRequest{Ref: slow}); !errors.Is(err, errGivenUp) {
		t.Errorf("%v", err)
	}
	if use := p.job.Use(); use.Transfers != 1 {
		t.Errorf("%+v", use)
	}
	done := make(chan error, 1)
	go func() {
		_, err := p.job.Fetch(t.Context(), bridge.FetchRequest{Ref: slow})
		done <- err
	}()
	gate.Open()
	if err := <-done; err != nil {
		t.Errorf("the one that waited: %v", err)
	}
	if tr, err := p.job.Transfer(id); err != nil || tr.State != "done" {
		t.Errorf("%+v, %v", tr, err)
	}
}

var errGivenUp = errors.New("given up")

func TestInfoShowsLimits(t *testing.T) {
	p := single(t, func(c *bridge.Config) { c.Limits = bridge.Limits{Bytes: 5, Transfers: -3, InboxItems: 7} })
	info := p.job.Info()
	if info.PeerID != "peer-a" || info.Limits != (bridge.Limits{Bytes: 5, Files: -1, InboundBytes: -1, InboxItems: 7, Transfers: -1, Rate: -1}) {
		t.Errorf("%+v", info)
	}
	def := single(t, nil).job.Limits()
	if def.Transfers != 64 || def.InboxItems != 10_000 || def.Bytes != -1 {
		t.Errorf("%+v", def)
	}
}

// controller remembers what it is told and answers what it is given.
type controller struct {
	job, route, body string
	calls            int
	answer           string
	err              error
}

func (c *controller) Call(_ context.Context, job, route string, body json.RawMessage) (json.RawMessage, error) {
	c.job, c.route, c.body = job, route, string(body)
	c.calls++
	return json.RawMessage(c.answer), c.err
}

// P1, P3, P4: byte for byte, once, and only of this job.
func TestReport(t *testing.T) {
	con := &controller{answer: `{"n": 1e400, "big":12345678901234567890.10}`}
	p := single(t, func(c *bridge.Config) { c.Controller, c.Scope.Job = con, "shared" })
	for _, body := range []string{
		`"update"`, `{"metrics":{"round":12345678901234567890,"metrics":{"loss":1.0000000000000000001}}}`, ` {"job_id":"train"} `,
		`{"job_id":"shared","status":3}`, `[]`, `null`, `1e999`, `{"job_id":7}`, "{\"a\":\"\\u0041 <>&\"}",
	} {
		before := con.calls
		got, err := p.job.Report(t.Context(), bridge.RouteAction, json.RawMessage(body))
		if err != nil || string(got) != con.answer || con.body != body || con.calls != before+1 || con.job != "train" || con.route != bridge.RouteAction {
			t.Errorf("%s: %s, %v, %+v", body, got, err, con)
		}
	}
	before := con.calls
	for _, body := range []string{`{"job_id":"other"}`, `{"status":"x","job_id":"other"}`, `{`, ``, `{} {}`} {
		if got, err := p.job.Report(t.Context(), bridge.RouteStatus, json.RawMessage(body)); !errors.Is(err, connectors.ErrInvalid) {
			t.Errorf("%q: %s, %v", body, got, err)
		}
	}
	if con.calls != before {
		t.Error("the controller was called")
	}
	con.err = errGivenUp
	if _, err := p.job.Report(t.Context(), bridge.RouteStatus, json.RawMessage(`{}`)); !errors.Is(err, errGivenUp) || !errors.Is(err, connectors.ErrUpstream) || con.calls != before+1 {
		t.Errorf("%v, %d calls", err, con.calls-before)
	}
}

// P2: what is answered when nobody controls the job.
func TestReportWithoutController(t *testing.T) {
	p := single(t, func(c *bridge.Config) { c.Now = func() time.Time { return time.Unix(1_790_000_000, 5) } })
	for _, c := range []struct{ route, body, want string }{
		{bridge.RouteStatus, `"update"`, `{"type":"Ok"}`},
		{bridge.RouteProgress, `{"job_id":"train","progress":{}}`, `{"type":"Ok"}`},
		{
			bridge.RouteAction, `{"job_id":"train","status":{"executor":"aggregate","details":{"state":"idle"}}}`,
			`{"job_id":"train","next":{"executor":"aggregate","action":{"kind":"idle","timeout":{"secs_since_epoch":1790000001,"nanos_since_epoch":5}}}}`,
		},
		{
			bridge.RouteAction, `null`,
			`{"job_id":"train","next":{"executor":null,"action":{"kind":"idle","timeout":{"secs_since_epoch":1790000001,"nanos_since_epoch":5}}}}`,
		},
	} {
		got, err := p.job.Report(t.Context(), c.route, json.RawMessage(c.body))
		if err != nil || string(got) != c.want {
			t.Errorf("%s %s: %s, %v", c.route, c.body, got, err)
		}
	}
}

var _ peers.Receiver = (*bridgetest.Node)(nil)
