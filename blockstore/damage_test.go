package blockstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	blocks "github.com/ipfs/go-block-format"
)

// fullRepo makes a repository with everything in it, closed, and tells what.
func fullRepo(t testing.TB, dir string) (files []testDAG, loose []blocks.Block) {
	t.Helper()
	ctx := context.Background()
	d := openTuned(t, dir, packLimit)
	for i := range 4 {
		f := bigDAG(i, 6, 100<<10)
		files = append(files, f)
		store(t, d, f, fmt.Sprintf("url:%d", i))
		check(t, d.Pin(ctx, Pin{Root: f.Root, Name: "kept"}))
	}
	for i := range 50 {
		loose = append(loose, looseBlock(i))
	}
	check(t, d.PutMany(ctx, loose))
	check(t, d.PutAlias(ctx, "url:late", Alias{Root: files[0].Root, Meta: []byte("late")}))
	check(t, d.Records("jobs").Put(ctx, "1", []byte("one")))
	check(t, d.Close())
	return files, loose
}

// intact counts how many blocks are not there any more; none may be wrong.
func intact(t testing.TB, d *Disk, files []testDAG, loose []blocks.Block) (lost int) {
	t.Helper()
	all := slices.Clone(loose)
	for _, f := range files {
		all = append(all, f.all()...)
	}
	for _, blk := range all {
		got, err := d.Get(context.Background(), blk.Cid())
		switch {
		case isNotFound(err):
			lost++
		case err != nil:
			t.Errorf("Get %s: %v", blk.Cid(), err)
		case string(got.RawData()) != string(blk.RawData()):
			t.Errorf("Get %s: WRONG bytes", blk.Cid())
		}
	}
	for _, f := range files {
		if got, err := d.File(context.Background(), f.Root); err == nil && got != f.File {
			t.Errorf("File %s: WRONG record %+v", f.Root, got)
		}
	}
	return lost
}

// repoFiles lists every file of a repository.
func repoFiles(t testing.TB, dir string) []string {
	t.Helper()
	var names []string
	check(t, filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			names = append(names, name)
		}
		return err
	}))
	return names
}

func copyRepo(t testing.TB, from string) string {
	t.Helper()
	to := t.TempDir()
	check(t, os.CopyFS(to, os.DirFS(from)))
	return to
}

// TestBitFlips flips one bit of one file at a time: no wrong byte comes out, the
// store opens, and no more than one block is lost.
func TestBitFlips(t *testing.T) {
	origin := t.TempDir()
	files, loose := fullRepo(t, origin)
	rng := rand.New(rand.NewPCG(1, 6))
	names := repoFiles(t, origin)
	for i := range 60 / slow {
		dir := copyRepo(t, origin)
		name := filepath.Join(dir, strings.TrimPrefix(names[i%len(names)], origin))
		info, err := os.Stat(name)
		check(t, err)
		if info.Size() == 0 {
			continue
		}
		off := rng.Int64N(info.Size())
		check(t, FlipBit(name, off, uint(rng.IntN(8))))
		d, err := Open(t.Context(), dir, Options{Reserve: -1})
		if err != nil {
			t.Errorf("%s, byte %d: FAILED OPEN: %v", filepath.Base(name), off, err)
			continue
		}
		if lost := intact(t, d, files, loose); lost > 1 {
			t.Errorf("%s, byte %d: %d blocks LOST", filepath.Base(name), off, lost)
		}
		// What is lost is not listed, and can be stored again.
		for _, blk := range loose {
			check(t, d.Put(t.Context(), blk))
		}
		if lost := intact(t, d, nil, loose); lost > 0 {
			t.Errorf("%s, byte %d: %d blocks lost after they were put again", filepath.Base(name), off, lost)
		}
		check(t, d.Close())
	}
}

