package blockstore

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"

	"github.com/hypha-node/hypha-node/blockstore/internal/crashfs"

	"github.com/hypha-node/hypha-node/internal/dagpb"
)

var errPower = errors.New("power is cut")

// machine is a disk and an index whose power can be cut, and what was promised
// to those who wrote to them.
type machine struct {
	t     *testing.T
	seed  uint64
	rng   *rand.Rand
	fs    *crashfs.FS
	idx   *mapIndex
	disk  *Disk
	left  int // calls until the power is cut, < 0: never
	dead  bool
	fails func(error) bool // tells whether an error is to be expected
	log   *slog.Logger
	trace *bytes.Buffer

	shown map[string]bool // multihashes of what was put for everybody, or may have been
	offer map[string]bool // of these, what everybody will be promised at the next sync
	open  map[string]bool // what everybody was promised for as long as it is here

	blocks map[string]*promise[blocks.Block] // by multihash
	files  map[string]*promise[testDAG]      // by root
	alias  map[string]*promise[cid.Cid]
	pins   map[string]*promise[Pin] // by root and name
}

// promise is what may and what must be there. Of what was acknowledged both are
// the same; of what was not, more than one thing may be.
type promise[T any] struct {
	is    T    // the value, if there is one
	must  bool // it must be there
	mayBe []T  // other values that it may have
	no    bool // it must not be there
	waits bool // for the next sync
}

// testDAG is a made-up file: leaves, and a node that links to them.
type testDAG struct {
	File
	leaves []blocks.Block
	node   blocks.Block
}

func (f testDAG) all() []blocks.Block { return append(slices.Clone(f.leaves), f.node) }

func mustBlock(codec uint64, data []byte) blocks.Block {
	c, err := cid.V1Builder{Codec: codec, MhType: 0x12}.Sum(data)
	if err != nil {
		panic(err)
	}
	b, err := blocks.NewBlockWithCid(data, c)
	if err != nil {
		panic(err)
	}
	return b
}

// looseBlock is the n-th block; its bytes follow from n.
func looseBlock(n int) blocks.Block {
	data := make([]byte, 1+n*37%3000)
	r := rand.New(rand.NewPCG(uint64(n), 3))
	for i := range data {
		data[i] = byte(r.Uint32())
	}
	return mustBlock(cid.Raw, data)
}

// dagOf is the n-th file: files share leaves with each other.
func dagOf(n int) testDAG {
	var f testDAG
	h := sha256.New()
	var node []byte
	for i := range 2 + n%3 {
		leaf := looseBlock(10_000 + (n+i)%12)
		f.leaves = append(f.leaves, leaf)
		h.Write(leaf.RawData())
		f.Size += int64(len(leaf.RawData()))
		link := append([]byte{0x0a, byte(len(leaf.Cid().Bytes()))}, leaf.Cid().Bytes()...)
		node = append(append(node, 0x12, byte(len(link))), link...)
	}
	f.node = mustBlock(cid.DagProtobuf, append(node, 0x0a, 1, byte(n)))
	f.Root = f.node.Cid()
	h.Sum(f.SHA256[:0])
	return f
}

func testLinks(c cid.Cid, data []byte) ([]cid.Cid, error) { return dagpb.Links(c, data), nil }

func newMachine(t *testing.T, seed uint64) *machine {
	t.Helper()
	m := &machine{
		t: t, seed: seed, rng: rand.New(rand.NewPCG(seed, 4)), fs: crashfs.New(seed), idx: newMapIndex(seed), left: -1,
		trace: new(bytes.Buffer),
		shown: make(map[string]bool), offer: make(map[string]bool), open: make(map[string]bool),
		blocks: make(map[string]*promise[blocks.Block]), files: make(map[string]*promise[testDAG]),
		alias: make(map[string]*promise[cid.Cid]), pins: make(map[string]*promise[Pin]),
	}
	m.log = slog.New(slog.NewTextHandler(m.trace, &slog.HandlerOptions{Level: slog.LevelDebug}))
	return m
}

func (m *machine) notef(format string, args ...any) { fmt.Fprintf(m.trace, format+"\n", args...) }

// tick counts a call to the disk or the index.
func (m *machine) tick() error {
	if m.dead {
		return errPower
	}
	if m.left >= 0 {
		if m.left--; m.left < 0 {
			m.dead = true
			return errPower
		}
	}
	return nil
}

