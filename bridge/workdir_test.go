package bridge

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// openRoot opens dir for a test.
func openRoot(t testing.TB, dir string) *os.Root {
	t.Helper()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := root.Close(); err != nil {
			t.Error(err)
		}
	})
	return root
}

func TestOutDir(t *testing.T) {
	tests := []struct {
		name, in, want string
		bad            bool
	}{
		{name: "default", in: "", want: "artifacts"},
		{name: "one", in: "artifacts", want: "artifacts"},
		{name: "deep", in: "a/b/c", want: "a/b/c"},
		{name: "slash at the end", in: "a/", want: "a"},
		{name: "dots in a name", in: "a..b/...", want: "a..b/..."},
		{name: "spaces and unicode", in: "mein Ordner/データ", want: "mein Ordner/データ"},
		{name: "looks like ours", in: ".hyphae", want: ".hyphae"},
		{name: "ours further down", in: "a/.hypha", want: "a/.hypha"},
		{name: "work directory itself", in: ".", bad: true},
		{name: "parent", in: "..", bad: true},
		{name: "parent inside", in: "a/../b", bad: true},
		{name: "parent at the end", in: "a/..", bad: true},
		{name: "absolute", in: "/etc", bad: true},
		{name: "root", in: "/", bad: true},
		{name: "slashes", in: "//", bad: true},
		{name: "two slashes at the end", in: "a//", bad: true},
		{name: "empty segment", in: "a//b", bad: true},
		{name: "dot segment", in: "a/./b", bad: true},
		{name: "NUL", in: "a\x00b", bad: true},
		{name: "newline", in: "a\nb", bad: true},
		{name: "escape sequence", in: "\x1b[31mred", bad: true},
		{name: "backslash", in: `..\..\etc`, bad: true},
		{name: "drive", in: `C:\x`, bad: true},
		{name: "no UTF-8", in: "a\xffb", bad: true},
		{name: "long segment", in: strings.Repeat("a", 256), bad: true},
		{name: "long path", in: strings.Repeat("a/", 2100) + "a", bad: true},
		{name: "deep path", in: strings.Repeat("a/", 64) + "a", bad: true},
		{name: "ours", in: ".hypha", bad: true},
		{name: "inside ours", in: ".hypha/tmp", bad: true},
		{name: "ours in capitals", in: ".Hypha/x", bad: true},
		{name: "ours with a slash", in: ".hypha/", bad: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := outDir(tt.in)
			if tt.bad {
				if !errors.Is(err, ErrInvalidPath) {
					t.Fatalf("outDir(%q) = %q, %v; want ErrInvalidPath", tt.in, got, err)
				}
				return
			}
			if err != nil || got != tt.want {
				t.Fatalf("outDir(%q) = %q, %v; want %q", tt.in, got, err, tt.want)
			}
		})
	}
}

func FuzzOutDir(f *testing.F) {
	for _, s := range []string{"", "a", "a/b", "..", "a/../b", "/x", ".hypha", "a\x00", `a\b`, "a/", "\xff", "."} {
		f.Add(s, "x")
		f.Add("artifacts", s)
	}
	base := f.TempDir()
	f.Fuzz(func(t *testing.T, dir, name string) {
		out, err := outDir(dir)
		if err != nil {
			if !errors.Is(err, ErrInvalidPath) {
				t.Fatalf("outDir(%q): %v is no ErrInvalidPath", dir, err)
			}
			return
		}
		full, err := inDir(out, name)
		if err != nil {
			if !errors.Is(err, ErrInvalidPath) {
				t.Fatalf("inDir(%q, %q): %v is no ErrInvalidPath", out, name, err)
			}
			return
		}
		if !fs.ValidPath(full) || !filepath.IsLocal(full) || !strings.HasPrefix(full, out+"/") {
			t.Fatalf("accepted %q + %q as %q", dir, name, full)
		}
		if !strings.HasPrefix(filepath.Join(base, full), base+"/") {
			t.Fatalf("%q leaves the directory", full)
		}
		if first, _, _ := strings.Cut(strings.ToLower(full), "/"); first == Private {
			t.Fatalf("%q is reserved", full)
		}
	})
}

