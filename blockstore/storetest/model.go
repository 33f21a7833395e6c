package storetest

import (
	"bytes"
	"maps"
	"slices"
	"strings"
	"testing"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
	"pgregory.net/rapid"

	"github.com/hypha-node/hypha-node/blockstore"
)

// model is what a store should have after any sequence of calls.
type model struct {
	blocks  map[string][]byte // by multihash
	files   map[cid.Cid]state // by root
	aliases map[string]string // key to root and meta
	roots   map[string]cid.Cid
	pins    map[string]bool // root and name
}

// state says what is known of a file's record.
type state int

const (
	absent state = iota
	recorded
	unsure // a block below the root was deleted, which the store may know or not
)

func newModel() *model {
	return &model{make(map[string][]byte), make(map[cid.Cid]state), make(map[string]string), make(map[string]cid.Cid), make(map[string]bool)}
}

func (m *model) put(blks ...blocks.Block) {
	for _, blk := range blks {
		m.blocks[string(blk.Cid().Hash())] = blk.RawData()
	}
}

func (m *model) record(f sample, aliases map[string][]byte) {
	m.files[f.Root] = recorded
	m.aliases[sha256Key(f.File)], m.roots[sha256Key(f.File)] = f.Root.String(), f.Root
	for key, meta := range aliases {
		m.aliases[key] = f.Root.String() + string(meta)
	}
}

// drop forgets a block and what needs it.
func (m *model) drop(c cid.Cid, files []sample) {
	delete(m.blocks, string(c.Hash()))
	for _, f := range files {
		switch {
		case f.Root == c:
			m.files[f.Root] = absent
		case m.files[f.Root] == recorded && f.has(c):
			m.files[f.Root] = unsure
		}
	}
}

// has tells whether the block is one of the file's.
func (s sample) has(c cid.Cid) bool {
	return s.Root == c || slices.ContainsFunc(s.leaves, func(l leaf) bool { return l.cid == c })
}

// hasAll tells whether all of the blocks are there.
func (m *model) hasAll(blks []blocks.Block) bool {
	return !slices.ContainsFunc(blks, func(b blocks.Block) bool { return m.blocks[string(b.Cid().Hash())] == nil })
}

// world is what the test draws from: files that share leaves with each other
// and with the loose blocks.
type world struct {
	loose []blocks.Block
	files []sample
	all   []blocks.Block // each once
}

func newWorld(t *testing.T) world {
	t.Helper()
	w := world{files: []sample{
		newSample(t, 200, 0, 1000), newSample(t, 201, 1000, 1000), newSample(t, 202, 4000, 1000),
		newSample(t, 202, 2500, 1000), newSample(t, 203, 300_000, 100_000),
	}}
	w.loose = append(someBlocks(t, 204, 6), w.files[2].blocks(t)...)
	w.all = slices.Clone(w.loose)
	for _, f := range w.files {
		w.all = append(w.all, f.blocks(t)...)
	}
	slices.SortFunc(w.all, func(a, b blocks.Block) int { return bytes.Compare(a.Cid().Hash(), b.Cid().Hash()) })
	w.all = slices.CompactFunc(w.all, func(a, b blocks.Block) bool { return a.Cid() == b.Cid() })
	return w
}

// machine drives a store and its model together.
type machine struct {
	t     *testing.T
	world world
	model *model
	store blockstore.Store
}

// testModel compares the store with the model after random sequences of calls.
func testModel(t *testing.T, open func(t *testing.T) blockstore.Store) {
	w := newWorld(t)
	rapid.Check(t, func(r *rapid.T) {
		m := &machine{t, w, newModel(), open(t)}
		defer func() { check(r, m.store.Close()) }()
		r.Repeat(map[string]func(*rapid.T){
			"": m.compare, "put": m.put, "put many": m.putMany, "delete": m.delete, "commit": m.commit,
			"put file": m.putFile, "alias": m.alias, "pin": m.pin, "unpin": m.unpin, "sync": m.sync, "reopen": m.reopen,
		})
	})
}

func (m *machine) put(r *rapid.T) {
	blk := draw(r, "block", m.world.all)
	check(r, m.store.Put(r.Context(), blk))
	m.model.put(blk)
}

func (m *machine) putMany(r *rapid.T) {
	var blks []blocks.Block
	for _, i := range rapid.SliceOfN(rapid.IntRange(0, len(m.world.loose)-1), 0, 8).Draw(r, "blocks") {
		blks = append(blks, m.world.loose[i])
	}
	check(r, m.store.PutMany(r.Context(), blks))
	m.model.put(blks...)
}

func (m *machine) delete(r *rapid.T) {
	blk := draw(r, "block", m.world.all)
	check(r, m.store.DeleteBlock(r.Context(), blk.Cid()))
	m.model.drop(blk.Cid(), m.world.files)
}

