package trust

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hypha-node/hypha-node/testground/rig"
)

// TestKillDuringFetch kills the daemon with SIGKILL while jobs fetch, after a
// random count of bytes, again and again on one repository. The next start needs
// no help, everything acknowledged in any round before is there for 0 bytes of
// the origin, and no work directory holds half a file or a leftover.
func TestKillDuringFetch(t *testing.T) {
	const size = 24 << 20
	o, repo := serve(t), filepath.Join(t.TempDir(), "repo")
	r := rand.New(rand.NewPCG(1, 9))
	acknowledged := map[uint64]rig.Fetched{}
	n := start(t, repo)
	for round := range uint64(12 * *rounds) {
		job, err := n.CreateJob(rig.Within(t))
		ok(t, err)
		hit := o.after(r.Int64N(size + size/8)) // now and then after the last byte
		done := make(chan error, 1)
		var got []rig.Fetched
		go func() {
			var err error
			got, err = job.Fetch(rig.Within(t), rig.URI(o.url(round, size)))
			done <- err
		}()
		select {
		case <-hit:
			ok(t, n.Kill())
			err = <-done
		case err = <-done: // acknowledged before the mark
			ok(t, n.Kill())
		}
		if err == nil {
			acknowledged[round] = got[0]
		}
		if names := unfinished(t, job.WorkDir, "file-", size, ".hypha"); len(names) > 0 {
			t.Errorf("after the kill the work directory holds %q", names)
		}

		n = start(t, repo)
		eventually(t, "nothing stays in the node's own part of the work directory", func() bool {
			return len(unfinished(t, job.WorkDir, "file-", size)) == 0
		})
		before := o.sent.Load()
		for seed, f := range acknowledged {
			again, err := fetch(rig.Within(t), n, o, seed, size)
			if err != nil || again.CID != f.CID {
				t.Fatalf("round %d: acknowledged file %d: %+v, %v; was %+v", round, seed, again, err, f)
			}
		}
		if sent := o.sent.Load() - before; sent != 0 {
			t.Errorf("round %d: acknowledged files cost the origin %d bytes", round, sent)
		}
		if round%4 == 3 { // what was interrupted can be had now
			f, err := fetch(rig.Within(t), n, o, round, size)
			ok(t, err)
			acknowledged[round] = f
		}
	}
	stop(t, n)
	if r, err := hypha(rig.Within(t), repo, "verify"); err != nil {
		t.Errorf("verify: %v %s", err, r.Stdout)
	}
	t.Logf("%d kills, %d acknowledged files, all there", 12**rounds, len(acknowledged))
}

// unfinished returns what the work directory holds beside complete files whose
// names begin with prefix. What lies in the directories named private is not
// looked at: files grow there, out of the executor's sight.
func unfinished(t *testing.T, dir, prefix string, size int64, private ...string) (names []string) {
	t.Helper()
	ok(t, ignoreMissing(filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return ignoreMissing(err)
		case d.IsDir() && slices.Contains(private, d.Name()):
			return fs.SkipDir
		case d.IsDir() || d.Type()&fs.ModeSocket != 0:
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return ignoreMissing(err)
		}
		if !strings.HasPrefix(d.Name(), prefix) || info.Size() != size {
			names = append(names, fmt.Sprintf("%s, %d bytes", name, info.Size()))
		}
		return nil
	})))
	return names
}

// TestKillDuringAdd kills the daemon while commands add files through it, and
// commands that add without a daemon.
func TestKillDuringAdd(t *testing.T) {
	const size = 6 << 20
	dir, repo := t.TempDir(), filepath.Join(t.TempDir(), "repo")
	r := rand.New(rand.NewPCG(2, 9))
	acknowledged := map[string]string{} // root => sha256
	seed := uint64(0)
	next := func() (name, sum string) {
		seed++
		name = filepath.Join(dir, "file")
		ok(t, os.RemoveAll(name))
		sum, err := rig.WriteRandom(name, seed, 1+r.Int64N(size))
		ok(t, err)
		return name, sum
	}
	check := func(round int) {
		t.Helper()
		for root, want := range acknowledged {
			got, _, err := catSum(rig.Within(t), repo, root)
			if err != nil || got != want {
				t.Fatalf("round %d: acknowledged %s has sha256 %s (%v), want %s", round, root, got, err, want)
			}
		}
	}
	for round := range 10 * *rounds {
		n := start(t, repo)
		kill := 1 + r.IntN(6) // during this add
		for i := 1; ; i++ {
			name, sum := next()
			adding := make(chan rig.Result, 1)
			go func() {
				res, err := n.Run(rig.Within(t), "add", "-q", name)
				if err != nil {
					res.Stdout = ""
				}
				adding <- res
			}()
			var killed bool
			if i == kill {
				spin(r.IntN(1 << 16))
				ok(t, n.Kill())
				killed = true
			}
			if res := <-adding; res.Code == 0 && res.Stdout != "" {
				acknowledged[strings.TrimSpace(res.Stdout)] = sum
			} else if !killed {
				t.Fatalf("round %d: add failed while the daemon ran: %+v", round, res)
			}
			if killed {
				break
			}
		}
		check(round)
	}
	if r, err := hypha(rig.Within(t), repo, "verify"); err != nil {
		t.Errorf("verify: %v %s", err, r.Stdout)
	}
	t.Logf("%d kills, %d acknowledged files, all there", 10**rounds, len(acknowledged))
}

// spin lets a random, small amount of work pass: the kill falls anywhere.
func spin(n int) {
	buf := make([]byte, 1024)
	for i := range n {
		buf[i%len(buf)] += byte(i)
	}
}
