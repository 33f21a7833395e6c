package bridge_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hypha-node/hypha-node/bridge"
	"github.com/hypha-node/hypha-node/bridge/bridgetest"
	"github.com/hypha-node/hypha-node/connectors"
)

// listing is a connector that offers files under whatever names it was told: a
// hub, a peer or a DAG whose author means harm.
type listing struct {
	names []string
	scope string // of the items
}

func (l *listing) Supports(ref connectors.Ref) bool { return ref.Type == connectors.TypeScheduler }

func (l *listing) Items(context.Context, connectors.Ref, connectors.Access) iter.Seq2[connectors.Item, error] {
	return func(yield func(connectors.Item, error) bool) {
		for _, name := range l.names {
			it := item(name, []byte("content of "+name))
			it.Scope = l.scope
			if !yield(it, nil) {
				return
			}
		}
	}
}

// item returns an item that is open to everybody.
func item(name string, data []byte) connectors.Item {
	return connectors.Item{
		Path: name, Size: int64(len(data)), Source: "test", URL: "test:" + name,
		Open: func(_ context.Context, off, n int64, _ []byte) (*connectors.Body, error) {
			part := data[off:]
			if n >= 0 && n < int64(len(part)) {
				part = part[:n]
			}
			return &connectors.Body{ReadCloser: io.NopCloser(bytes.NewReader(part)), Size: int64(len(data))}, nil
		},
	}
}

// fetchListing is a request for what a listing offers.
func fetchListing(dir string) bridge.FetchRequest {
	return bridge.FetchRequest{Ref: connectors.Ref{Type: connectors.TypeScheduler, Index: -1}, OutDir: dir}
}

// hostileNames returns curated and generated names; most must be refused.
func hostileNames(n int) []string {
	names := []string{
		"", ".", "..", "/", "//", "./x", "../x", "a/..", "a/../..", "a/../../x", "/etc/passwd", "//etc/passwd", "a//b", "a/", "/a",
		"..\\x", "a\\..\\b", `C:\x`, "C:x", `\\host\share`, "a\x00", "\x00", "a\nb", "a\rb", "\x1b[31m", "a\x7f", "\u202etxt.exe",
		".hypha", ".hypha/tmp/x", ".HYPHA/x", ".hypha-tmp-x", "\xff", "a\xc0\xafb", "..%2fx", "%2e%2e/x", "....//x", ". ./x", ".. /x", "..\u2215x",
		"link/x", "link", "dirlink/x", "dirlink", "filelink", "filelink/", "up/x", "abs/x", "proc/x", "file/x", "fifo", "dir", "loop/x",
		strings.Repeat("a", 255), strings.Repeat("a", 256), strings.Repeat("a/", 63) + "a", strings.Repeat("a/", 64) + "a", strings.Repeat("b", 5000),
		"CON", "nul.txt", "a:b", "a?", "a*", " a", "a ", "a.", "~", "~root/x", "-rf", "$(id)", "`id`", "a;b", "a|b", "ﬁ", "K", "İ",
	}
	parts := []string{
		"..", ".", "", "a", "b", "link", "dirlink", "filelink", "up", "abs", "proc", "dir", "file", "loop", ".hypha", "tmp", "\x00", "\\", "\xff", "\u202e",
		"%2e%2e", "...", " ", "\t", "passwd", "etc", strings.Repeat("x", 300), "C:", "é", "\u0000a", "../", "..\\",
	}
	r := rand.New(rand.NewPCG(1, 2))
	for len(names) < n {
		k := 1 + r.IntN(6)
		pick := make([]string, k)
		for i := range pick {
			pick[i] = parts[r.IntN(len(parts))]
		}
		name := strings.Join(pick, []string{"/", "/", "/", "", "\\", "//"}[r.IntN(6)])
		if r.IntN(8) == 0 {
			name = "/" + name
		}
		names = append(names, name)
	}
	return names
}

// trap is a work directory full of ways out, and what lies outside.
type trap struct {
	dir, outside string
	before       map[string]string // what was outside
}

// newTrap builds a work directory as an executor could leave it.
func newTrap(t *testing.T) *trap {
	t.Helper()
	base := t.TempDir()
	tr := &trap{dir: filepath.Join(base, "work"), outside: filepath.Join(base, "outside")}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.Mkdir(tr.dir, 0o700))
	must(os.Mkdir(tr.outside, 0o700))
	must(os.WriteFile(filepath.Join(tr.outside, "secret"), []byte("secret"), 0o600))
	must(os.Mkdir(filepath.Join(tr.outside, "etc"), 0o700))
	for _, in := range []string{"", "artifacts"} {
		d := filepath.Join(tr.dir, in)
		must(os.MkdirAll(d, 0o700))
		for name, target := range map[string]string{
			"link": "dir", "dirlink": tr.outside, "filelink": filepath.Join(tr.outside, "secret"), "up": "../..",
			"abs": "/", "proc": "/proc/self/root", "loop": "loop",
		} {
			must(os.Symlink(target, filepath.Join(d, name)))
		}
		must(os.Mkdir(filepath.Join(d, "dir"), 0o700))
		must(os.WriteFile(filepath.Join(d, "file"), []byte("f"), 0o600))
	}
	tr.before = snapshot(t, base, tr.dir)
	return tr
}