func (m *machine) commit(r *rapid.T) {
	f := draw(r, "file", m.world.files)
	size := rapid.SampledFrom([]int64{f.Size, -1}).Draw(r, "declared size")
	w, err := m.store.NewFile(r.Context(), size)
	check(r, err)
	order := make([]int, len(f.leaves))
	for i := range order {
		order[i] = i
	}
	for _, i := range rapid.Permutation(order).Draw(r, "order") {
		l := f.leaves[i]
		check(r, w.WriteLeaf(l.off, l.cid, l.data))
	}
	if f.node != nil {
		check(r, w.PutNode(f.node))
	}
	if rapid.IntRange(0, 3).Draw(r, "abort at 0") == 0 {
		check(r, w.Abort())
		return
	}
	aliases := map[string][]byte{"url:" + rapid.SampledFrom([]string{"a", "b"}).Draw(r, "url"): []byte("m")}
	check(r, w.Commit(r.Context(), f.File, aliases))
	m.model.put(f.blocks(m.t)...)
	m.model.record(f, aliases)
}

func (m *machine) putFile(r *rapid.T) {
	f := draw(r, "file", m.world.files)
	if !m.model.hasAll(f.blocks(m.t)) {
		r.Skip("blocks are missing")
	}
	check(r, m.store.PutFile(r.Context(), f.File, nil))
	m.model.record(f, nil)
}

func (m *machine) alias(r *rapid.T) {
	f := draw(r, "file", m.world.files)
	key := rapid.SampledFrom([]string{"url:a", "url:b", "hf:c"}).Draw(r, "key")
	meta := rapid.SampledFrom([]string{"", "m", "n"}).Draw(r, "meta")
	check(r, m.store.PutAlias(r.Context(), key, blockstore.Alias{Root: f.Root, Meta: []byte(meta)}))
	m.model.aliases[key] = f.Root.String() + meta
}

func (m *machine) pin(r *rapid.T) {
	f, name := draw(r, "file", m.world.files), rapid.SampledFrom([]string{"", "job:1"}).Draw(r, "name")
	check(r, m.store.Pin(r.Context(), blockstore.Pin{Root: f.Root, Name: name}))
	m.model.pins[f.Root.String()+name] = true
}

func (m *machine) unpin(r *rapid.T) {
	f, name := draw(r, "file", m.world.files), rapid.SampledFrom([]string{"", "job:1"}).Draw(r, "name")
	err := m.store.Unpin(r.Context(), f.Root, name)
	if key := f.Root.String() + name; m.model.pins[key] {
		check(r, err)
		delete(m.model.pins, key)
	} else if !ipld.IsNotFound(err) {
		r.Fatalf("Unpin = %v, want not found", err)
	}
}

func (m *machine) sync(r *rapid.T) { check(r, m.store.Sync(r.Context())) }

func (m *machine) reopen(r *rapid.T) {
	s, ok := m.store.(Reopener)
	if !ok {
		r.Skip("this store does not outlive its process")
	}
	check(r, m.store.Sync(r.Context()))
	m.store = s.Reopen(m.t)
}

// compare fails when the store and the model differ in anything.
func (m *machine) compare(r *rapid.T) {
	ctx := r.Context()
	keys := make(map[string]bool)
	for c, err := range m.store.Keys(ctx) {
		check(r, err)
		keys[string(c.Hash())] = true
	}
	for _, want := range m.world.all {
		data, stored := m.model.blocks[string(want.Cid().Hash())]
		got, err := m.store.Get(ctx, want.Cid())
		switch {
		case stored != keys[string(want.Cid().Hash())]:
			r.Fatalf("block %s listed: %v, want %v", want.Cid(), !stored, stored)
		case stored && (err != nil || !bytes.Equal(got.RawData(), data)):
			r.Fatalf("Get(%s): %v", want.Cid(), err)
		case !stored && !ipld.IsNotFound(err):
			r.Fatalf("Get(%s) = %v, want not found", want.Cid(), err)
		}
	}
	if len(keys) != len(m.model.blocks) {
		r.Fatalf("%d keys, want %d", len(keys), len(m.model.blocks))
	}
	m.compareFiles(r)
	for key, want := range m.model.aliases {
		a, err := m.store.Alias(ctx, key)
		if strings.HasPrefix(key, "sha256:") && ipld.IsNotFound(err) && m.model.blocks[string(m.model.roots[key].Hash())] == nil {
			continue // that of a leaf alone may go with the leaf
		}
		if got := a.Root.String() + string(a.Meta); err != nil || got != want {
			r.Fatalf("Alias(%s) = %s, %v, want %s", key, got, err, want)
		}
	}
	got := make(map[string]bool)
	for p, err := range m.store.Pins(ctx) {
		check(r, err)
		got[p.Root.String()+p.Name] = true
	}
	if !maps.Equal(got, m.model.pins) {
		r.Fatalf("pins %v, want %v", got, m.model.pins)
	}
}

func (m *machine) compareFiles(r *rapid.T) {
	for _, f := range m.world.files {
		got, err := m.store.File(r.Context(), f.Root)
		want := m.model.files[f.Root]
		if f.node == nil && m.model.hasAll(f.blocks(m.t)) {
			want = recorded // a leaf alone needs no record
		}
		switch {
		case want == absent && !ipld.IsNotFound(err):
			r.Fatalf("File(%s) = %+v, %v, want not found", f.Root, got, err)
		case want == recorded && (err != nil || got != f.File):
			r.Fatalf("File(%s) = %+v, %v, want %+v", f.Root, got, err, f.File)
		}
	}
}

// draw picks one by its number, which is all that a failure needs to print.
func draw[T any](r *rapid.T, what string, from []T) T {
	return from[rapid.IntRange(0, len(from)-1).Draw(r, what)]
}

func check(r *rapid.T, err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}
