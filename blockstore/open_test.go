//go:build unix

package blockstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestOpenTwice holds that the second to come is told who was first.
func TestOpenTwice(t *testing.T) {
	dir := t.TempDir()
	first, err := Open(t.Context(), dir, Options{Holder: "daemon", Reserve: -1})
	check(t, err)
	want := fmt.Sprintf("repository %s is in use by daemon, pid %d", dir, os.Getpid())
	for name, open := range map[string]func() error{
		"Open":    func() error { _, err := Open(t.Context(), dir, Options{}); return err },
		"Rebuild": func() error { _, err := Rebuild(t.Context(), dir, Options{}); return err },
	} {
		if err := open(); !errors.Is(err, ErrInUse) || err.Error() != want {
			t.Errorf("%s = %q, want %q", name, err, want)
		}
	}
	check(t, first.Close())
	second, err := Open(t.Context(), dir, Options{Holder: "two\nlines", Reserve: -1})
	check(t, err)
	if _, err := Open(t.Context(), dir, Options{}); !errors.Is(err, ErrInUse) || strings.Contains(err.Error(), "\n") {
		t.Errorf("Open = %q, want one line", err)
	}
	check(t, second.Close())
}

func TestVersion(t *testing.T) {
	newer := strings.Repeat(versionLine(repoVersion+1), 3)
	good := strings.Repeat(versionLine(repoVersion), 3)
	for _, tt := range []struct {
		name, text string
		want       error
	}{
		{"none", "", nil},
		{"this", good, nil},
		{"older", strings.Repeat(versionLine(0), 3), nil},
		{"newer", newer, ErrVersion},
		{"newer, two lines damaged", strings.Replace(newer, "hypha", "hypho", 2), ErrVersion},
		{"damaged digit", strings.Replace(good, "version 1", "version 9", 1), nil},
		{"nonsense", "nonsense", nil},
		{"zeros", string(make([]byte, 100)), nil},
		{"negative", strings.Repeat(versionLine(-1), 3), nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			name := filepath.Join(dir, versionFile)
			check(t, os.WriteFile(name, []byte(tt.text), 0o600))
			d, err := Open(t.Context(), dir, Options{Reserve: -1})
			if !errors.Is(err, tt.want) {
				t.Fatalf("Open = %v, want %v", err, tt.want)
			}
			if tt.want != nil {
				want := fmt.Sprintf("repository %s has version %d, this program knows up to %d", dir, repoVersion+1, repoVersion)
				if !strings.HasPrefix(err.Error(), want) {
					t.Errorf("Open = %q, want %q", err, want)
				}
				if left, err := os.ReadFile(name); err != nil || string(left) != tt.text {
					t.Errorf("the version file was changed to %q", left)
				}
				return
			}
			check(t, d.Close())
			if text, err := os.ReadFile(name); err != nil || !strings.Contains(string(text), versionLine(repoVersion)) {
				t.Errorf("version file holds %q, %v", text, err)
			}
		})
	}
}

// TestPrivate sweeps a repository in use for anything that others could touch.
func TestPrivate(t *testing.T) {
	old := syscall.Umask(0)
	defer syscall.Umask(old)
	dir := filepath.Join(t.TempDir(), "made", "here")
	sweep := func(when string) {
		t.Helper()
		check(t, filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err == nil && info.Mode().Perm()&0o077 != 0 {
				t.Errorf("%s: %s has mode %s", when, name, info.Mode())
			}
			return err
		}))
	}
	for range 2 {
		d, err := Open(t.Context(), dir, Options{Reserve: -1})
		check(t, err)
		sweep("open")
		store(t, d, bigDAG(1, 3, 1<<20))
		check(t, d.Put(t.Context(), looseBlock(1)))
		check(t, d.Pin(t.Context(), Pin{Root: looseBlock(1).Cid()}))
		w, err := d.NewFile(t.Context(), 5<<20)
		check(t, err)
		sweep("in use")
		check(t, w.Abort())
		// Enough for Badger to begin new logs and tables.
		value := make([]byte, 64<<10)
		for i := range 3 * memTable / len(value) {
			check(t, d.Records("x").Put(t.Context(), fmt.Sprint(i), value))
		}
		sweep("with more tables")
		check(t, d.Close())
		sweep("closed")
	}
	check(t, os.RemoveAll(filepath.Join(dir, indexDir)))
	d, err := Open(t.Context(), dir, Options{Reserve: -1})
	check(t, err)
	sweep("rebuilt")
	check(t, d.Close())
}