// TestCutFiles cuts files to random lengths, and to nothing.
func TestCutFiles(t *testing.T) {
	origin := t.TempDir()
	files, loose := fullRepo(t, origin)
	rng := rand.New(rand.NewPCG(2, 6))
	for _, name := range repoFiles(t, origin) {
		for _, empty := range []bool{false, true} {
			dir := copyRepo(t, origin)
			name := filepath.Join(dir, strings.TrimPrefix(name, origin))
			info, err := os.Stat(name)
			check(t, err)
			if info.Size() == 0 {
				continue
			}
			n := rng.Int64N(info.Size())
			if empty {
				n = 0
			}
			check(t, os.Truncate(name, n))
			d, err := Open(t.Context(), dir, Options{Reserve: -1})
			if err != nil {
				t.Errorf("%s, cut to %d bytes: FAILED OPEN: %v", filepath.Base(name), n, err)
				continue
			}
			lost := intact(t, d, files, loose)
			if !strings.Contains(name, segmentsDir) && lost > 0 {
				t.Errorf("%s, cut to %d bytes: %d blocks LOST", filepath.Base(name), n, lost)
			}
			check(t, d.Close())
		}
	}
}

// TestVerifyFinds flips one bit in each kind of place of a segment and holds that
// Verify reports exactly that, and nothing when it is asked again.
func TestVerifyFinds(t *testing.T) {
	origin := t.TempDir()
	files, loose := fullRepo(t, origin)
	clean := openTuned(t, origin, packLimit)
	for f, err := range clean.Verify(t.Context(), VerifyOptions{}) {
		t.Errorf("a store without damage: %+v, %v", f, err)
	}
	check(t, clean.Close())
	at := func(d *Disk, blk blocks.Block) extent {
		all, err := d.find(blk.Cid())
		check(t, err)
		return all[0]
	}
	for _, tt := range []struct {
		name  string
		where func(d *Disk) (segment string, off int64)
		lost  int // blocks
	}{
		{"leaf", func(d *Disk) (string, int64) {
			e := at(d, files[1].leaves[2])
			return segmentName(e.seg), e.off + 7
		}, 1},
		{"node", func(d *Disk) (string, int64) {
			e := at(d, files[1].node)
			return segmentName(e.seg), e.off
		}, 1},
		{"loose block", func(d *Disk) (string, int64) {
			e := at(d, loose[9])
			return segmentName(e.seg), e.end() - 1
		}, 1},
		{"head of a record", func(d *Disk) (string, int64) {
			e := at(d, loose[9])
			return segmentName(e.seg), e.off - 20
		}, 0},
		{"first footer", func(d *Disk) (string, int64) {
			e := at(d, files[1].node)
			return segmentName(e.seg), e.end() + 9
		}, 0},
		{"last trailer", func(d *Disk) (string, int64) {
			e := at(d, files[1].node)
			info, err := d.segs.fs.Stat(segmentName(e.seg))
			check(t, err)
			return segmentName(e.seg), info.Size - 3
		}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := copyRepo(t, origin)
			d := openTuned(t, dir, packLimit)
			name, off := tt.where(d)
			check(t, FlipBit(filepath.Join(dir, segmentsDir, name), off, 2))
			var found []Finding
			var done, total int64
			o := VerifyOptions{Progress: func(d, all int64) { done, total = d, all }}
			for f, err := range d.Verify(t.Context(), o) {
				check(t, err)
				found = append(found, f)
			}
			if len(found) != 1 || found[0].Segment != name || found[0].CID.Defined() != (tt.lost > 0) {
				t.Errorf("Verify found %+v, want one thing in %s", found, name)
			}
			if done != total || total == 0 {
				t.Errorf("progress ended at %d of %d bytes", done, total)
			}
			for f, err := range d.Verify(t.Context(), VerifyOptions{}) {
				t.Errorf("Verify finds %+v, %v once more", f, err)
			}
			if lost := intact(t, d, files, loose); lost != tt.lost {
				t.Errorf("%d blocks lost, want %d", lost, tt.lost)
			}
			if tt.lost > 0 && name == segmentName(at(d, files[1].leaves[0]).seg) {
				if _, err := d.File(t.Context(), files[1].Root); !isNotFound(err) {
					t.Errorf("File with a bad block = %v, want not found", err)
				}
			}
			check(t, d.Close())
			// Where nothing is lost, the next rebuild finds everything again.
			check(t, os.RemoveAll(filepath.Join(dir, indexDir)))
			d = openTuned(t, dir, packLimit)
			if lost := intact(t, d, files, loose); lost != tt.lost {
				t.Errorf("%d blocks lost after a rebuild, want %d", lost, tt.lost)
			}
		})
	}
}

