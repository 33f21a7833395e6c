package jobs

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	ipld "github.com/ipfs/go-ipld-format"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/bridge"
	"github.com/hypha-node/hypha-node/bridge/bridgetest"
	"github.com/hypha-node/hypha-node/bridge/client"
)

// site is a world and the places of a supervisor over it.
type site struct {
	*bridgetest.World
	records blockstore.Records
	dir     string
	runtime string
}

// newSite makes a site on a memory store.
func newSite(t *testing.T, o bridgetest.Options) *site {
	t.Helper()
	m := blockstore.NewMemory()
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	o.Store = m
	base := t.TempDir()
	return &site{World: bridgetest.New(t, o), records: m.Records("jobs"), dir: filepath.Join(base, "r", "jobs"), runtime: base}
}

// open opens a supervisor, closed with the test.
func (s *site) open(t *testing.T) *Supervisor {
	t.Helper()
	sup, err := Open(t.Context(), Config{Dir: s.dir, RuntimeDir: s.runtime, Records: s.records, Engine: s.Engine, Store: s.Store})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := sup.Close(); err != nil {
			t.Error(err)
		}
	})
	return sup
}

// ask fetches a URL through a job's bridge.
func ask(t *testing.T, job Job, ref any) ([]bridge.Result, error) {
	t.Helper()
	c := client.New(job.Socket)
	defer c.Close()
	return c.Fetch(t.Context(), ref, "")
}

func TestLifeOfAJob(t *testing.T) {
	s := newSite(t, bridgetest.Options{})
	s.Origin.Put("/x", []byte("content"))
	sup := s.open(t)
	job, err := sup.Create(t.Context(), Spec{})
	if err != nil {
		t.Fatal(err)
	}
	if checkID(job.ID) != nil || job.State != StateCreated || job.Created.IsZero() || !filepath.IsAbs(job.WorkDir) {
		t.Errorf("%+v", job)
	}
	for name, want := range map[string]fs.FileMode{
		s.dir: fs.ModeDir | 0o700, filepath.Dir(job.WorkDir): fs.ModeDir | 0o700, job.WorkDir: fs.ModeDir | 0o700,
		job.Socket: fs.ModeSocket | 0o600, filepath.Dir(job.Socket): fs.ModeDir | 0o700,
	} {
		if info, err := os.Lstat(name); err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v; want %v", name, info.Mode(), err, want)
		}
	}
	got, err := ask(t, job, s.Origin.URL+"/x")
	if err != nil || len(got) != 1 {
		t.Fatal(got, err)
	}
	if data, err := os.ReadFile(filepath.Join(job.WorkDir, got[0].Path)); err != nil || string(data) != "content" {
		t.Errorf("%q, %v", data, err)
	}
	if shown, err := sup.Show(t.Context(), job.ID); err != nil || cmp.Diff(shown, job) != "" {
		t.Errorf("%+v, %v; want %+v", shown, err, job)
	}
	if list, err := sup.List(t.Context()); err != nil || cmp.Diff(list, []Job{job}) != "" {
		t.Errorf("%+v, %v", list, err)
	}
	if n := pins(t, s.Store, job.ID); n != 1 {
		t.Errorf("%d pins", n)
	}
	if err := sup.Remove(t.Context(), job.ID); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{filepath.Dir(job.WorkDir), job.Socket} {
		if _, err := os.Lstat(name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is still there: %v", name, err)
		}
	}
	if n := pins(t, s.Store, job.ID); n != 0 {
		t.Errorf("%d pins are left", n)
	}
	if _, err := s.records.Get(t.Context(), job.ID); !ipld.IsNotFound(err) {
		t.Errorf("record: %v", err)
	}
	if _, err := sup.Show(t.Context(), job.ID); !errors.Is(err, ErrNotFound) {
		t.Errorf("Show: %v", err)
	}
	if err := sup.Remove(t.Context(), job.ID); !errors.Is(err, ErrNotFound) {
		t.Errorf("Remove: %v", err)
	}
	if list, err := sup.List(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("%v, %v", list, err)
	}
}

