package blockstore

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/ipfs/go-cid"
	mh "github.com/multiformats/go-multihash"
)

// shortHash stands for a multihash in large sets: its last bytes. Two different
// blocks with the same ones are as likely as a broken hash of 128 bits; a set
// that takes one for the other keeps too much, never too little.
type shortHash [16]byte

func shortOf(hash mh.Multihash) (s shortHash) {
	copy(s[:], hash[max(0, len(hash)-len(s)):])
	return s
}

// hashSet is a set of multihashes.
type hashSet map[shortHash]struct{}

func (s hashSet) add(hash mh.Multihash)      { s[shortOf(hash)] = struct{}{} }
func (s hashSet) has(hash mh.Multihash) bool { _, ok := s[shortOf(hash)]; return ok }

// touched remembers what callers were told is stored while a collection runs or
// a hold is open, for they rely on it: a block that somebody found, put or
// committed since then is not collected, nor is a file.
//
// A collection deletes in steps: it condemns what nobody touched, upon which
// lookups no longer find it, and then takes it out of the index. A lookup and
// its note are one step for the collection, so that it sees either both or none.
type touched struct {
	watchers atomic.Int32 // collections and holds
	step     sync.RWMutex // read: a lookup with its note; write: condemning

	mu     sync.Mutex
	serial uint64              // of the last watcher
	open   map[uint64]struct{} // serials of the watchers
	oldest uint64              // of open
	// What was noted, with the serial of the newest watcher then: it counts as
	// long as a watcher is open that is as old as that.
	blocks map[shortHash]uint64
	roots  map[string]touchedRoot // by file key
	most   int                    // how many notes call for a look at which still count

	condemned map[string]struct{} // keys of the index; guarded by step
}

// touchedRoot is a file that was noted.
type touchedRoot struct {
	root   cid.Cid
	serial uint64
}

// leastNotes is how many notes are not worth a look at which still count.
const leastNotes = 1024

func newTouched() *touched {
	t := &touched{open: make(map[uint64]struct{}), condemned: make(map[string]struct{})}
	t.clear()
	return t
}

// clear forgets all notes; the caller holds mu.
func (t *touched) clear() {
	t.blocks, t.roots, t.most = make(map[shortHash]uint64), make(map[string]touchedRoot), leastNotes
}

// watch begins to remember and returns what ends it. When it returns, every
// lookup that began earlier has ended.
func (t *touched) watch() (unwatch func()) {
	t.mu.Lock()
	t.watchers.Add(1)
	t.serial++
	mine := t.serial
	if t.open[mine] = struct{}{}; len(t.open) == 1 {
		t.oldest = mine
	}
	t.mu.Unlock()
	t.step.Lock()
	t.step.Unlock() //nolint:staticcheck // nothing to do but to wait for readers
	var once sync.Once
	return func() { once.Do(func() { t.unwatch(mine) }) }
}

// unwatch ends a watch, and forgets what only that one was told.
func (t *touched) unwatch(mine uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.open, mine)
	if t.watchers.Add(-1) == 0 {
		t.clear()
		return
	}
	if mine != t.oldest {
		return
	}
	t.oldest = slices.Min(slices.Collect(maps.Keys(t.open)))
	if len(t.blocks)+len(t.roots) < t.most {
		return
	}
	maps.DeleteFunc(t.blocks, func(_ shortHash, at uint64) bool { return at < t.oldest })
	maps.DeleteFunc(t.roots, func(_ string, r touchedRoot) bool { return r.serial < t.oldest })
	t.most = max(leastNotes, 2*(len(t.blocks)+len(t.roots)))
}

// block notes a block; the caller holds step for reading.
func (t *touched) block(hash mh.Multihash) {
	if t.watchers.Load() == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.blocks[shortOf(hash)] = t.serial
}

// root notes a file, and with it all that is under it.
func (t *touched) root(c cid.Cid) {
	if t.watchers.Load() == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.blocks[shortOf(c.Hash())] = t.serial
	t.roots[string(fileKey(c))] = touchedRoot{c, t.serial}
}

// file notes a file that is about to be recorded, with all its blocks.
func (t *touched) file(foot *footer) {
	t.step.RLock()
	defer t.step.RUnlock()
	for _, blk := range foot.blocks {
		t.block(blk.cid.Hash())
	}
	t.root(foot.file.Root)
}

// hasBlock tells whether a block was noted.
func (t *touched) hasBlock(hash mh.Multihash) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	at, ok := t.blocks[shortOf(hash)]
	return ok && at >= t.oldest
}

// takeRoots returns the files that were noted since the last call.
func (t *touched) takeRoots(seen map[string]struct{}) []cid.Cid {
	t.mu.Lock()
	defer t.mu.Unlock()
	var fresh []cid.Cid
	for key, r := range t.roots {
		if _, ok := seen[key]; !ok && r.serial >= t.oldest {
			seen[key] = struct{}{}
			fresh = append(fresh, r.root)
		}
	}
	return fresh
}

// isCondemned tells whether a key is on its way out of the index; the caller
// holds step for reading.
func (t *touched) isCondemned(key []byte) bool {
	if len(t.condemned) == 0 {
		return false
	}
	_, ok := t.condemned[string(key)]
	return ok
}

// Hold keeps collections from taking anything that is put, committed or found
// from now on until release is called, which may be done twice. Who stores
// something and pins it afterwards holds meanwhile.
func (d *Disk) Hold() (release func()) {
	unwatch := d.touched.watch()
	return func() {
		unwatch()
		d.quota.changed()
	}
}