// TestCopyHeals holds that a bad copy is replaced by a good one.
func TestCopyHeals(t *testing.T) {
	ctx := t.Context()
	d := openTuned(t, t.TempDir(), packLimit)
	a, b := bigDAG(1, 3, 50<<10), bigDAG(2, 3, 50<<10)
	b.leaves[1] = a.leaves[1]
	store(t, d, a)
	store(t, d, b)
	all, err := d.find(a.leaves[1].Cid())
	check(t, err)
	if len(all) != 2 {
		t.Fatalf("%d copies, want 2", len(all))
	}
	check(t, FlipBit(filepath.Join(d.dir, segmentsDir, segmentName(all[0].seg)), all[0].off, 0))
	has(t, d, true, a.leaves[1])
	for _, f := range []testDAG{a, b} {
		if got, err := d.File(ctx, f.Root); err != nil || got != f.File {
			t.Errorf("File = %+v, %v: it is whole still", got, err)
		}
	}
	if _, err := d.OpenFile(ctx, b.Root); !errors.Is(err, ErrScattered) {
		t.Errorf("OpenFile of the file with the bad copy = %v, want ErrScattered", err)
	}
	whole(t, d, a)
}

func TestRebuild(t *testing.T) {
	ctx := t.Context()
	origin := t.TempDir()
	files, loose := fullRepo(t, origin)
	for name, lose := range map[string]func(dir string) error{
		"asked for":     nil,
		"index removed": func(dir string) error { return os.RemoveAll(filepath.Join(dir, indexDir)) },
		"index is empty": func(dir string) error {
			return errors.Join(os.RemoveAll(filepath.Join(dir, indexDir)), os.Mkdir(filepath.Join(dir, indexDir), 0o700))
		},
		"manifest gone": func(dir string) error { return os.Remove(filepath.Join(dir, indexDir, "MANIFEST")) },
		"marked":        func(dir string) error { return os.WriteFile(filepath.Join(dir, damageFile), nil, 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := copyRepo(t, origin)
			if lose == nil {
				report, err := Rebuild(ctx, dir, Options{Reserve: -1})
				check(t, err)
				if report.Blocks != int64(4*7+len(loose)) || report.Files != 4 || report.Aliases != 9 ||
					report.Segments != 5 || len(report.Damaged) != 0 || len(report.Lost) != 0 {
					t.Errorf("Rebuild = %+v", report)
				}
			} else {
				check(t, lose(dir))
			}
			d := openTuned(t, dir, packLimit)
			for i, f := range files {
				whole(t, d, f)
				if a, err := d.Alias(ctx, fmt.Sprintf("url:%d", i)); err != nil || a.Root != f.Root || string(a.Meta) != "meta" {
					t.Errorf("alias of file %d = %v, %v", i, a, err)
				}
			}
			if a, err := d.Alias(ctx, "url:late"); err != nil || a.Root != files[0].Root || string(a.Meta) != "late" {
				t.Errorf("late alias = %v, %v", a, err)
			}
			has(t, d, true, loose...)
			names := make(map[string]string)
			for p, err := range d.Pins(ctx) {
				check(t, err)
				names[string(p.Root.Hash())] += p.Name
			}
			for _, f := range files {
				if names[string(f.Root.Hash())] != "kept" {
					t.Errorf("pins of file %s: %q, want the one that it had", f.Root, names[string(f.Root.Hash())])
				}
			}
			for _, blk := range loose {
				if names[string(blk.Cid().Hash())] != rebuiltPin {
					t.Errorf("pins of block %s: %q, want one of the rebuild", blk.Cid(), names[string(blk.Cid().Hash())])
				}
			}
			if v, err := d.Records("jobs").Get(ctx, "1"); lose == nil && (err != nil || string(v) != "one") {
				t.Errorf("record = %q, %v: the old index could be read", v, err)
			}
			_, err := d.Collect(ctx, testLinks)
			check(t, err)
			has(t, d, true, loose...)
			for f, err := range d.Verify(ctx, VerifyOptions{}) {
				t.Errorf("Verify: %+v, %v", f, err)
			}
		})
	}
}