func (m *machine) environment() environment {
	return environment{
		fs:        m.fs,
		openIndex: func(context.Context) (index, error) { return m.idx, nil },
		rebuild: func(ctx context.Context) (index, error) {
			fresh := newMapIndex(m.rng.Uint64())
			d := newDisk("", m.fs, Options{Logger: m.log})
			d.index = fresh
			if _, err := rebuildIndex(ctx, d); err != nil {
				return nil, err
			}
			d.segs.close()
			m.idx = fresh
			m.plug()
			return fresh, nil
		},
		release: func() error { return nil },
		tune:    func(d *Disk) { d.pack.limit = 20_000 },
	}
}

func (m *machine) plug() {
	m.fs.SetHook(func(crashfs.Op, string) error { return m.tick() })
	m.idx.hook = m.tick
}

// start opens the store, with the power cut after so many calls; it is tried
// again until it gets through.
func (m *machine) start() {
	m.t.Helper()
	for try := 0; ; try++ {
		m.plug()
		d, err := openDisk(context.Background(), "", m.environment(), Options{Logger: m.log, StorageMax: 1 << 40, Links: testLinks})
		if err == nil {
			m.disk = d
			return
		}
		if !m.dead || try > 20 {
			m.fatalf("open: %v", err)
		}
		m.cut()
		m.left = -1
		if try < 5 {
			m.left = m.rng.IntN(30)
		}
	}
}

// cut is the power cut: what is left becomes the disk of the next start.
func (m *machine) cut() {
	m.notef("--- cut")
	m.fs, m.idx = m.fs.Crash(m.rng.Uint64()), m.idx.crash(m.rng.Uint64())
	m.dead, m.left, m.disk = false, -1, nil
}

func (m *machine) fatalf(format string, args ...any) {
	m.t.Helper()
	m.t.Logf("seed %d, what happened:\n%s", m.seed, m.trace)
	m.t.Fatalf(format, args...)
}

// expect fails on an error unless the power was cut.
func (m *machine) expect(err error) bool {
	m.t.Helper()
	if err != nil && !m.dead && (m.fails == nil || !m.fails(err)) {
		m.fatalf("%v", err)
	}
	return err == nil
}

// step does one random thing and writes down what was promised.
func (m *machine) step() {
	ctx := context.Background()
	switch m.rng.IntN(14) {
	case 0, 1, 2:
		m.put(ctx)
	case 3:
		m.notef("sync")
		if m.expect(m.disk.Sync(ctx)) {
			m.acknowledge()
		}
	case 4, 5:
		m.commit(ctx, dagOf(m.rng.IntN(24)))
	case 6:
		m.putFile(ctx, dagOf(m.rng.IntN(24)))
	case 7:
		m.setAlias(ctx)
	case 8:
		m.pin(ctx)
	case 9:
		m.unpin(ctx)
	case 10:
		m.delete(ctx)
	case 11:
		if m.rng.IntN(3) == 0 {
			m.collect(ctx)
		}
	case 12, 13:
		m.read(ctx)
	}
}

// read holds that what was promised can be read at any time.
func (m *machine) read(ctx context.Context) {
	for _, p := range m.blocks {
		got, err := m.disk.Get(ctx, p.is.Cid())
		if (p.must && !isNotFound(err)) || err == nil {
			m.expect(err)
		}
		if err == nil && !bytes.Equal(got.RawData(), p.is.RawData()) {
			m.fatalf("block %s is WRONG", p.is)
		}
		if p.must && isNotFound(err) && !m.dead {
			m.fatalf("block %s is LOST: %v", p.is, err)
		}
	}
}

// as returns the store for a write: for everybody, or not.
func (m *machine) as(blks []blocks.Block) (s Store, all bool) {
	if m.rng.IntN(3) == 0 {
		return m.disk.Scope("somebody"), false
	}
	for _, blk := range blks {
		m.shown[string(blk.Cid().Hash())] = true
	}
	return m.disk, true
}

// seen holds that strangers have what was put for everybody, and nothing else.
// After the loss of the index they may lack it.
func (m *machine) seen(rebuilt bool) {
	m.t.Helper()
	public := m.disk.Scope("")
	clear(m.offer)
	for key, p := range m.blocks {
		has, err := public.Has(context.Background(), p.is.Cid())
		switch {
		case err != nil:
			m.fatalf("block %s: %v", p.is, err)
		case has && !m.shown[key]:
			m.fatalf("block %s is LEAKED", p.is)
		case !has && m.open[key] && p.must && !rebuilt:
			m.fatalf("block %s was put for everybody and is HIDDEN", p.is)
		case !has:
			delete(m.open, key)
		}
	}
}

