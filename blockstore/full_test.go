//go:build linux

package blockstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"
	blocks "github.com/ipfs/go-block-format"
	"golang.org/x/sys/unix"
)

// childMount names a file system to fill in the environment of a child that has
// a mount namespace of its own; its directory is in childDir.
const childMount = "HYPHA_STORE_MOUNT"

// TestFullDisk fills small file systems again and again, to the brim and by
// others than the store: no crash, nothing acknowledged lost, reads, verification
// and collection work while it is full, and so do opening and closing.
func TestFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can mount a small file system")
	}
	for _, kind := range []string{"tmpfs", "ext4"} {
		t.Run(kind, func(t *testing.T) {
			dir := t.TempDir()
			if kind == "ext4" {
				image := filepath.Join(dir, "image")
				check(t, os.WriteFile(image, nil, 0o600))
				check(t, os.Truncate(image, 96<<20))
				if out, err := exec.CommandContext(t.Context(), "mkfs.ext4", "-q", "-F", "-m", "0", image).CombinedOutput(); err != nil {
					t.Skipf("no mkfs.ext4: %v: %s", err, out)
				}
			}
			exe, err := os.Executable()
			check(t, err)
			cmd := exec.CommandContext(t.Context(), exe)
			cmd.Env = append(os.Environ(), childDir+"="+dir, childMount+"="+kind)
			cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
			out, err := cmd.CombinedOutput()
			if bytes.Contains(out, []byte("can't mount")) || errors.Is(err, syscall.EPERM) {
				t.Skipf("a small %s can't be mounted here: %s", kind, out)
			}
			if err != nil {
				t.Fatalf("%v:\n%s", err, out)
			}
			t.Logf("%s", out)
		})
	}
}

func runFull(kind, dir string) error {
	mount := filepath.Join(dir, "mnt")
	if err := os.Mkdir(mount, 0o700); err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("can't mount: %w", err)
	}
	var err error
	if kind == "tmpfs" {
		err = unix.Mount("tmpfs", mount, "tmpfs", 0, "size=72m,mode=0700")
	} else {
		var out []byte
		out, err = exec.CommandContext(context.Background(), "mount", "-o", "loop", filepath.Join(dir, "image"), mount).CombinedOutput()
		if err != nil {
			err = fmt.Errorf("%w: %s", err, out)
		}
	}
	if err != nil {
		return fmt.Errorf("can't mount: %w", err)
	}
	f := &fuller{dir: filepath.Join(mount, "repo"), hog: filepath.Join(mount, "hog"), kept: make(map[int]bool), dags: make(map[int]testDAG)}
	cycles := max(1, 4/slow)
	for cycle := range cycles {
		if err := f.cycle(cycle); err != nil {
			return fmt.Errorf("cycle %d: %w", cycle, err)
		}
	}
	fmt.Printf("%d cycles, %d files acknowledged\n", cycles, f.next)
	return unix.Unmount(mount, unix.MNT_DETACH)
}

// fuller fills a file system on which a repository lies.
type fuller struct {
	dir, hog string
	d        *Disk
	next     int            // number of the next file
	kept     map[int]bool   // files that are acknowledged and pinned
	loose    []blocks.Block // blocks that are
	dags     map[int]testDAG
}

func (f *fuller) open() (err error) {
	f.d, err = Open(context.Background(), f.dir, Options{Reserve: -1})
	return err
}

func (f *fuller) dag(n int) testDAG {
	if _, ok := f.dags[n]; !ok {
		f.dags[n] = bigDAG(n, 8, 256<<10)
	}
	return f.dags[n]
}

// fill stores files until there is no room.
func (f *fuller) fill(known bool) error {
	ctx := context.Background()
	for {
		dag := f.dag(f.next)
		err := f.add(ctx, dag, known)
		if errors.Is(err, ErrNoSpace) {
			if !strings.Contains(err.Error(), filepath.Dir(f.dir)) {
				return fmt.Errorf("error does not name the path: %w", err)
			}
			return nil
		}
		if err != nil {
			return err
		}
		f.kept[f.next] = true
		f.next++
		blk := looseBlock(f.next)
		if err := f.d.Put(ctx, blk); err != nil {
			continue
		}
		if f.d.Pin(ctx, Pin{Root: blk.Cid()}) == nil {
			f.loose = append(f.loose, blk)
		}
	}
}

func (f *fuller) add(ctx context.Context, dag testDAG, known bool) error {
	size := dag.Size
	if !known {
		size = -1
	}
	w, err := f.d.NewFile(ctx, size)
	if err != nil {
		return err
	}
	for i, leaf := range dag.leaves {
		if err := w.WriteLeaf(int64(i)*256<<10, leaf.Cid(), leaf.RawData()); err != nil {
			return errors.Join(err, w.Abort())
		}
	}
	if err := w.PutNode(dag.node); err != nil {
		return errors.Join(err, w.Abort())
	}
	if err := w.Commit(ctx, dag.File, nil); err != nil {
		return errors.Join(err, w.Abort())
	}
	return f.d.Pin(ctx, Pin{Root: dag.Root})
}

