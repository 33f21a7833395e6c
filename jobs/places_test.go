package jobs

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/bridge"
	"github.com/hypha-node/hypha-node/bridge/bridgetest"
	"github.com/hypha-node/hypha-node/bridge/client"
	"github.com/hypha-node/hypha-node/bridge/rest"
)

func TestOwnWorkDir(t *testing.T) {
	s := newSite(t, bridgetest.Options{})
	s.Origin.Put("/x", []byte("content"))
	sup := s.open(t)
	dir := t.TempDir()
	job, err := sup.Create(t.Context(), Spec{WorkDir: dir})
	if err != nil || job.WorkDir != dir {
		t.Fatal(job, err)
	}
	if _, err := ask(t, job, s.Origin.URL+"/x"); err != nil {
		t.Fatal(err)
	}
	if err := sup.Remove(t.Context(), job.ID); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(filepath.Join(dir, "artifacts", "x")); err != nil || string(data) != "content" {
		t.Errorf("%q, %v", data, err)
	}
	if _, err := os.Lstat(filepath.Join(dir, bridge.Private)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the node left its directory: %v", err)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"relative", file, filepath.Join(dir, "none"), s.dir, filepath.Join(s.dir, "x")} {
		if bad == filepath.Join(s.dir, "x") {
			if err := os.Mkdir(bad, 0o700); err != nil {
				t.Fatal(err)
			}
		}
		if job, err := sup.Create(t.Context(), Spec{WorkDir: bad}); !errors.Is(err, ErrWorkDir) {
			t.Errorf("%s: %+v, %v", bad, job, err)
		}
	}
	if list, err := sup.List(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("refused jobs are recorded: %v, %v", list, err)
	}
	if job, err = sup.Create(t.Context(), Spec{WorkDir: dir}); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	if second, err := sup.Create(t.Context(), Spec{WorkDir: link}); !errors.Is(err, ErrWorkDir) || !strings.Contains(err.Error(), job.ID) {
		t.Errorf("two jobs in one directory: %+v, %v", second, err)
	}
}

// Sockets whose path is too long lie in the short directory; other supervisors'
// there are never met.
func TestLongPaths(t *testing.T) {
	s := newSite(t, bridgetest.Options{})
	s.dir = filepath.Join(s.dir, strings.Repeat("long", 25), "jobs")
	other := *s
	other.dir = filepath.Join(filepath.Dir(s.dir), "other")
	other.records = &prefixed{s.records, "other-"}
	var sockets []string
	for _, site := range []*site{s, &other} {
		sup := site.open(t)
		job, err := sup.Create(t.Context(), Spec{ID: "same"})
		if err != nil {
			t.Fatal(err)
		}
		if len(job.Socket) > rest.MaxSocketPath || filepath.Dir(filepath.Dir(job.Socket)) != s.runtime {
			t.Errorf("socket %s", job.Socket)
		}
		if info, err := os.Lstat(filepath.Dir(job.Socket)); err != nil || info.Mode() != fs.ModeDir|0o700 {
			t.Errorf("%v, %v", info.Mode(), err)
		}
		c := client.New(job.Socket)
		if err := c.Healthy(t.Context()); err != nil {
			t.Error(err)
		}
		c.Close()
		sockets = append(sockets, job.Socket)
	}
	if sockets[0] == sockets[1] {
		t.Error("two supervisors share a socket")
	}
	s.runtime = ""
	sup := s.open(t)
	if _, err := sup.Create(t.Context(), Spec{ID: "none"}); !errors.Is(err, rest.ErrSocketPath) || !strings.Contains(err.Error(), "runtime directory") {
		t.Errorf("%v", err)
	}
	if _, err := sup.Show(t.Context(), "none"); !errors.Is(err, ErrNotFound) {
		t.Errorf("a job that could not be created: %v", err)
	}
}

// prefixed keeps the records of two supervisors apart.
type prefixed struct {
	blockstore.Records
	prefix string
}

func (p *prefixed) Get(ctx context.Context, key string) ([]byte, error) {
	return p.Records.Get(ctx, p.prefix+key)
}

func (p *prefixed) Put(ctx context.Context, key string, value []byte) error {
	return p.Records.Put(ctx, p.prefix+key, value)
}

// Whatever is squatting where the sockets would go is not used.
func TestSquattedRuntimeDir(t *testing.T) {
	s := newSite(t, bridgetest.Options{})
	s.dir = filepath.Join(s.dir, strings.Repeat("long", 25))
	sup := s.open(t)
	short := sup.place.short
	elsewhere := t.TempDir()
	for name, squat := range map[string]func() error{
		"symlink": func() error { return os.Symlink(elsewhere, short) },
		"file":    func() error { return os.WriteFile(short, nil, 0o600) },
	} {
		if err := squat(); err != nil {
			t.Fatal(err)
		}
		if job, err := sup.Create(t.Context(), Spec{ID: "x"}); err == nil {
			t.Errorf("%s: %+v", name, job)
		}
		if err := os.Remove(short); err != nil {
			t.Fatal(err)
		}
	}
	if entries, err := os.ReadDir(elsewhere); err != nil || len(entries) != 0 {
		t.Errorf("%v, %v", entries, err)
	}
	if err := os.Mkdir(short, 0o777); err != nil { // ours, but too wide
		t.Fatal(err)
	}
	if err := os.Chmod(short, 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := sup.Create(t.Context(), Spec{ID: "x"}); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Lstat(short); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

// Remove reaches nothing but the job's own directory, whatever lies in it.
func TestRemoveStaysInside(t *testing.T) {
	s := newSite(t, bridgetest.Options{})
	sup := s.open(t)
	outside := t.TempDir()
	keep := filepath.Join(outside, "keep")
	if err := os.WriteFile(keep, []byte("k"), 0o600); err != nil {
		t.Fatal(err)
	}
	job, err := sup.Create(t.Context(), Spec{ID: "j"})
	if err != nil {
		t.Fatal(err)
	}
	neighbour, err := sup.Create(t.Context(), Spec{ID: "neighbour"})
	if err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{"out": outside, "next": neighbour.WorkDir, "up": "..", "root": "/"} {
		if err := os.Symlink(target, filepath.Join(job.WorkDir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Link(keep, filepath.Join(job.WorkDir, "hard")); err != nil {
		t.Fatal(err)
	}
	deep := filepath.Join(job.WorkDir, "a", "b")
	if err := os.MkdirAll(deep, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(deep, "f"), nil, 0o400); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(deep, 0o500); err != nil {
		t.Fatal(err)
	}
	if err := sup.Remove(t.Context(), job.ID); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(keep); err != nil || string(data) != "k" {
		t.Errorf("a file outside: %q, %v", data, err)
	}
	if _, err := os.Stat(neighbour.WorkDir); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(filepath.Join(s.dir, job.ID)); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

func TestUnlock(t *testing.T) {
	dir := t.TempDir()
	deep := filepath.Join(dir, "a", "b", "c")
	if err := os.MkdirAll(deep, 0o700); err != nil {
		t.Fatal(err)
	}
	outside := t.TempDir()
	if err := os.Chmod(outside, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(dir, "a", "link")); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{deep, filepath.Dir(deep), filepath.Join(dir, "a")} {
		if err := os.Chmod(d, 0o500); err != nil {
			t.Fatal(err)
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if err := unlock(root, "a"); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]fs.FileMode{deep: 0o700, filepath.Dir(deep): 0o700, filepath.Join(dir, "a"): 0o700, outside: 0o755} {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v; want %v", name, info.Mode(), err, want)
		}
	}
}