// snapshot returns name → type and content of everything below base but skip.
func snapshot(t *testing.T, base, skip string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(base, func(name string, d fs.DirEntry, err error) error {
		if err != nil || name == skip {
			return errors.Join(err, fs.SkipDir)
		}
		text := d.Type().String()
		if d.Type().IsRegular() {
			data, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			text += string(data)
		}
		all[name] = text
		return nil
	})
	if err != nil && !errors.Is(err, fs.SkipDir) {
		t.Fatal(err)
	}
	return all
}

// check fails if anything outside changed, and if a name or a mode inside is
// not as it should be.
func (tr *trap) check(t *testing.T, name string, results []bridge.Result) {
	t.Helper()
	base := filepath.Dir(tr.dir)
	now := snapshot(t, base, tr.dir)
	if len(now) != len(tr.before) {
		t.Fatalf("%q: outside are %v", name, now)
	}
	for k, v := range tr.before {
		if now[k] != v {
			t.Fatalf("%q: outside, %s is %q", name, k, now[k])
		}
	}
	for _, r := range results {
		if first, _, _ := strings.Cut(r.Path, "/"); !filepath.IsLocal(r.Path) || strings.EqualFold(first, bridge.Private) {
			t.Fatalf("%q: reported path %q", name, r.Path)
		}
		at := tr.dir
		segments := strings.Split(r.Path, "/")
		for i, s := range segments {
			at = filepath.Join(at, s)
			info, err := os.Lstat(at)
			want := fs.ModeDir | 0o700
			if i == len(segments)-1 {
				want = 0o600
			}
			if err != nil || info.Mode() != want {
				t.Fatalf("%q: %s has mode %v, %v; want %v", name, at, info.Mode(), err, want)
			}
		}
	}
}

// Names from sources: 2,000 of them, none gets out.
func TestHostileItemNames(t *testing.T) {
	l := &listing{}
	w := bridgetest.New(t, bridgetest.Options{First: connectors.Set{l}})
	tr := newTrap(t)
	job := w.OpenIn(t, "hostile", tr.dir)
	accepted := 0
	for _, name := range hostileNames(2000) {
		l.names = []string{name}
		results, err := job.Fetch(t.Context(), fetchListing(""))
		if err != nil && !errors.Is(err, bridge.ErrInvalidPath) {
			t.Fatalf("%q: %v is no ErrInvalidPath", name, err)
		}
		if err == nil {
			accepted++
		}
		tr.check(t, name, results)
	}
	if accepted < 10 {
		t.Errorf("only %d names were accepted: the test tests nothing", accepted)
	}
}

// Directories that requests name: the same.
func TestHostileOutDirs(t *testing.T) {
	w := bridgetest.New(t, bridgetest.Options{First: connectors.Set{&listing{names: []string{"x"}}}})
	tr := newTrap(t)
	job := w.OpenIn(t, "hostile", tr.dir)
	accepted := 0
	for _, name := range hostileNames(2000) {
		results, err := job.Fetch(t.Context(), fetchListing(name))
		if err != nil && !errors.Is(err, bridge.ErrInvalidPath) {
			t.Fatalf("%q: %v is no ErrInvalidPath", name, err)
		}
		if err == nil {
			accepted++
		}
		tr.check(t, name, results)
	}
	if accepted < 10 {
		t.Errorf("only %d directories were accepted: the test tests nothing", accepted)
	}
}

// Names that URLs bring, through the real connector: it makes a name of most,
// and none gets out.
func TestHostileURLNames(t *testing.T) {
	w := bridgetest.New(t, bridgetest.Options{})
	tr := newTrap(t)
	job := w.OpenIn(t, "hostile", tr.dir)
	accepted := 0
	for i, name := range hostileNames(2000) {
		var escaped strings.Builder
		for _, b := range []byte(name) {
			fmt.Fprintf(&escaped, "%%%02X", b)
		}
		w.Origin.Put("/"+name, []byte("x"))
		ref, err := connectors.ParseURI(w.Origin.URL + "/" + escaped.String())
		if i%2 == 1 { // or as the name that the request gives
			ref, err = connectors.ParseURI(w.Origin.URL + "/")
			ref.Filename = name
			w.Origin.Put("/", []byte("x"))
		}
		if err != nil {
			continue
		}
		results, err := job.Fetch(t.Context(), bridge.FetchRequest{Ref: ref})
		if err == nil {
			accepted++
		}
		tr.check(t, name, results)
	}
	if accepted < 10 {
		t.Errorf("only %d names were accepted: the test tests nothing", accepted)
	}
}
