package atomicfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// each runs test with files that have no name until they are committed and with
// files under a private name, which is all that some platforms have.
func each(t *testing.T, test func(t *testing.T, dir string, create func(name string, o Options) (*File, error))) {
	t.Run("as the platform can", func(t *testing.T) {
		dir := t.TempDir()
		root := openRoot(t, dir)
		test(t, dir, func(name string, o Options) (*File, error) { return Create(root, name, o) })
	})
	t.Run("named", func(t *testing.T) {
		dir := t.TempDir()
		root := openRoot(t, dir)
		test(t, dir, func(name string, o Options) (*File, error) {
			d, err := OpenDir(root, filepath.Dir(name))
			if err != nil {
				return nil, err
			}
			f := &File{dir: d, base: filepath.Base(name), opts: o, own: true}
			if f.opts.Mode == 0 {
				f.opts.Mode = 0o600
			}
			file, err := f.openNamed()
			if err != nil {
				return nil, errors.Join(err, d.Close())
			}
			f.File = file
			return f, nil
		})
	})
}

func openRoot(t *testing.T, dir string) *os.Root {
	t.Helper()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root
}

// names lists everything below dir, temporary files too.
func names(t *testing.T, dir string) string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && p != dir {
			all = append(all, strings.TrimPrefix(p, dir+string(filepath.Separator)))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(all, " ")
}

func write(t *testing.T, f *File, err error, content string) *File {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(content); err != nil {
		t.Fatal(err)
	}
	return f
}

func read(t *testing.T, parts ...string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(parts...))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestCommit(t *testing.T) {
	each(t, func(t *testing.T, dir string, create func(string, Options) (*File, error)) {
		if err := os.Mkdir(filepath.Join(dir, "sub"), 0o700); err != nil {
			t.Fatal(err)
		}
		f, err := create("sub/a", Options{Sync: true})
		write(t, f, err, "one")
		if info, err := f.Stat(); err != nil || info.Mode().Perm()&^0o600 != 0 {
			t.Errorf("before Commit: mode %v, %v", info.Mode(), err)
		}
		if _, err := os.Lstat(filepath.Join(dir, "sub/a")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("visible before Commit: %v", err)
		}
		if err := f.Commit(); err != nil {
			t.Fatal(err)
		}
		if got := read(t, dir, "sub/a"); got != "one" {
			t.Errorf("content %q", got)
		}
		if err := f.Commit(); !errors.Is(err, fs.ErrClosed) {
			t.Errorf("second Commit: %v", err)
		}
		if err := f.Abort(); err != nil {
			t.Errorf("Abort after Commit: %v", err)
		}
		if got := names(t, dir); got != "sub sub/a" {
			t.Errorf("left: %s", got)
		}
	})
}

func TestModes(t *testing.T) {
	each(t, func(t *testing.T, dir string, create func(string, Options) (*File, error)) {
		for mode, want := range map[fs.FileMode]fs.FileMode{
			0: 0o600, 0o600: 0o600, 0o644: 0o644, 0o777: 0o777, 0o400: 0o400, fs.ModeSetuid | 0o755: 0o755,
		} {
			name := strconv.FormatUint(uint64(mode), 8)
			f, err := create(name, Options{Mode: mode})
			if err := write(t, f, err, "x").Commit(); err != nil {
				t.Fatal(err)
			}
			info, err := os.Stat(filepath.Join(dir, name))
			if err != nil || info.Mode() != want {
				t.Errorf("mode %v: got %v, %v; want %v", mode, info.Mode(), err, want)
			}
		}
	})
}

