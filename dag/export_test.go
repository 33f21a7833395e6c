package dag

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestExportFile(t *testing.T) {
	for _, p := range []Profile{V1_2025(), V0_2015()} {
		for _, n := range []int{0, 1, 1 << 20, 5<<20 + 1} {
			t.Run(fmt.Sprintf("%s/%d", p, n), func(t *testing.T) {
				s, b := newStore(t), content(n)
				f := mustImport(t, s, b, ImportOptions{Profile: p})
				dir := t.TempDir()
				root := openRoot(t, dir)
				for _, c := range []struct {
					name   string
					before string // content of the file before; "-": absent
					o      ExportOptions
					want   error
					mode   fs.FileMode
				}{
					{name: "new", before: "-", mode: 0o600},
					{name: "a/b/deep", before: "-", mode: 0o600},
					{name: "mode", before: "-", o: ExportOptions{FileMode: 0o644}, mode: 0o644},
					{name: "setuid", before: "-", o: ExportOptions{FileMode: fs.ModeSetuid | 0o755}, mode: 0o755},
					{name: "trusting", before: "-", o: ExportOptions{Verify: VerifyNever}, mode: 0o600},
					{name: "same", before: string(b), mode: 0o640},
					{name: "same, forced", before: string(b), o: ExportOptions{Force: true}, mode: 0o640},
					{name: "other", before: "other", want: ErrExists, mode: 0o640},
					{name: "other, forced", before: "other", o: ExportOptions{Force: true}, mode: 0o600},
					{name: "as long", before: strings.Repeat("x", n), want: ErrExists, mode: 0o640},
					{name: "as long, forced", before: strings.Repeat("x", n), o: ExportOptions{Force: true}, mode: 0o600},
				} {
					if c.name == "as long" && n == 0 {
						c.want = nil
					}
					if strings.HasPrefix(c.name, "as long, f") && n == 0 {
						c.mode = 0o640
					}
					full := filepath.Join(dir, c.name)
					if c.before != "-" {
						if err := os.WriteFile(full, []byte(c.before), 0o600); err != nil {
							t.Fatal(err)
						}
						if err := os.Chmod(full, 0o640); err != nil {
							t.Fatal(err)
						}
					}
					var told atomic.Int64
					c.o.Progress = func(n int64) { told.Add(n) }
					w, err := Export(t.Context(), s, f.Root, root, c.name, c.o)
					want := string(b)
					if c.want != nil {
						want = c.before
					}
					if !errors.Is(err, c.want) {
						t.Errorf("%s: %v, want %v", c.name, err, c.want)
					}
					if err == nil && (w.SHA256 != f.SHA256 || w.Size != f.Size || w.Cid != f.Root || w.Path != c.name || told.Load() != f.Size) {
						t.Errorf("%s: wrote %+v, told %d; want %v", c.name, w, told.Load(), f)
					}
					got, err := os.ReadFile(full)
					if err != nil || string(got) != want {
						t.Errorf("%s: %d bytes, %v; want %d", c.name, len(got), err, len(want))
					}
					if info, err := os.Stat(full); err != nil || info.Mode() != c.mode {
						t.Errorf("%s: mode %v, %v; want %v", c.name, info.Mode(), err, c.mode)
					}
				}
			})
		}
	}
}

