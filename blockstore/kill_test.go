//go:build unix

package blockstore

import (
	"bufio"
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
)

// Names of the environment in which the test binary is a child that gets killed.
const (
	childDir   = "HYPHA_STORE_CHILD"
	childPoint = "HYPHA_STORE_POINT" // "point:n": die there the n-th time
	childFrom  = "HYPHA_STORE_FROM"  // first number
)

// RunChild is what the test binary does instead of testing when it is told to: it
// stores the n-th thing for n from some number on, and writes n to standard
// output when that is acknowledged, until it is killed.
func RunChild() (isChild bool) {
	dir := os.Getenv(childDir)
	if dir == "" {
		return false
	}
	run := childMain
	if kind := os.Getenv(childMount); kind != "" {
		run = func(dir string) error { return runFull(kind, dir) }
	}
	if err := run(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return true
}

func childMain(dir string) error {
	ctx := context.Background()
	point, times, _ := strings.Cut(os.Getenv(childPoint), ":")
	n, _ := strconv.Atoi(times)
	var left atomic.Int64 // files of segments are unlinked several at once
	left.Store(int64(n))
	opened := false
	hook := func(at string) {
		if at != point || !opened {
			return
		}
		if left.Add(-1) == 0 {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
	o := Options{Reserve: -1, StorageMax: 1 << 40, Links: testLinks} // for evictions
	r, err := openRepo(ctx, dir, o)
	if err != nil {
		return err
	}
	env := r.environment()
	env.fs = hookFS{env.fs, hook}
	openIndex := env.openIndex
	env.openIndex = func(ctx context.Context) (index, error) {
		idx, err := openIndex(ctx)
		return hookIndex{idx, hook}, err
	}
	env.tune = func(d *Disk) { d.pack.limit = 256 << 10 }
	d, err := openDisk(ctx, dir, env, o)
	if err != nil {
		return err
	}
	opened = true
	fmt.Println("open")
	n, err = strconv.Atoi(os.Getenv(childFrom))
	if err != nil {
		return err
	}
	for ; ; n++ {
		if err := childStep(ctx, d, n); err != nil {
			return err
		}
		fmt.Println(n)
	}
}

// nthBlock is what number n stores unless it is a file.
func nthBlock(n int) blocks.Block {
	return mustBlock(cid.Raw, bytes.Repeat(fmt.Appendf(nil, "block %d.", n), 1+n*131%700))
}

// childStep stores number n durably: every third number is a file, the others are
// blocks; what is stored is pinned, but every fifth, and collections run.
func childStep(ctx context.Context, d *Disk, n int) error {
	root := nthBlock(n).Cid()
	release := d.Hold()
	defer release()
	if n%3 == 0 {
		f := bigDAG(n, 2+n%4, 3000+n%7*1000)
		root = f.Root
		w, err := d.NewFile(ctx, f.Size)
		if err != nil {
			return err
		}
		for i, leaf := range f.leaves {
			if err := w.WriteLeaf(int64(i*len(leaf.RawData())), leaf.Cid(), leaf.RawData()); err != nil {
				return err
			}
		}
		if err := w.PutNode(f.node); err != nil {
			return err
		}
		if err := w.Commit(ctx, f.File, map[string][]byte{fmt.Sprintf("n:%d", n): nil}); err != nil {
			return err
		}
	} else if err := d.Put(ctx, nthBlock(n)); err != nil {
		return err
	}
	if n%5 != 0 {
		if err := d.Pin(ctx, Pin{Root: root}); err != nil {
			return err
		}
	} else if err := d.Sync(ctx); err != nil {
		return err
	}
	if n%80 == 79 {
		release()
		return d.evict(ctx, 0, true)
	}
	if n%40 == 39 {
		release()
		_, err := d.Collect(ctx, testLinks)
		return err
	}
	return nil
}

// killChild runs a child until it dies at a point, or after a while, and returns
// the first number that was not acknowledged.
func killChild(t *testing.T, dir, point string, from int, after time.Duration) int {
	t.Helper()
	exe, err := os.Executable()
	check(t, err)
	cmd := exec.CommandContext(t.Context(), exe)
	cmd.Env = append(os.Environ(), childDir+"="+dir, childPoint+"="+point, childFrom+"="+strconv.Itoa(from))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	check(t, err)
	check(t, cmd.Start())
	lines := bufio.NewScanner(out)
	var timer *time.Timer
	for lines.Scan() {
		if lines.Text() == "open" {
			if point == "" {
				timer = time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
			}
			continue
		}
		n, err := strconv.Atoi(lines.Text())
		if err != nil {
			t.Fatalf("child says %q", lines.Text())
		}
		from = n + 1
		if n > 100_000 { // the point is never reached
			_ = cmd.Process.Kill()
		}
	}
	if _, err := io.Copy(io.Discard, out); err != nil {
		t.Log(err)
	}
	if timer != nil {
		timer.Stop()
	}
	if err := cmd.Wait(); err == nil || stderr.Len() > 0 {
		t.Fatalf("child: %v, %s", err, stderr.String())
	}
	return from
}

// killSeed chooses the steps and times at which TestKill kills.
var killSeed = flag.Uint64("kill.seed", 1, "seed of TestKill")

// TestKill kills a process that stores, pins and collects, at random times and at
// every step of a commit. What it acknowledged is there and right in the next
// process, nothing is half there, and nothing is left over.
func TestKill(t *testing.T) {
	rng := rand.New(rand.NewPCG(*killSeed, 7))
	var points []string
	for _, p := range hookPoints() {
		points = append(points, fmt.Sprintf("%s:%d", p, 1+rng.IntN(5)))
	}
	for range 5 {
		points = append(points, "")
	}
	rng.Shuffle(len(points), func(i, j int) { points[i], points[j] = points[j], points[i] })
	if testing.Short() {
		points = points[:6]
	}
	dir := t.TempDir()
	next := 0
	for _, point := range points {
		after := time.Duration(rng.IntN(300)) * time.Millisecond
		acked := killChild(t, dir, point, next, after)
		t.Logf("%q: %d to %d", point, next, acked-1)
		checkKilled(t, dir, acked, point == "" || strings.HasPrefix(point, "in write"))
		next = acked
	}
}

// checkKilled holds that numbers below n are there, but for those that a
// collection may have taken. A torn write, of a hookFile, may be that of a head over records
// that were collected: Verify mends it, and no block is named.
func checkKilled(t *testing.T, dir string, n int, torn bool) {
	t.Helper()
	d := openTuned(t, dir, 256<<10)
	for i := range n {
		if i%5 == 0 {
			continue // not pinned, and collected perhaps
		}
		if i%3 != 0 {
			has(t, d, true, nthBlock(i))
			continue
		}
		f := bigDAG(i, 2+i%4, 3000+i%7*1000)
		whole(t, d, f)
		if a, err := d.Alias(t.Context(), fmt.Sprintf("n:%d", i)); err != nil || a.Root != f.Root {
			t.Errorf("alias of file %d = %v, %v", i, a, err)
		}
	}
	if torn {
		for f, err := range d.Verify(t.Context(), VerifyOptions{}) {
			if err != nil || f.CID.Defined() || !strings.HasSuffix(f.Problem, "bytes are no record") {
				t.Errorf("Verify after a torn write: %+v, %v", f, err)
			}
		}
	}
	for f, err := range d.Verify(t.Context(), VerifyOptions{}) {
		t.Errorf("Verify: %+v, %v", f, err)
	}
	for _, name := range repoFiles(t, dir) {
		if strings.HasSuffix(name, partSuffix) || strings.HasSuffix(name, asideSuffix) {
			t.Errorf("%s is left over", name)
		}
	}
	check(t, d.Close())
	if t.Failed() {
		t.FailNow()
	}
}