// pins counts the pins of a job.
func pins(t *testing.T, store blockstore.Store, id string) (n int) {
	t.Helper()
	return pinned(t, store, "job:"+id)
}

// pinned counts the pins of a name.
func pinned(t *testing.T, store blockstore.Store, name string) (n int) {
	t.Helper()
	for p, err := range store.Pins(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if p.Name == name {
			n++
		}
	}
	return n
}

func TestIDs(t *testing.T) {
	sup := newSite(t, bridgetest.Options{}).open(t)
	for _, id := range []string{"a", "A-1_x.y", "2b6c1a1e-8f7c-4a5e-9d7c-0f6a1e2b3c4d", strings.Repeat("a", 64)} {
		job, err := sup.Create(t.Context(), Spec{ID: id})
		if err != nil || job.ID != id {
			t.Errorf("%q: %+v, %v", id, job, err)
		}
		if _, err := sup.Create(t.Context(), Spec{ID: id}); !errors.Is(err, ErrExists) {
			t.Errorf("%q again: %v", id, err)
		}
	}
	for _, id := range []string{
		".", "..", "../x", "a/b", "/etc", ".hidden", "-rf", "_a", "a.", "a b", "a\x00b", "a\nb", "ä", `a\b`, "a:b", strings.Repeat("a", 65), "\xff",
	} {
		if job, err := sup.Create(t.Context(), Spec{ID: id}); !errors.Is(err, ErrID) {
			t.Errorf("%q: %+v, %v; want ErrID", id, job, err)
		}
		if _, err := sup.Show(t.Context(), id); !errors.Is(err, ErrNotFound) {
			t.Errorf("show %q: %v", id, err)
		}
		if err := sup.Remove(t.Context(), id); !errors.Is(err, ErrNotFound) {
			t.Errorf("remove %q: %v", id, err)
		}
	}
	seen := map[string]bool{}
	for range 100 {
		id, err := specID("")
		if err != nil || checkID(id) != nil || seen[id] {
			t.Fatalf("%q, %v", id, err)
		}
		seen[id] = true
	}
}

func FuzzID(f *testing.F) {
	for _, s := range []string{"a", "..", "a/b", "A.b-c_d", "\x00", ".x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, id string) {
		if checkID(id) != nil {
			return
		}
		if !filepath.IsLocal(id) || filepath.Base(id) != id || len(id) > maxID || strings.ContainsAny(id, "/\\: \x00") {
			t.Fatalf("accepted %q", id)
		}
	})
}

// A supervisor that starts again serves the jobs of the one before at the same
// sockets, even if that one was killed.
func TestRestart(t *testing.T) {
	s := newSite(t, bridgetest.Options{})
	s.Origin.Put("/x", []byte("content"))
	first := s.open(t)
	job, err := first.Create(t.Context(), Spec{ID: "kept"})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(job.WorkDir, "result"), []byte("r"), 0o600); err != nil {
		t.Fatal(err)
	}
	temp := filepath.Join(job.WorkDir, bridge.Private, "tmp")
	if err := os.MkdirAll(temp, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(temp, "half"), []byte("h"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := ask(t, job, s.Origin.URL+"/x"); err == nil {
		t.Error("a closed supervisor answers")
	}
	if _, err := first.Create(t.Context(), Spec{}); !errors.Is(err, ErrClosed) {
		t.Errorf("Create after Close: %v", err)
	}
	for _, damaged := range []string{"damaged"} {
		if err := s.records.Put(t.Context(), damaged, []byte("{")); err != nil {
			t.Fatal(err)
		}
	}
	second := s.open(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- second.Serve(ctx, nil) }()
	c := client.New(job.Socket)
	defer c.Close()
	bridgetest.Until(t, "an answer", func() bool { return c.Healthy(t.Context()) == nil })
	if again, err := second.Show(t.Context(), "kept"); err != nil || cmp.Diff(again, job) != "" {
		t.Errorf("%+v, %v; want %+v", again, err, job)
	}
	if _, err := ask(t, job, s.Origin.URL+"/x"); err != nil {
		t.Error(err)
	}
	if data, err := os.ReadFile(filepath.Join(job.WorkDir, "result")); err != nil || string(data) != "r" {
		t.Errorf("the work directory was lost: %v", err)
	}
	if _, err := os.Stat(filepath.Join(temp, "half")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a half file was kept: %v", err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(job.Socket); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket outlives the supervisor: %v", err)
	}
}

