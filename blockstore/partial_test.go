package blockstore

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	blocks "github.com/ipfs/go-block-format"
)

// longDAG is a file of n leaves of size bytes, too long for the pack.
func longDAG(n, size int) testDAG { return bigDAG(77, n, size) }

// resumeOrBegin goes on with a file, or begins it.
func resumeOrBegin(ctx context.Context, d *Disk, name string, size int64) (PartialFile, error) {
	p, err := d.ResumeFile(ctx, name)
	if isNotFound(err) {
		return d.KeepFile(ctx, name, size)
	}
	return p, err
}

// partID is the number of the part file.
func partID(p PartialFile) uint64 { return p.(partialFile).id }

// writeLeaves writes leaves [from, to) of a file of equal leaves.
func writeLeaves(w FileWriter, leaves []blocks.Block, from, to int) error {
	for i, leaf := range leaves[from:to] {
		if err := w.WriteLeaf(int64(from+i)*int64(len(leaves[0].RawData())), leaf.Cid(), leaf.RawData()); err != nil {
			return err
		}
	}
	return nil
}

// partFiles lists the part files of a store.
func partFiles(t *testing.T, d *Disk) (names []string) {
	t.Helper()
	infos, err := d.segs.fs.List()
	if err != nil {
		t.Fatal(err)
	}
	for _, info := range infos {
		if strings.HasSuffix(info.Name, partSuffix) {
			names = append(names, info.Name)
		}
	}
	return names
}

