package blockstore

import (
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
	blocks hashSet
	roots  map[string]cid.Cid // by file key

	condemned map[string]struct{} // keys of the index; guarded by step
}

func newTouched() *touched {
	return &touched{blocks: make(hashSet), roots: make(map[string]cid.Cid), condemned: make(map[string]struct{})}
}

// watch begins to remember and returns what ends it. When it returns, every
// lookup that began earlier has ended.
func (t *touched) watch() (unwatch func()) {
	t.watchers.Add(1)
	t.step.Lock()
	t.step.Unlock() //nolint:staticcheck // nothing to do but to wait for readers
	var once sync.Once
	return func() {
		once.Do(func() {
			t.mu.Lock()
			defer t.mu.Unlock()
			if t.watchers.Add(-1) == 0 {
				t.blocks, t.roots = make(hashSet), make(map[string]cid.Cid)
			}
		})
	}
}

// block notes a block; the caller holds step for reading.
func (t *touched) block(hash mh.Multihash) {
	if t.watchers.Load() == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.blocks.add(hash)
}

// root notes a file, and with it all that is under it.
func (t *touched) root(c cid.Cid) {
	if t.watchers.Load() == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.blocks.add(c.Hash())
	t.roots[string(fileKey(c))] = c
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
	return t.blocks.has(hash)
}

// takeRoots returns the files that were noted since the last call.
func (t *touched) takeRoots(seen map[string]struct{}) []cid.Cid {
	t.mu.Lock()
	defer t.mu.Unlock()
	var fresh []cid.Cid
	for key, c := range t.roots {
		if _, ok := seen[key]; !ok {
			seen[key] = struct{}{}
			fresh = append(fresh, c)
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
func (d *Disk) Hold() (release func()) { return d.touched.watch() }