// A job whose directory can't be used does not keep the others from being served.
func TestRestartWithABrokenJob(t *testing.T) {
	s := newSite(t, bridgetest.Options{})
	sup := s.open(t)
	own := t.TempDir()
	for id, dir := range map[string]string{"a-broken": filepath.Join(own, "gone"), "b-good": ""} {
		if dir != "" {
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := sup.Create(t.Context(), Spec{ID: id, WorkDir: dir}); err != nil {
			t.Fatal(err)
		}
	}
	if err := sup.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(own, "gone")); err != nil {
		t.Fatal(err)
	}
	sup = s.open(t)
	ctx, cancel := context.WithCancel(t.Context())
	done, ready := make(chan error, 1), make(chan struct{})
	go func() { done <- sup.Serve(ctx, func() { close(ready) }) }()
	<-ready
	good, err := sup.Show(t.Context(), "b-good")
	if err != nil {
		t.Fatal(err)
	}
	c := client.New(good.Socket)
	defer c.Close()
	bridgetest.Until(t, "an answer", func() bool { return c.Healthy(t.Context()) == nil })
	if bad, err := sup.Show(t.Context(), "a-broken"); err != nil || bad.State != StateFailed {
		t.Errorf("%+v, %v", bad, err)
	}
	if err := sup.Remove(t.Context(), "a-broken"); err != nil {
		t.Errorf("a broken job can't be removed: %v", err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestManyAtOnce(t *testing.T) {
	s := newSite(t, bridgetest.Options{})
	sup := s.open(t)
	var wg sync.WaitGroup
	var created sync.Map
	for range 16 {
		wg.Go(func() { // sixteen want the same id, one gets it
			if job, err := sup.Create(t.Context(), Spec{ID: "one"}); err == nil {
				if _, twice := created.LoadOrStore("one", job); twice {
					t.Error("created twice")
				}
			} else if !errors.Is(err, ErrExists) {
				t.Error(err)
			}
		})
		wg.Go(func() {
			job, err := sup.Create(t.Context(), Spec{})
			if err != nil {
				t.Error(err)
				return
			}
			c := client.New(job.Socket)
			defer c.Close()
			if err := c.Healthy(t.Context()); err != nil {
				t.Error(err)
			}
			if err := sup.Remove(t.Context(), job.ID); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if list, err := sup.List(t.Context()); err != nil || len(list) != 1 || list[0].ID != "one" {
		t.Errorf("%v, %v", list, err)
	}
}

// Removing a job ends what it fetches; its client is told why.
func TestRemoveCancels(t *testing.T) {
	s := newSite(t, bridgetest.Options{})
	gate := s.Origin.Put("/x", bytes.Repeat([]byte("x"), 4<<20)).Stop()
	sup := s.open(t)
	job, err := sup.Create(t.Context(), Spec{})
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan error, 1)
	go func() {
		_, err := ask(t, job, s.Origin.URL+"/x")
		got <- err
	}()
	bridgetest.Wait(t, gate.Reached(), "half of the download")
	if err := sup.Remove(t.Context(), job.ID); err != nil {
		t.Fatal(err)
	}
	refusal, ok := errors.AsType[*client.Error](<-got)
	if !ok || refusal.Code != "shutting_down" {
		t.Errorf("%v", refusal)
	}
	bridgetest.Wait(t, gate.Abandoned(), "the end of the download")
}