func TestTaken(t *testing.T) {
	each(t, func(t *testing.T, dir string, create func(string, Options) (*File, error)) {
		old := filepath.Join(dir, "a")
		if err := os.WriteFile(old, []byte("old"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Link(old, filepath.Join(dir, "b")); err != nil {
			t.Fatal(err)
		}
		f, err := create("a", Options{})
		if err := write(t, f, err, "new").Commit(); !errors.Is(err, fs.ErrExist) {
			t.Errorf("Commit on a taken name = %v, want ErrExist", err)
		}
		if got := read(t, old); got != "old" {
			t.Errorf("taken name now holds %q", got)
		}
		f, err = create("a", Options{Replace: true})
		if err := write(t, f, err, "new").Commit(); err != nil {
			t.Fatal(err)
		}
		if got := read(t, old); got != "new" {
			t.Errorf("replaced file holds %q", got)
		}
		if got := read(t, dir, "b"); got != "old" {
			t.Errorf("hard link to the replaced file holds %q: it was opened for writing", got)
		}
		if got := names(t, dir); got != "a b" {
			t.Errorf("left: %s", got)
		}
	})
}

func TestReplaceSymlinkAndDirectory(t *testing.T) {
	each(t, func(t *testing.T, dir string, create func(string, Options) (*File, error)) {
		outside := filepath.Join(t.TempDir(), "outside")
		if err := os.WriteFile(outside, []byte("old"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(outside, filepath.Join(dir, "link")); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(filepath.Join(dir, "sub"), 0o700); err != nil {
			t.Fatal(err)
		}
		f, err := create("link", Options{Replace: true})
		if err := write(t, f, err, "new").Commit(); err != nil {
			t.Fatal(err)
		}
		if got := read(t, outside); got != "old" {
			t.Errorf("wrote through a symlink: %q", got)
		}
		f, err = create("sub", Options{Replace: true})
		if err := write(t, f, err, "new").Commit(); err == nil {
			t.Error("replaced a directory")
		}
		if got := names(t, dir); got != "link sub" {
			t.Errorf("left: %s", got)
		}
	})
}

func TestAbort(t *testing.T) {
	each(t, func(t *testing.T, dir string, create func(string, Options) (*File, error)) {
		f, err := create("a", Options{})
		if err := write(t, f, err, "x").Abort(); err != nil {
			t.Fatal(err)
		}
		if err := f.Abort(); err != nil {
			t.Errorf("second Abort: %v", err)
		}
		if err := f.Commit(); !errors.Is(err, fs.ErrClosed) {
			t.Errorf("Commit after Abort: %v", err)
		}
		if got := names(t, dir); got != "" {
			t.Errorf("left: %s", got)
		}
	})
}

func TestTempDir(t *testing.T) {
	dir := t.TempDir()
	root := openRoot(t, dir)
	for _, sub := range []string{"tmp", "out"} {
		if err := root.Mkdir(sub, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	tmp, err := OpenDir(root, "tmp")
	if err != nil {
		t.Fatal(err)
	}
	defer tmp.Close()
	out, err := OpenDir(root, "out")
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	f := &File{dir: out, base: "a", opts: Options{TempDir: tmp, Mode: 0o600}}
	file, err := f.openNamed()
	if err != nil {
		t.Fatal(err)
	}
	f.File = file
	if got := names(t, filepath.Join(dir, "out")); got != "" {
		t.Errorf("temporary file beside the target: %s", got)
	}
	if err := write(t, f, nil, "x").Commit(); err != nil {
		t.Fatal(err)
	}
	if got := names(t, dir); got != "out out/a tmp" {
		t.Errorf("left: %s", got)
	}
}

func TestEscapes(t *testing.T) {
	base := t.TempDir()
	dir := filepath.Join(base, "root")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("..", filepath.Join(dir, "up")); err != nil {
		t.Fatal(err)
	}
	root := openRoot(t, dir)
	for _, name := range []string{"../a", "/a", "up/a", "", ".", "..", "sub/..", "a/", "missing/a", "a\x00b"} {
		f, err := Create(root, name, Options{})
		if err == nil {
			t.Errorf("created %q", name)
			f.Abort()
		}
	}
	if got := names(t, base); got != "root root/up" {
		t.Errorf("left: %s", got)
	}
}

// TestRace has many writers for one name: exactly one wins without Replace, and
// with it the file is whole at any moment.
func TestRace(t *testing.T) {
	dir := t.TempDir()
	root := openRoot(t, dir)
	d, err := OpenDir(root, ".")
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for _, replace := range []bool{false, true} {
		var wg sync.WaitGroup
		var mu sync.Mutex
		won := 0
		for i := range 20 {
			wg.Go(func() {
				f, err := d.Create("a"+strconv.FormatBool(replace), Options{Replace: replace})
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := f.WriteString(strings.Repeat(strconv.Itoa(i%10), 1000)); err != nil {
					t.Error(err)
				}
				err = f.Commit()
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					won++
				} else if !errors.Is(err, fs.ErrExist) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if want := map[bool]int{false: 1, true: 20}[replace]; won != want {
			t.Errorf("replace %v: %d commits succeeded, want %d", replace, won, want)
		}
		got := read(t, dir, "a"+strconv.FormatBool(replace))
		if len(got) != 1000 || strings.Trim(got, got[:1]) != "" {
			t.Errorf("mixed content: %q", got)
		}
	}
	if got := names(t, dir); got != "afalse atrue" {
		t.Errorf("left: %s", got)
	}
}

func BenchmarkSmall(b *testing.B) {
	content := make([]byte, 4096)
	for _, named := range []bool{false, true} {
		b.Run(map[bool]string{false: "as the platform can", true: "named"}[named], func(b *testing.B) {
			root, err := os.OpenRoot(b.TempDir())
			if err != nil {
				b.Fatal(err)
			}
			defer root.Close()
			d, err := OpenDir(root, ".")
			if err != nil {
				b.Fatal(err)
			}
			defer d.Close()
			b.SetBytes(int64(len(content)))
			for i := 0; b.Loop(); i++ {
				f := &File{dir: d, base: strconv.Itoa(i), opts: Options{Mode: 0o600}}
				if named {
					f.File, err = f.openNamed()
				} else {
					f, err = d.Create(f.base, Options{})
				}
				if err != nil {
					b.Fatal(err)
				}
				if _, err := f.Write(content); err != nil {
					b.Fatal(err)
				}
				if err := f.Commit(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