// partialPairs counts what the index knows of partial files.
func partialPairs(t *testing.T, d *Disk) (n int) {
	t.Helper()
	for _, kind := range []byte{keyPartial, keyKept} {
		if err := d.index.scan([]byte{kind}, nil, func(_, _ []byte) bool { n++; return true }); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

func noErr(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// checkGone fails if anything of a partial file is left.
func checkGone(t *testing.T, d *Disk) {
	t.Helper()
	if names := partFiles(t, d); len(names) > 0 {
		t.Errorf("part files %q are left", names)
	}
	if n := partialPairs(t, d); n > 0 {
		t.Errorf("%d pairs in the index are left", n)
	}
}

// checkWhole fails unless a file and all its blocks are stored and right.
func checkWhole(t *testing.T, d *Disk, f testDAG) {
	t.Helper()
	if got, err := d.File(t.Context(), f.Root); err != nil || got != f.File {
		t.Fatalf("file is %+v, %v, want %+v", got, err, f.File)
	}
	for _, blk := range f.all() {
		got, err := d.Get(t.Context(), blk.Cid())
		if err != nil || !bytes.Equal(got.RawData(), blk.RawData()) {
			t.Fatalf("block %s: %v", blk.Cid(), err)
		}
	}
}

// TestPartial goes on with a file after each way of leaving it, and commits it.
func TestPartial(t *testing.T) {
	f := longDAG(8, 512<<10)
	const leaf = 512 << 10
	m := newMachine(t, 1)
	m.start()
	p, err := m.disk.KeepFile(t.Context(), "sha256:x", f.Size)
	noErr(t, err)
	noErr(t, writeLeaves(p, f.leaves, 0, 3))
	if err := p.Keep(t.Context(), 4*leaf, nil); err == nil {
		t.Error("kept a leaf that was not written")
	}
	noErr(t, p.Keep(t.Context(), 2*leaf, []byte("two")))
	noErr(t, p.Keep(t.Context(), 2*leaf, []byte("two again")))
	if _, err := m.disk.ResumeFile(t.Context(), "sha256:x"); !isNotFound(err) {
		t.Fatalf("resumed a file that is being written: %v", err)
	}
	for i, leave := range []func() error{
		p.Abort, // of what follows, each leaves the file where the last one did
		func() error { return m.disk.Close() },
		func() error { m.cut(); return nil },
	} {
		noErr(t, leave())
		if m.disk == nil || m.disk.gate.isShut() {
			m.start()
		}
		if _, err := m.disk.ResumeFile(t.Context(), "sha256:y"); !isNotFound(err) {
			t.Fatalf("resumed a file of another name: %v", err)
		}
		p, err = m.disk.ResumeFile(t.Context(), "sha256:x")
		noErr(t, err)
		kept, want := p.Kept(), Kept{Size: int64(2+i) * leaf, Total: f.Size, State: []byte("two")}
		if i > 0 {
			want.State = []byte(fmt.Sprint(i))
		}
		if kept.Size != want.Size || kept.Total != want.Total || !bytes.Equal(kept.State, want.State) {
			t.Fatalf("kept is %+v, want %+v", kept, want)
		}
		checkKept(t, p, f)
		noErr(t, writeLeaves(p, f.leaves, 2+i, 4+i))
		noErr(t, p.Keep(t.Context(), int64(3+i)*leaf, fmt.Append(nil, i+1)))
	}
	noErr(t, writeLeaves(p, f.leaves, 6, 8))
	noErr(t, p.PutNode(f.node))
	noErr(t, p.Commit(t.Context(), f.File, nil))
	noErr(t, p.Abort())
	checkGone(t, m.disk)
	checkWhole(t, m.disk, f)
	noErr(t, m.disk.Close())
	m.start()
	checkGone(t, m.disk)
	checkWhole(t, m.disk, f)
	noErr(t, m.disk.Close())
}

// checkKept compares what is kept with the file.
func checkKept(t *testing.T, p PartialFile, f testDAG) {
	t.Helper()
	var end int64
	i := 0
	for c, n := range p.Leaves() {
		got := make([]byte, n)
		if _, err := p.ReadAt(got, end); err != nil {
			t.Fatal(err)
		}
		if c != f.leaves[i].Cid() || !bytes.Equal(got, f.leaves[i].RawData()) {
			t.Fatalf("leaf %d is WRONG", i)
		}
		end += n
		i++
	}
	if end != p.Kept().Size {
		t.Fatalf("%d bytes in leaves, %d are kept", end, p.Kept().Size)
	}
}

// TestPartialDropped holds that nothing is left of a file that nobody goes on with.
func TestPartialDropped(t *testing.T) {
	f := longDAG(8, 512<<10)
	const leaf = 512 << 10
	for _, tc := range []struct {
		name string
		drop func(t *testing.T, m *machine, p PartialFile)
	}{
		{"dropped", func(t *testing.T, _ *machine, p PartialFile) { noErr(t, p.Drop()) }},
		{"begun anew", func(t *testing.T, m *machine, p PartialFile) {
			noErr(t, p.Abort())
			q, err := m.disk.KeepFile(t.Context(), "n", f.Size)
			noErr(t, err)
			if len(partFiles(t, m.disk)) != 1 {
				t.Errorf("part files are %q, want the new one", partFiles(t, m.disk))
			}
			noErr(t, q.Abort())
		}},
		{"collected", func(t *testing.T, m *machine, p PartialFile) {
			if got, err := m.disk.Collect(t.Context(), testLinks); err != nil || len(partFiles(t, m.disk)) != 1 {
				t.Fatalf("collected a file that is being written: %+v, %v", got, err)
			}
			noErr(t, p.Abort())
			if got, err := m.disk.Collect(t.Context(), testLinks); err != nil || got.Bytes != 3*leaf {
				t.Errorf("collected %+v, %v, want %d bytes", got, err, 3*leaf)
			}
		}},
		{"a new file needs the room", func(t *testing.T, m *machine, p PartialFile) {
			noErr(t, p.Abort())
			m.fs.SetFree(m.disk.space.keep(1<<40) + 2<<20)
			if _, err := m.disk.NewFile(t.Context(), 64<<20); err == nil {
				t.Fatal("there is no room for that")
			}
			if n := len(partFiles(t, m.disk)); n != 1 {
				t.Fatalf("%d part files, want the one whose loss would not have helped", n)
			}
			if _, err := m.disk.NewFile(t.Context(), 3<<20); err == nil {
				t.Error("this disk does not get more room by removals, and yet there is room")
			}
		}},
		{"old", func(t *testing.T, m *machine, p PartialFile) {
			noErr(t, p.Abort())
			m.disk.clock.Add(int64(partialAge + time.Hour))
			if _, err := m.disk.ResumeFile(t.Context(), "n"); !isNotFound(err) {
				t.Errorf("resumed: %v", err)
			}
		}},
		{"old at a start", func(t *testing.T, m *machine, p PartialFile) {
			noErr(t, p.Abort())
			m.disk.clock.Add(int64(partialAge + time.Hour))
			noErr(t, m.disk.Pin(t.Context(), Pin{Root: f.Root}))
			m.cut()
			m.start()
		}},
		{"low disk at a start", func(t *testing.T, m *machine, p PartialFile) {
			noErr(t, p.Abort())
			reserve := m.disk.space.keep(1 << 40)
			m.cut()
			m.fs.SetFree(reserve - 1)
			m.start()
		}},
		{"damaged record", func(t *testing.T, m *machine, p PartialFile) {
			noErr(t, p.Abort())
			noErr(t, m.idx.write([]indexOp{{partialKey("n"), []byte("?")}}))
			if _, err := m.disk.ResumeFile(t.Context(), "n"); !isNotFound(err) {
				t.Errorf("resumed: %v", err)
			}
			m.cut()
			m.start()
		}},
		{"damaged leaves", func(t *testing.T, m *machine, p PartialFile) {
			noErr(t, p.Abort())
			noErr(t, m.idx.write([]indexOp{{keptKey(partID(p), 2*leaf), []byte("?")}}))
			if _, err := m.disk.ResumeFile(t.Context(), "n"); !isNotFound(err) {
				t.Errorf("resumed: %v", err)
			}
		}},
		{"part file is short", func(t *testing.T, m *machine, p PartialFile) {
			noErr(t, p.Abort())
			noErr(t, m.disk.cutPart(partName(partID(p)), 3*leaf-1))
			if _, err := m.disk.ResumeFile(t.Context(), "n"); !isNotFound(err) {
				t.Errorf("resumed: %v", err)
			}
		}},
		{"part file is gone", func(t *testing.T, m *machine, p PartialFile) {
			noErr(t, p.Abort())
			noErr(t, m.fs.Remove(partName(partID(p))))
			m.cut()
			m.start()
		}},
		{"index is lost", func(t *testing.T, m *machine, p PartialFile) {
			noErr(t, p.Abort())
			noErr(t, m.disk.Sync(t.Context()))
			m.cut()
			m.idx = newMapIndex(2)
			m.start()
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := newMachine(t, 1)
			m.start()
			noErr(t, m.disk.Put(t.Context(), looseBlock(1)))
			p, err := m.disk.KeepFile(t.Context(), "n", f.Size)
			noErr(t, err)
			noErr(t, writeLeaves(p, f.leaves, 0, 4))
			noErr(t, p.Keep(t.Context(), 2*leaf, nil))
			noErr(t, p.Keep(t.Context(), 3*leaf, nil))
			tc.drop(t, m, p)
			checkGone(t, m.disk)
			noErr(t, p.Abort())
			noErr(t, m.disk.Close())
		})
	}
}

// TestPartialFailedSync holds that a file whose flush failed is neither kept nor
// committed: a later flush that succeeds would mean nothing.
func TestPartialFailedSync(t *testing.T) {
	f := longDAG(8, 512<<10)
	m := newMachine(t, 1)
	m.start()
	p, err := m.disk.KeepFile(t.Context(), "n", f.Size)
	noErr(t, err)
	noErr(t, writeLeaves(p, f.leaves, 0, 8))
	noErr(t, p.Keep(t.Context(), 512<<10, nil))
	noErr(t, p.PutNode(f.node))
	m.dead = true
	if err := p.Keep(t.Context(), 1<<20, nil); err == nil {
		t.Fatal("kept on a disk that does not answer")
	}
	m.dead = false
	if err := p.Commit(t.Context(), f.File, nil); err == nil {
		t.Error("committed after a failed flush")
	}
	noErr(t, p.Abort())
	checkGone(t, m.disk)
	noErr(t, m.disk.Close())
}

// TestPartialPowerCuts cuts the power at any call while files are kept and gone on
// with: what Keep acknowledged is there and right, or the file is whole; and at
// the end nothing is left but whole files.
func TestPartialPowerCuts(t *testing.T) {
	const leaf = 300 << 10
	f := longDAG(10, leaf)
	cuts := 0
	for seed := range 60 / slow {
		m := newMachine(t, uint64(seed))
		m.left = m.rng.IntN(40)
		m.start()
		least, most := 0, 0 // leaves that must be, and may be, kept
		for done := false; !done; {
			m.left = -1
			if m.rng.IntN(8) > 0 {
				m.left = m.rng.IntN(60)
			}
			done = m.partialRound(f, &least, &most)
			if m.rng.IntN(2) == 0 || !done {
				m.cut()
				cuts++
				m.left = m.rng.IntN(60)
				m.start()
			}
		}
		m.left = -1
		checkGone(t, m.disk)
		checkWhole(t, m.disk, f)
		noErr(t, m.disk.Close())
	}
	t.Logf("%d cuts", cuts)
}

// partialRound goes on with a file, and tells whether it is whole.
func (m *machine) partialRound(f testDAG, least, most *int) (done bool) {
	m.t.Helper()
	ctx := context.Background()
	if got, err := m.disk.File(ctx, f.Root); err == nil {
		return got == f.File // a commit of which nobody was told
	}
	p, err := resumeOrBegin(ctx, m.disk, "n", f.Size)
	if !m.expect(err) {
		return false
	}
	size := int64(len(f.leaves[0].RawData()))
	next := int(p.Kept().Size / size)
	if !m.dead && (next < *least || next > *most) {
		m.fatalf("%d leaves are kept, want %d to %d", next, *least, *most)
	}
	if left := m.left; !m.dead {
		m.left = -1
		checkKept(m.t, p, f)
		m.left = left
	}
	for next < len(f.leaves) && !m.dead {
		to := min(len(f.leaves), next+1+m.rng.IntN(3))
		if !m.expect(writeLeaves(p, f.leaves, next, to)) {
			return false
		}
		next = to
		switch m.rng.IntN(4) {
		case 0:
			*most = next
			if m.expect(p.Keep(ctx, int64(next)*size, fmt.Append(nil, next))) {
				*least = next
			}
		case 1:
			if !slices.Contains([]int{0, len(f.leaves)}, next) && m.rng.IntN(3) == 0 {
				m.expect(p.Abort())
				return false
			}
		}
	}
	if !m.expect(p.PutNode(f.node)) || !m.expect(p.Commit(ctx, f.File, nil)) {
		return false
	}
	return true
}