func TestOpenDirMakesPrivateDirectories(t *testing.T) {
	dir := t.TempDir()
	root := openRoot(t, dir)
	for range 2 { // the second time they exist
		d, err := openDir(root, "a/b/c")
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"a", "a/b", "a/b/c"} {
		info, err := os.Lstat(filepath.Join(dir, name))
		if err != nil || info.Mode() != fs.ModeDir|0o700 {
			t.Errorf("%s: %v, %v; want a directory of mode 0700", name, info.Mode(), err)
		}
	}
}

func TestOpenDirRefusesWhatIsNoDirectory(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "real"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{
		"inside": "real", "absolute": filepath.Join(dir, "real"), "outside": outside,
		"up": "..", "dangling": "nothing", "loop": "loop", "proc": "/proc/self/root",
	} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	root := openRoot(t, dir)
	for _, name := range []string{
		"file", "file/x", "inside", "inside/x", "absolute", "outside", "outside/x",
		"up", "up/x", "dangling", "dangling/x", "loop", "proc/tmp", "real/../outside",
	} {
		d, err := openDir(root, name)
		if err == nil {
			t.Errorf("openDir(%q) succeeded", name)
			if err := d.Close(); err != nil {
				t.Error(err)
			}
			continue
		}
		if !errors.Is(err, ErrInvalidPath) {
			t.Errorf("openDir(%q): %v is no ErrInvalidPath", name, err)
		}
	}
	for _, d := range []string{outside, filepath.Join(dir, "real")} {
		if entries, err := os.ReadDir(d); err != nil || len(entries) != 0 {
			t.Errorf("%s has %v, %v; want nothing", d, entries, err)
		}
	}
}

func TestSweep(t *testing.T) {
	t.Run("leftovers", func(t *testing.T) {
		dir := t.TempDir()
		deep := filepath.Join(dir, Private, "tmp", "x", "y")
		if err := os.MkdirAll(deep, 0o700); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{filepath.Join(deep, "f"), filepath.Join(dir, Private, "job.json"), filepath.Join(dir, "kept")} {
			if err := os.WriteFile(name, []byte("x"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := sweep(openRoot(t, dir)); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(filepath.Join(dir, Private, "tmp")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("temporary directory is still there: %v", err)
		}
		for _, name := range []string{"kept", Private + "/job.json"} {
			if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
				t.Error(err)
			}
		}
	})
	t.Run("private directory is a symlink", func(t *testing.T) {
		dir, outside := t.TempDir(), t.TempDir()
		victim := filepath.Join(outside, "tmp")
		if err := os.Mkdir(victim, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(outside, filepath.Join(dir, Private)); err != nil {
			t.Fatal(err)
		}
		if err := sweep(openRoot(t, dir)); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(victim); err != nil {
			t.Errorf("sweep reached outside: %v", err)
		}
		if info, err := os.Lstat(filepath.Join(dir, Private)); err != nil || !info.IsDir() {
			t.Errorf("private directory: %v, %v", info, err)
		}
	})
	t.Run("temporary directory is a symlink", func(t *testing.T) {
		dir, outside := t.TempDir(), t.TempDir()
		if err := os.WriteFile(filepath.Join(outside, "f"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(filepath.Join(dir, Private), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(outside, filepath.Join(dir, Private, "tmp")); err != nil {
			t.Fatal(err)
		}
		if err := sweep(openRoot(t, dir)); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(filepath.Join(outside, "f")); err != nil {
			t.Errorf("sweep reached outside: %v", err)
		}
	})
}

func TestCanShare(t *testing.T) {
	work, store := t.TempDir(), t.TempDir()
	got := canShare(openRoot(t, work), store)
	// A file system that can share bytes holds the test to it, by this variable.
	if want := os.Getenv("HYPHA_TEST_SHARES_BYTES") != ""; want && !got {
		t.Error("the file system can share bytes, but was found not to")
	}
	if got { // then a real clone works, too
		if err := tryShare(openRoot(t, work), openRoot(t, store)); err != nil {
			t.Error(err)
		}
	}
	for _, dir := range []string{store, filepath.Join(work, Private, "tmp")} {
		if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
			t.Errorf("%s has %v, %v", dir, entries, err)
		}
	}
	if canShare(openRoot(t, work), filepath.Join(store, "none")) {
		t.Error("shares bytes with a directory that does not exist")
	}
	if canShare(openRoot(t, work), "/proc") {
		t.Error("shares bytes with a directory where no file can be made")
	}
}