func (m *machine) block(blk blocks.Block) *promise[blocks.Block] {
	key := string(blk.Cid().Hash())
	if m.blocks[key] == nil {
		m.blocks[key] = &promise[blocks.Block]{is: blk, no: true}
	}
	return m.blocks[key]
}

// acknowledge turns what waited for a sync into promises.
func (m *machine) acknowledge() {
	for key, p := range m.blocks {
		if p.waits {
			p.must, p.waits = true, false
			if m.offer[key] {
				m.open[key] = true
			}
		}
	}
}

func (m *machine) put(ctx context.Context) {
	var all []blocks.Block
	for range 1 + m.rng.IntN(5) {
		all = append(all, looseBlock(m.rng.IntN(60)))
	}
	s, public := m.as(all)
	m.notef("put %v, for everybody: %v", all, public)
	for _, blk := range all {
		m.block(blk).no = false
	}
	if m.expect(s.PutMany(ctx, all)) {
		for _, blk := range all {
			m.block(blk).waits = true
			if public {
				m.offer[string(blk.Cid().Hash())] = true
			}
		}
	}
}

func (m *machine) file(f testDAG) *promise[testDAG] {
	key := f.Root.KeyString()
	if m.files[key] == nil {
		m.files[key] = &promise[testDAG]{is: f, no: true}
	}
	return m.files[key]
}

func (m *machine) commit(ctx context.Context, f testDAG) {
	size := f.Size
	if m.rng.IntN(2) == 0 {
		size = -1
	}
	s, public := m.as(f.all())
	w, err := s.NewFile(ctx, size)
	if !m.expect(err) {
		return
	}
	var off int64
	for _, leaf := range f.leaves {
		if !m.expect(w.WriteLeaf(off, leaf.Cid(), leaf.RawData())) {
			return
		}
		off += int64(len(leaf.RawData()))
	}
	m.expect(w.PutNode(f.node))
	if m.rng.IntN(5) == 0 {
		m.expect(w.Abort())
		return
	}
	key := fmt.Sprintf("url:%d", m.rng.IntN(6))
	m.notef("commit %s %s, for everybody: %v", f.Root, key, public)
	for _, blk := range f.all() {
		m.block(blk).no = false
	}
	m.file(f).no = false
	m.attemptAlias(key, f.Root)
	if m.expect(w.Commit(ctx, f.File, map[string][]byte{key: nil})) {
		m.keep(f, public)
		m.holdAlias(key, f.Root)
	}
}

// keep promises a file and all its blocks.
func (m *machine) keep(f testDAG, public bool) {
	m.file(f).must = true
	for _, blk := range f.all() {
		m.block(blk).must = true
		if public {
			m.open[string(blk.Cid().Hash())] = true
		}
	}
	m.acknowledge() // whatever is committed takes along what waits
}

func (m *machine) putFile(ctx context.Context, f testDAG) {
	s, public := m.as(f.all())
	m.notef("put file %s, for everybody: %v", f.Root, public)
	for _, blk := range f.all() {
		m.block(blk).no = false
	}
	if !m.expect(s.PutMany(ctx, f.all())) {
		return
	}
	m.file(f).no = false
	if m.expect(s.PutFile(ctx, f.File, nil)) {
		m.keep(f, public)
	}
}

func (m *machine) attemptAlias(key string, root cid.Cid) {
	if m.alias[key] == nil {
		m.alias[key] = &promise[cid.Cid]{}
	}
	m.alias[key].mayBe = append(m.alias[key].mayBe, root)
}

func (m *machine) holdAlias(key string, root cid.Cid) {
	*m.alias[key] = promise[cid.Cid]{is: root, must: true}
}

func (m *machine) setAlias(ctx context.Context) {
	f, key := dagOf(m.rng.IntN(24)), fmt.Sprintf("url:%d", m.rng.IntN(6))
	if p := m.files[f.Root.KeyString()]; p == nil || !p.must {
		return // a rebuild keeps only aliases of what is stored
	}
	m.notef("alias %s %s", key, f.Root)
	m.attemptAlias(key, f.Root)
	if m.expect(m.disk.PutAlias(ctx, key, Alias{Root: f.Root})) {
		m.holdAlias(key, f.Root)
		m.acknowledge()
	}
}