func TestExportRefuses(t *testing.T) {
	s := newStore(t)
	f := mustImport(t, s, content(100), ImportOptions{})
	base := t.TempDir()
	dir := filepath.Join(base, "in")
	for _, d := range []string{"", "dir", "full/x"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{"out": "..", "link": "file", "abs": base} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	before := readTree(t, base)
	root := openRoot(t, dir)
	for _, name := range []string{"", ".", "..", "../x", "/x", "a/../x", "a//b", "out/x", "abs/x", "file/x", "dir", "full", "link"} {
		if w, err := Export(t.Context(), s, f.Root, root, name, ExportOptions{}); err == nil {
			t.Errorf("Export to %q = %v", name, w)
		}
	}
	for _, name := range []string{"dir", "full"} {
		if w, err := Export(t.Context(), s, f.Root, root, name, ExportOptions{Force: true}); err == nil {
			t.Errorf("Export over the directory %q = %v", name, w)
		}
	}
	if diff := cmp.Diff(before, readTree(t, base)); diff != "" {
		t.Errorf("refused exports changed something: %s", diff)
	}
	if _, err := Export(t.Context(), s, f.Root, root, "link", ExportOptions{Force: true}); err != nil {
		t.Errorf("Export over a symlink: %v", err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "file")); err != nil || len(b) > 0 {
		t.Errorf("wrote through a symlink: %d bytes, %v", len(b), err)
	}
}

func TestExportTree(t *testing.T) {
	s := newStore(t)
	tr := tree{"a": "1", "b/c": "2", "b/d/e": string(content(3 << 20)), "l": "->b/c", "b/up": "->../a", "empty/": ""}
	e, err := ImportTree(t.Context(), s, openRoot(t, tr.write(t)), ".", TreeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	root := openRoot(t, dir)
	var told []string
	o := ExportOptions{Symlinks: true, DirMode: 0o755, FileMode: 0o644, OnEntry: func(w Written) { told = append(told, w.Path) }}
	for range 2 { // the second time everything is there
		told = nil
		w, err := Export(t.Context(), s, e.Cid, root, "x/out", o)
		if err != nil || w.Type != TypeDir || w.Size != e.Size {
			t.Fatal(w, err)
		}
		if diff := cmp.Diff(tr, readTree(t, filepath.Join(dir, "x/out"))); diff != "" {
			t.Errorf("differs: %s", diff)
		}
		if len(told) != 9 {
			t.Errorf("told of %v", told)
		}
	}
	for p, want := range map[string]fs.FileMode{"x": 0o755, "x/out": 0o755, "x/out/b/d": 0o755, "x/out/b/d/e": 0o644} {
		if info, err := os.Stat(filepath.Join(dir, p)); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: mode %v, %v; want %v", p, info.Mode(), err, want)
		}
	}
	if _, err := Export(t.Context(), s, e.Cid, root, ".", o); err != nil {
		t.Errorf("into the directory itself: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "x/out/b/c"), []byte("changed"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Export(t.Context(), s, e.Cid, root, "x/out", o); !errors.Is(err, ErrExists) {
		t.Errorf("over a changed file: %v", err)
	}
	o.Force = true
	if _, err := Export(t.Context(), s, e.Cid, root, "x/out", o); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(tr, readTree(t, filepath.Join(dir, "x/out"))); diff != "" {
		t.Errorf("forced: %s", diff)
	}
	for name, c := range map[string]struct {
		o    ExportOptions
		ctx  func(context.Context) context.Context
		want error
	}{
		"symlinks not asked for": {want: ErrSymlink},
		"too many":               {o: ExportOptions{Symlinks: true, Limits: Limits{Entries: 4}}, want: ErrTooLarge},
		"too much":               {o: ExportOptions{Symlinks: true, Limits: Limits{Bytes: 1 << 20}}, want: ErrTooLarge},
		"cancelled":              {o: ExportOptions{Symlinks: true}, ctx: cancelled, want: context.Canceled},
	} {
		ctx := t.Context()
		if c.ctx != nil {
			ctx = c.ctx(ctx)
		}
		if w, err := Export(ctx, s, e.Cid, root, name, c.o); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, %v", name, w, err)
		}
		for p := range readTree(t, filepath.Join(dir)) {
			if strings.Contains(p, ".hypha-tmp-") {
				t.Errorf("%s: left %s", name, p)
			}
		}
	}
}

// TestAnyCase takes a tree with names that differ in case alone, which honest
// trees have too, through everything that refuses them unless it is asked not to.
func TestAnyCase(t *testing.T) {
	s := newStore(t)
	f := forge{t, s}
	root := f.dir(link{cid: f.raw([]byte("1")), name: "a"}, link{cid: f.raw([]byte("2")), name: "A"})
	for _, accept := range []bool{false, true} {
		l := Limits{AnyCase: accept}
		var werr error
		for _, err := range Walk(t.Context(), s, root, l) {
			werr = errors.Join(werr, err)
		}
		_, cerr := Copy(t.Context(), newStore(t), newPeer(t, s), root, CopyOptions{Limits: l})
		_, xerr := Export(t.Context(), s, root, openRoot(t, t.TempDir()), "out", ExportOptions{Limits: l})
		for what, err := range map[string]error{"Walk": werr, "Copy": cerr, "Export": xerr} {
			if accept != (err == nil) || !accept && !errors.Is(err, ErrMalformed) {
				t.Errorf("%s, accepting %v: %v", what, accept, err)
			}
		}
	}
}

func TestStaysInside(t *testing.T) {
	for _, c := range []struct {
		p, target string
		want      bool
	}{
		{"l", "a", true},
		{"l", "a/b", true},
		{"d/l", "../a", true},
		{"d/e/l", "../../a/b", true},
		{"l", ".", true},
		{"d/l", "..", true},
		{"l", "./a", true},
		{"l", "..", false},
		{"l", "../a", false},
		{"d/l", "../../a", false},
		{"d/e/l", "../x/../../..", false},
		{"d/l", "x/../..", false},
		{"l", "/a", false},
		{"l", "", false},
		{"l", "a//b", false},
		{"l", "a/", false},
		{"l", "C:/a", false},
		{"l", `\\x`, false},
		{"l", "a\x00", false},
	} {
		if got := staysInside(c.p, c.target); got != c.want {
			t.Errorf("staysInside(%q, %q) = %v", c.p, c.target, got)
		}
	}
}

// TestOnDisk takes the way of a job's file through the store that jobs use.
func TestOnDisk(t *testing.T) {
	s, again := newDisk(t), newDisk(t)
	tr := tree{"large": string(content(5<<20 + 3)), "leaf": string(content(1 << 20)), "small": "x", "empty": "", "d/v0": string(content(600_000))}
	dir := tr.write(t)
	for _, p := range []Profile{V1_2025(), V0_2015(), chunker(V1_2025(), 5000)} {
		e, err := ImportTree(t.Context(), s, openRoot(t, dir), ".", TreeOptions{ImportOptions: ImportOptions{Profile: p}})
		if err != nil {
			t.Fatal(err)
		}
		if c, err := Copy(t.Context(), again, newPeer(t, s), e.Cid, CopyOptions{}); err != nil || c.Size != e.Size {
			t.Fatal(c, err)
		}
		for _, from := range []*struct{ Getter }{{s}, {again}} {
			large, err := Resolve(t.Context(), from, e.Cid, "large")
			if err != nil {
				t.Fatal(err)
			}
			r, err := Open(t.Context(), from.Getter, large)
			if err != nil {
				t.Fatal(err)
			}
			if r.content == nil && !p.v0 {
				t.Errorf("%s: the file does not lie in one piece", p)
			}
			var b bytes.Buffer
			if _, err := r.CopyRange(t.Context(), &b, 0, -1); err != nil || b.String() != tr["large"] {
				t.Errorf("%s: read %d bytes, %v", p, b.Len(), err)
			}
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		}
		out := t.TempDir()
		if _, err := Export(t.Context(), again, e.Cid, openRoot(t, out), "out", ExportOptions{}); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tr, readTree(t, filepath.Join(out, "out"))); diff != "" {
			t.Errorf("%s: differs: %s", p, diff)
		}
	}
}
