package blockstore

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"sync"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
	mh "github.com/multiformats/go-multihash"
)

// memoryBlockLimit is the most a block may hold, in bytes: what bitswap carries
// (docs/terms.md, block).
const memoryBlockLimit = 2 << 20

// Memory is a Store for tests: it keeps every promise of the contract but
// durability, and it is strict where a lenient store would hide a mistake: bytes
// that View handed out are overwritten when the call returns, and Get returns a
// copy. Corrupt and SetLimit make it fail like a disk.
type Memory struct {
	mu     sync.RWMutex
	blocks map[string]*memoryBlock      // by multihash
	files  map[cid.Cid]memoryFile       // by CIDv1 of the root
	alias  map[string]Alias             // by key
	pins   map[memoryPin]Pin            // by CIDv1 of the root and name
	record map[string]map[string][]byte // by bucket and key
	held   int64                        // bytes of all blocks
	limit  int64                        // bytes that may be held, 0: no limit
	closed bool

	done    chan struct{}  // closed by Close
	listing sync.WaitGroup // goroutines of AllKeysChan
}

// memoryBlock is one stored block; its identity tells a dropped block from the
// same block that was put again meanwhile.
type memoryBlock struct {
	data    []byte
	private bool
}

// memoryFile is a file and the multihashes of the blocks that came with it, so
// that the record goes when one of them does.
type memoryFile struct {
	File
	blocks map[string]struct{}
}

type memoryPin struct {
	root cid.Cid
	name string
}

var _ Store = (*Memory)(nil)

// NewMemory returns an empty store that lives as long as the process.
func NewMemory() *Memory {
	return &Memory{
		blocks: make(map[string]*memoryBlock),
		files:  make(map[cid.Cid]memoryFile),
		alias:  make(map[string]Alias),
		pins:   make(map[memoryPin]Pin),
		record: make(map[string]map[string][]byte),
		done:   make(chan struct{}),
	}
}

// Close drops nothing, but every later call answers ErrClosed. It ends the
// listings of AllKeysChan and waits for them.
func (m *Memory) Close() error {
	m.mu.Lock()
	if !m.closed {
		m.closed = true
		close(m.done)
	}
	m.mu.Unlock()
	m.listing.Wait()
	return nil
}

// SetLimit makes the store refuse, with ErrNoSpace, whatever would make it hold
// more than n bytes of blocks; 0 lifts the limit.
func (m *Memory) SetLimit(n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.limit = n
}

// Fits returns ErrNoSpace if n bytes of new content would not be taken now.
func (m *Memory) Fits(_ context.Context, n int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.room(n)
}

// room is Fits; the caller holds the lock.
func (m *Memory) room(more int64) error {
	if m.limit > 0 && m.held+more > m.limit {
		return fmt.Errorf("memory: %d of %d bytes held, %d wanted: %w", m.held, m.limit, more, ErrNoSpace)
	}
	return nil
}

// Corrupt flips one bit of a stored block, so that tests see what a reader does
// with a bad disk. It reports whether there was a bit to flip.
func (m *Memory) Corrupt(c cid.Cid) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	b := m.blocks[string(c.Hash())]
	if b == nil || len(b.data) == 0 {
		return false
	}
	// A new slice, for readers hash the old one without the lock.
	bad := bytes.Clone(b.data)
	bad[len(bad)/2] ^= 1
	b.data = bad
	return true
}

// rlock takes the lock for reading; the caller unlocks it unless there is an error.
func (m *Memory) rlock(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.RLock()
	if m.closed {
		m.mu.RUnlock()
		return ErrClosed
	}
	return nil
}

// lock takes the lock for writing; the caller unlocks it unless there is an error.
func (m *Memory) lock(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return ErrClosed
	}
	return nil
}

// Has tells whether the block is stored; its bytes are not looked at.
func (m *Memory) Has(ctx context.Context, c cid.Cid) (bool, error) {
	_, err := m.GetSize(ctx, c)
	if ipld.IsNotFound(err) {
		return false, nil
	}
	return err == nil, err
}

// GetSize returns the bytes of a block, -1 beside an error.
func (m *Memory) GetSize(ctx context.Context, c cid.Cid) (int, error) {
	if err := m.rlock(ctx); err != nil {
		return -1, err
	}
	defer m.mu.RUnlock()
	if data, ok := identityData(c); ok {
		return len(data), nil
	}
	b := m.find(c)
	if b == nil {
		return -1, ipld.ErrNotFound{Cid: c}
	}
	return len(b.data), nil
}

// Get returns a block, verified.
func (m *Memory) Get(ctx context.Context, c cid.Cid) (blocks.Block, error) {
	data, err := m.read(ctx, c)
	if err != nil {
		return nil, err
	}
	return blocks.NewBlockWithCid(data, c)
}

// View calls f with the verified bytes of a block; they are overwritten when f returns.
func (m *Memory) View(ctx context.Context, c cid.Cid, f func([]byte) error) error {
	data, err := m.read(ctx, c)
	if err != nil {
		return err
	}
	defer clear(data)
	return f(data)
}