func (m *machine) pin(ctx context.Context) {
	f := dagOf(m.rng.IntN(24))
	m.notef("pin %s", f.Root)
	pin := Pin{Root: f.Root}
	key := string(pinKey(pin.Root, pin.Name))
	if m.pins[key] == nil {
		m.pins[key] = &promise[Pin]{is: pin}
	}
	p := m.pins[key]
	p.no = false
	if m.expect(m.disk.Pin(ctx, pin)) {
		p.must = true
		m.acknowledge()
	}
}

func (m *machine) unpin(ctx context.Context) {
	for _, key := range slices.Sorted(maps.Keys(m.pins)) {
		p := m.pins[key]
		if !p.must {
			continue
		}
		m.notef("unpin %s %q", p.is.Root, p.is.Name)
		p.must = false
		if m.expect(m.disk.Unpin(ctx, p.is.Root, p.is.Name)) {
			p.no = true
		}
		return
	}
}

// pinned tells whether a root is pinned for sure.
func (m *machine) pinned(root cid.Cid) bool {
	for _, p := range m.pins {
		if p.is.Root == root && p.must {
			return true
		}
	}
	return false
}

// delete deletes a loose block; those of files would break the files.
func (m *machine) delete(ctx context.Context) {
	p := m.block(looseBlock(m.rng.IntN(60)))
	m.notef("delete %s", p.is)
	p.must, p.waits = false, false
	delete(m.open, string(p.is.Cid().Hash()))
	delete(m.offer, string(p.is.Cid().Hash()))
	if m.expect(m.disk.DeleteBlock(ctx, p.is.Cid())) {
		p.no = true
		m.acknowledge()
	}
}

// collect takes back what was promised of everything that no pin reaches.
func (m *machine) collect(ctx context.Context) {
	m.notef("collect")
	live := make(map[string]bool)
	for _, p := range m.pins {
		if !p.must {
			continue
		}
		live[string(p.is.Root.Hash())] = true
		if f, ok := m.files[p.is.Root.KeyString()]; ok && f.must { // else its root may be gone
			for _, blk := range f.is.all() {
				live[string(blk.Cid().Hash())] = true
			}
		}
	}
	for key, p := range m.blocks {
		if !live[key] {
			p.must, p.waits = false, false
			delete(m.open, key)
			delete(m.offer, key)
		}
	}
	for _, p := range m.files {
		if !m.pinned(p.is.Root) {
			p.must = false
		}
	}
	for _, p := range m.alias {
		if !m.pinned(p.is) {
			p.must = false
		}
	}
	if m.rng.IntN(2) == 0 {
		_, err := m.disk.Collect(ctx, testLinks)
		m.expect(err)
		return
	}
	done, err := m.disk.alone(ctx)
	if !m.expect(err) {
		return
	}
	defer done()
	g := m.disk.newCollector(testLinks)
	g.evict = &eviction{want: m.rng.Int64N(60_000)}
	m.notef("as an eviction of %d bytes", g.evict.want)
	m.disk.flushUses()
	m.expect(m.disk.collect(ctx, g))
}

// check compares the store with what was promised. After a rebuild, what was
// deleted may be back.
func (m *machine) check(rebuilt bool) {
	m.t.Helper()
	ctx := context.Background()
	listed := make(map[string]bool)
	for c, err := range m.disk.Keys(ctx) {
		if err != nil {
			m.fatalf("keys: %v", err)
		}
		listed[string(c.Hash())] = true
	}
	for key, p := range m.blocks {
		got, err := m.disk.Get(ctx, p.is.Cid())
		switch {
		case err == nil && !bytes.Equal(got.RawData(), p.is.RawData()):
			m.fatalf("block %s is WRONG", p.is)
		case err != nil && p.must:
			m.fatalf("block %s is LOST: %v", p.is, err)
		case err != nil && !isNotFound(err):
			m.fatalf("block %s: %v", p.is, err)
		case errors.Is(err, ErrCorrupt):
			m.fatalf("block %s was never acknowledged and is listed: %v", p.is, err)
		case err == nil && p.no && !rebuilt:
			m.fatalf("block %s was deleted and is back", p.is)
		case (err == nil) != listed[key]:
			m.fatalf("block %s: listed %v, got %v", p.is, listed[key], err)
		}
		p.must, p.no, p.waits = err == nil, err != nil, false
	}
	m.seen(rebuilt)
	m.checkFiles(ctx)
	m.checkLabels(ctx, rebuilt)
}