// TestOpenErrors holds that errors of the machine are no damage: nothing is
// rebuilt, nothing moved.
func TestOpenErrors(t *testing.T) {
	if os.Geteuid() == 0 {
		// Root is not refused by modes; a file in place of a directory refuses all.
		dir := t.TempDir()
		check(t, os.WriteFile(filepath.Join(dir, segmentsDir), nil, 0o600))
		if d, err := Open(t.Context(), dir, Options{}); err == nil {
			t.Errorf("Open of a repository whose segments are a file: %v", d.Close())
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	dir := t.TempDir()
	if _, err := Open(ctx, dir, Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("Open with a dead context = %v", err)
	}
	for _, err := range []error{syscall.EMFILE, syscall.ENOSPC, fs.ErrPermission, syscall.EIO} {
		if !isMachine(fmt.Errorf("badger: %w", &os.PathError{Op: "open", Path: "x", Err: err})) {
			t.Errorf("%v counts as a damaged index", err)
		}
	}
}

// TestLeftovers opens a repository with what a crash may leave.
func TestLeftovers(t *testing.T) {
	dir := t.TempDir()
	files, loose := fullRepo(t, dir)
	segments := filepath.Join(dir, segmentsDir)
	for name, data := range map[string]string{
		partName(0x101):    "unfinished",
		segmentName(0x103): "no footer",
		segmentName(0x104): "no record",
		"0.part":           "not even a number",
		"notes.txt":        "not ours",
	} {
		check(t, os.WriteFile(filepath.Join(segments, name), []byte(data), 0o600))
	}
	// A record behind the end that the index knows: whole, and torn.
	extra := looseBlock(999)
	pack := ""
	for _, name := range repoFiles(t, segments) {
		if strings.HasSuffix(name, packSuffix) && !strings.HasSuffix(name, segmentName(0x104)) {
			pack = name
		}
	}
	f, err := os.OpenFile(pack, os.O_WRONLY|os.O_APPEND, 0)
	check(t, err)
	rec := append(appendBlockHead(nil, extra.Cid(), len(extra.RawData()), false), extra.RawData()...)
	_, err = f.Write(append(rec, rec[:len(rec)/2]...))
	check(t, errors.Join(err, f.Close()))

	var log bytes.Buffer
	d, err := Open(t.Context(), dir, Options{Reserve: -1, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	check(t, err)
	for i := range 2 {
		if lost := intact(t, d, files, append(loose, extra)); lost > 0 {
			t.Errorf("%d blocks lost", lost)
		}
		for f, err := range d.Verify(t.Context(), VerifyOptions{}) {
			t.Errorf("Verify: %+v, %v", f, err)
		}
		check(t, d.Put(t.Context(), looseBlock(1000+i)))
		check(t, d.Close())
		d = openTuned(t, dir, packLimit)
	}
	has(t, d, true, looseBlock(1000), looseBlock(1001))
	var left []string
	for _, name := range repoFiles(t, segments) {
		if base := filepath.Base(name); strings.Contains(base, "10") || !strings.Contains(base, "0000") {
			left = append(left, base)
		}
	}
	if want := []string{segmentName(0x103) + asideSuffix, "notes.txt"}; fmt.Sprint(left) != fmt.Sprint(want) {
		t.Errorf("left over are %q, want %q", left, want)
	}
	if !strings.Contains(log.String(), "set aside") {
		t.Errorf("the log says nothing of what was set aside: %s", &log)
	}
}

// TestMissingSegment removes a whole segment: the rest stays, and what was in it
// is known to be gone.
func TestMissingSegment(t *testing.T) {
	dir := t.TempDir()
	files, loose := fullRepo(t, dir)
	d := openTuned(t, dir, packLimit)
	all, err := d.find(files[2].Root)
	check(t, err)
	check(t, d.Close())
	check(t, os.Remove(filepath.Join(dir, segmentsDir, segmentName(all[0].seg))))
	d = openTuned(t, dir, packLimit)
	if lost := intact(t, d, files, loose); lost != 7 {
		t.Errorf("%d blocks lost, want the 7 of one file", lost)
	}
	if _, err := d.File(t.Context(), files[2].Root); !isNotFound(err) {
		t.Errorf("File = %v, want not found", err)
	}
	store(t, d, files[2])
	whole(t, d, files[2])
	// Also while the store is open.
	all, err = d.find(files[1].Root)
	check(t, err)
	d.segs.forget(all[0].seg)
	check(t, os.Remove(filepath.Join(dir, segmentsDir, segmentName(all[0].seg))))
	if _, err := d.Get(t.Context(), files[1].Root); !errors.Is(err, ErrCorrupt) || !isNotFound(err) {
		t.Errorf("Get = %v, want corrupt and not found", err)
	}
	if _, err := d.File(t.Context(), files[1].Root); !isNotFound(err) {
		t.Errorf("File = %v, want not found", err)
	}
}