// check reads all that was acknowledged.
func (f *fuller) check(when string) error {
	ctx := context.Background()
	all := f.loose
	for n := range f.kept {
		all = append(all, f.dag(n).all()...)
		if _, err := f.d.File(ctx, f.dag(n).Root); err != nil {
			return fmt.Errorf("%s: file %d: %w", when, n, err)
		}
	}
	for _, blk := range all {
		got, err := f.d.Get(ctx, blk.Cid())
		if err != nil {
			return fmt.Errorf("%s: %w", when, err)
		}
		if !bytes.Equal(got.RawData(), blk.RawData()) {
			return fmt.Errorf("%s: block %s is wrong", when, blk.Cid())
		}
	}
	return nil
}

// eat takes the room that is left, but for so many bytes.
func (f *fuller) eat(leave int64) error {
	h, err := os.OpenFile(f.hog, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	room, err := f.d.segs.fs.Space()
	if err != nil {
		return errors.Join(err, h.Close())
	}
	want := max(room.Free-leave, 1)
	for err = unix.ENOSPC; errors.Is(err, unix.ENOSPC) && want > 0; want -= 256 << 10 { // some goes into its own records
		err = unix.Fallocate(int(h.Fd()), 0, 0, want)
	}
	if err != nil {
		return errors.Join(err, h.Close())
	}
	for leave == 0 {
		if _, err := h.Seek(0, 2); err != nil {
			return err
		}
		if _, err := h.Write(make([]byte, 4096)); err != nil {
			break // to the brim
		}
	}
	return h.Close()
}

func (f *fuller) cycle(n int) error {
	if err := f.open(); err != nil {
		return err
	}
	if err := f.fill(n%2 == 0); err != nil {
		return fmt.Errorf("fill: %w", err)
	}
	if err := f.check("after filling"); err != nil {
		return err
	}
	// A compaction that runs while others take the room that it was promised
	// ends the process. One is due in the first second after a start.
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for f.compacts() {
		<-tick.C
	}
	leave := int64(n%3) << 20 // none, 1 MiB, 2 MiB
	if err := f.eat(leave); err != nil {
		return fmt.Errorf("eat: %w", err)
	}
	if err := f.refused(); err != nil {
		return err
	}
	for i := range 3 {
		if err := f.check("while full"); err != nil {
			return err
		}
		if err := f.d.Close(); err != nil && !errors.Is(err, ErrNoSpace) {
			return fmt.Errorf("close while full: %w", err)
		}
		if err := f.open(); err != nil {
			return fmt.Errorf("open while full, time %d: %w", i, err)
		}
	}
	if err := f.recoverSpace(); err != nil {
		return err
	}
	if err := f.d.Close(); err != nil {
		return fmt.Errorf("close: %w", err)
	}
	return nil
}

// compacts tells whether the index compacts, or will without another write. It
// keeps no memtables that wait: it writes less than one in a cycle.
func (f *fuller) compacts() bool {
	idx := f.d.index.(*badgerIndex)
	return !idx.low && slices.ContainsFunc(idx.db.Levels(), func(l badger.LevelInfo) bool { return l.Score >= 1 })
}

// refused holds that every kind of write says that there is no room.
func (f *fuller) refused() error {
	ctx := context.Background()
	f.next++ // it may wait in memory, unacknowledged
	for name, write := range map[string]func() error{
		"put":    func() error { return errors.Join(f.d.Put(ctx, looseBlock(100_000+f.next)), f.d.Sync(ctx)) },
		"file":   func() error { return f.add(ctx, f.dag(f.next), true) },
		"pin":    func() error { return f.d.Pin(ctx, Pin{Root: looseBlock(1).Cid(), Name: "full"}) },
		"record": func() error { return f.d.Records("r").Put(ctx, strconv.Itoa(f.next), make([]byte, 100)) },
	} {
		if err := write(); !errors.Is(err, ErrNoSpace) {
			return fmt.Errorf("%s on a full disk: %w", name, err)
		}
	}
	return nil
}

// recoverSpace verifies and collects on the full disk, and writes again.
func (f *fuller) recoverSpace() error {
	ctx := context.Background()
	for found, err := range f.d.Verify(ctx, VerifyOptions{}) {
		if err != nil {
			return fmt.Errorf("verify while full: %w", err)
		}
		return fmt.Errorf("verify while full finds %+v", found)
	}
	for n := range f.kept {
		if n%4 != 0 {
			if err := f.d.Unpin(ctx, f.dag(n).Root, ""); err != nil {
				return fmt.Errorf("unpin while full: %w", err)
			}
			delete(f.kept, n)
		}
	}
	got, err := f.d.Collect(ctx, testLinks)
	if err != nil {
		return fmt.Errorf("collect while full: %w", err)
	}
	if got.Bytes < 5<<20 {
		return fmt.Errorf("collect gave %+v back", got)
	}
	if err := f.check("after a collection"); err != nil {
		return err
	}
	if err := os.Remove(f.hog); err != nil {
		return err
	}
	dag := f.dag(f.next + 1)
	if err := f.add(ctx, dag, true); err != nil {
		return fmt.Errorf("store after a collection: %w", err)
	}
	f.kept[f.next+1] = true
	f.next += 2
	if f.d.index.(*badgerIndex).low {
		return errors.New("with room again, the index goes without compactions")
	}
	return f.check("after storing again")
}