// read returns a verified copy of a block's bytes. A block that went bad is
// dropped, and with it every file that came with it.
func (m *Memory) read(ctx context.Context, c cid.Cid) ([]byte, error) {
	if err := m.rlock(ctx); err != nil {
		return nil, err
	}
	if data, ok := identityData(c); ok {
		m.mu.RUnlock()
		return bytes.Clone(data), nil
	}
	b := m.find(c)
	if b == nil {
		m.mu.RUnlock()
		return nil, ipld.ErrNotFound{Cid: c}
	}
	data := bytes.Clone(b.data)
	m.mu.RUnlock()
	if err := checkHash(c, data); err != nil {
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.find(c) == b {
			m.drop(string(c.Hash()))
		}
		return nil, fmt.Errorf("%w: %w: %w", ErrCorrupt, err, ipld.ErrNotFound{Cid: c})
	}
	return data, nil
}

// Put stores a block whose bytes hash to its CID.
func (m *Memory) Put(ctx context.Context, blk blocks.Block) error {
	return m.putMany(ctx, []blocks.Block{blk}, false)
}

// PutMany stores all of the blocks, or none when one of them is refused.
func (m *Memory) PutMany(ctx context.Context, blks []blocks.Block) error {
	return m.putMany(ctx, blks, false)
}

func (m *Memory) putMany(ctx context.Context, blks []blocks.Block, private bool) error {
	fresh := make(map[string]*memoryBlock, len(blks))
	for _, blk := range blks {
		if err := checkBlock(blk); err != nil {
			return err
		}
		if _, ok := identityData(blk.Cid()); !ok {
			fresh[string(blk.Cid().Hash())] = &memoryBlock{bytes.Clone(blk.RawData()), private}
		}
	}
	if err := m.lock(ctx); err != nil {
		return err
	}
	defer m.mu.Unlock()
	return m.insert(fresh)
}

// DeleteBlock forgets a block, and with it every file that came with it.
func (m *Memory) DeleteBlock(ctx context.Context, c cid.Cid) error {
	if err := m.lock(ctx); err != nil {
		return err
	}
	defer m.mu.Unlock()
	if c.Defined() {
		m.drop(string(c.Hash()))
	}
	return nil
}

// Keys yields every stored block as CIDv1 raw of its multihash.
func (m *Memory) Keys(ctx context.Context) iter.Seq2[cid.Cid, error] {
	return func(yield func(cid.Cid, error) bool) {
		if err := m.rlock(ctx); err != nil {
			yield(cid.Undef, err)
			return
		}
		keys := slices.Collect(maps.Keys(m.blocks))
		m.mu.RUnlock()
		for _, key := range keys {
			if err := m.rlock(ctx); err != nil {
				yield(cid.Undef, err)
				return
			}
			m.mu.RUnlock()
			if !yield(cid.NewCidV1(cid.Raw, mh.Multihash(key)), nil) {
				return
			}
		}
	}
}

// AllKeysChan is Keys as boxo's libraries want it: a listing that is cut looks
// like one that ended.
func (m *Memory) AllKeysChan(ctx context.Context) (<-chan cid.Cid, error) {
	return m.listKeys(ctx, m.Keys(ctx))
}

func (m *Memory) listKeys(ctx context.Context, keys iter.Seq2[cid.Cid, error]) (<-chan cid.Cid, error) {
	if err := m.lock(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	out := make(chan cid.Cid)
	m.listing.Go(func() {
		defer close(out)
		for c, err := range keys {
			if err != nil {
				return
			}
			select {
			case out <- c:
			case <-ctx.Done():
				return
			case <-m.done:
				return
			}
		}
	})
	return out, nil
}

// Sync has nothing to do but to tell whether the store is open.
func (m *Memory) Sync(ctx context.Context) error {
	if err := m.rlock(ctx); err != nil {
		return err
	}
	m.mu.RUnlock()
	return nil
}

// find returns a stored block or nil; the caller holds the lock.
func (m *Memory) find(c cid.Cid) *memoryBlock {
	if !c.Defined() {
		return nil
	}
	return m.blocks[string(c.Hash())]
}

// insert stores all of the blocks that are absent, or none when they don't fit;
// the caller holds the lock.
func (m *Memory) insert(fresh map[string]*memoryBlock) error {
	var more int64
	for key, b := range fresh {
		if m.blocks[key] == nil {
			more += int64(len(b.data))
		}
	}
	if err := m.room(more); err != nil {
		return err
	}
	for key, b := range fresh {
		if old := m.blocks[key]; old == nil {
			m.blocks[key] = b
		} else if old.private && !b.private {
			old.private = false
		}
	}
	m.held += more
	return nil
}

// drop forgets the block with that multihash and the files that need it; the
// caller holds the lock.
func (m *Memory) drop(key string) {
	b := m.blocks[key]
	if b == nil {
		return
	}
	delete(m.blocks, key)
	m.held -= int64(len(b.data))
	maps.DeleteFunc(m.files, func(root cid.Cid, f memoryFile) bool {
		_, needs := f.blocks[key]
		return needs || string(root.Hash()) == key
	})
}