func (m *machine) checkFiles(ctx context.Context) {
	m.t.Helper()
	for key, p := range m.files {
		got, err := m.disk.File(ctx, p.is.Root)
		switch {
		case err == nil && got != p.is.File:
			m.fatalf("file %s is WRONG: %+v", p.is.Root, got)
		case err != nil && p.must:
			m.fatalf("file %s is LOST: %v", p.is.Root, err)
		case err != nil && !isNotFound(err):
			m.fatalf("file %s: %v", p.is.Root, err)
		case err == nil:
			for _, blk := range p.is.all() {
				if _, err := m.disk.Get(ctx, blk.Cid()); err != nil {
					m.fatalf("file %s is HALF: %v", p.is.Root, err)
				}
			}
		}
		p.must, p.no = err == nil, err != nil
		if p.no {
			delete(m.files, key)
		}
	}
}

func (m *machine) checkLabels(ctx context.Context, rebuilt bool) {
	m.t.Helper()
	for n := range 6 {
		if key := fmt.Sprintf("url:%d", n); rebuilt && m.alias[key] == nil {
			m.alias[key] = &promise[cid.Cid]{} // an older one may be back
		}
	}
	for key, p := range m.alias {
		a, err := m.disk.Alias(ctx, key)
		switch {
		case err != nil && p.must && len(p.mayBe) == 0:
			m.fatalf("alias %s is LOST: %v", key, err)
		case err == nil && a.Root != p.is && !slices.Contains(p.mayBe, a.Root) && !rebuilt:
			m.fatalf("alias %s is WRONG: %s, not %s nor %s", key, a.Root, p.is, p.mayBe)
		case err == nil && p.must && len(p.mayBe) == 0 && a.Root != p.is:
			m.fatalf("alias %s is %s, want %s", key, a.Root, p.is)
		}
		if err == nil {
			m.holdAlias(key, a.Root)
		} else {
			delete(m.alias, key)
		}
	}
	pinned := make(map[string]bool)
	for pin, err := range m.disk.Pins(ctx) {
		if err != nil {
			m.fatalf("pins: %v", err)
		}
		key := string(pinKey(pin.Root, pin.Name))
		pinned[key], pinned[pin.Root.KeyString()] = true, true
		if m.pins[key] == nil {
			m.pins[key] = &promise[Pin]{is: pin, no: !rebuilt}
		}
	}
	for key, p := range m.pins {
		_, stored := m.files[p.is.Root.KeyString()]
		switch {
		case p.must && !pinned[key] && !rebuilt, // a rebuild may know it by another name
			p.must && stored && !pinned[p.is.Root.KeyString()]:
			m.fatalf("pin %s is LOST", p.is.Root)
		case p.no && pinned[key] && !rebuilt:
			m.fatalf("pin %s was removed and is back", p.is.Root)
		}
		p.must, p.no = pinned[key], !pinned[key]
	}
	for _, p := range m.files {
		if rebuilt && !m.pinned(p.is.Root) {
			m.fatalf("file %s is not pinned after a rebuild", p.is.Root)
		}
	}
}

// TestPowerCuts cuts the power at any call to the disk or the index, also while
// the store opens, and holds that what was acknowledged is there and right, that
// the rest is there and right or absent, and that a rebuild finds as much.
func TestPowerCuts(t *testing.T) {
	rounds := 250 / slow
	cuts := 0
	for seed := range rounds {
		m := newMachine(t, uint64(seed))
		m.start()
		for range 6 {
			m.left = m.rng.IntN(150)
			for !m.dead {
				m.step()
			}
			m.cut()
			cuts++
			m.left = m.rng.IntN(60)
			m.start()
			m.left = -1
			m.check(false)
			if m.rng.IntN(4) == 0 {
				m.notef("--- index lost")
				m.cut()
				m.idx = newMapIndex(uint64(seed))
				m.start()
				m.check(true)
			}
		}
		if err := m.disk.Close(); err != nil {
			m.fatalf("close: %v", err)
		}
	}
	t.Logf("%d cuts", cuts)
}
