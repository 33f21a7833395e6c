package blockstore

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"

	boxoblockstore "github.com/ipfs/boxo/blockstore"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
	mh "github.com/multiformats/go-multihash"
)

// sha256Alias begins the key of the alias that every file has.
const sha256Alias = "sha256:"

// errSpent says that a FileWriter was used after Commit or Abort.
var errSpent = errors.New("file writer is spent")

// NewFile begins a file; nothing of it is visible before Commit.
func (m *Memory) NewFile(ctx context.Context, size int64) (FileWriter, error) {
	return m.newFileFor(ctx, "", size)
}

func (m *Memory) newFileFor(ctx context.Context, scope string, size int64) (FileWriter, error) {
	if err := m.rlock(ctx); err != nil {
		return nil, err
	}
	defer m.mu.RUnlock()
	if m.limit > 0 && m.held+max(size, 0) > m.limit {
		return nil, fmt.Errorf("memory: %d of %d bytes held, %d wanted: %w", m.held, m.limit, size, ErrNoSpace)
	}
	return &memoryWriter{m: m, scope: scope, blocks: make(map[string]*memoryBlock)}, nil
}

// File returns the record of a file, or makes one up for a stored raw sha2-256 block.
func (m *Memory) File(ctx context.Context, root cid.Cid) (File, error) {
	if err := m.rlock(ctx); err != nil {
		return File{}, err
	}
	defer m.mu.RUnlock()
	if f, ok := m.files[asV1(root)]; ok {
		return f.File, nil
	}
	if sum, ok := rawDigest(root); ok {
		if b := m.find(root); b != nil {
			return File{Root: root, Size: int64(len(b.data)), SHA256: sum}, nil
		}
	}
	return File{}, fmt.Errorf("file: %w", ipld.ErrNotFound{Cid: root})
}

// PutFile records a file whose root is stored.
func (m *Memory) PutFile(ctx context.Context, f File, aliases map[string][]byte) error {
	return m.putFileFor(ctx, "", f, aliases)
}

func (m *Memory) putFileFor(ctx context.Context, scope string, f File, aliases map[string][]byte) error {
	if err := m.lock(ctx); err != nil {
		return err
	}
	defer m.mu.Unlock()
	return m.enter(scope, f, nil, aliases)
}

// OpenFile always answers ErrScattered for a file that is stored.
func (m *Memory) OpenFile(ctx context.Context, root cid.Cid) (*Content, error) {
	if _, err := m.File(ctx, root); err != nil {
		return nil, err
	}
	return nil, fmt.Errorf("file %s: %w", root, ErrScattered)
}

// enter stores the blocks of a file, its record and its aliases, or nothing;
// the caller holds the lock.
func (m *Memory) enter(scope string, f File, fresh map[string]*memoryBlock, aliases map[string][]byte) error {
	_, inline := identityData(f.Root)
	if !inline && m.find(f.Root) == nil && fresh[string(f.Root.Hash())] == nil {
		return fmt.Errorf("file without its root: %w", ipld.ErrNotFound{Cid: f.Root})
	}
	root := m.find(f.Root)
	private := scope != "" && (root == nil || !m.audience(f.Root).Public)
	for _, b := range fresh {
		b.private = private
	}
	if err := m.insert(fresh); err != nil {
		return err
	}
	if private && !inline {
		if err := m.addAudience(f.Root, Audience{Scopes: []string{scope}}); err != nil {
			return err
		}
	}
	needs := m.files[asV1(f.Root)].blocks
	if needs == nil {
		needs = make(map[string]struct{}, len(fresh))
	}
	for key := range fresh {
		needs[key] = struct{}{}
	}
	m.files[asV1(f.Root)] = memoryFile{f, needs}
	for key, meta := range aliases {
		m.alias[key] = Alias{Root: f.Root, Meta: bytes.Clone(meta)}
	}
	key := sha256Alias + hex.EncodeToString(f.SHA256[:])
	if _, given := aliases[key]; !given {
		m.alias[key] = Alias{Root: f.Root}
	}
	return nil
}

// memoryWriter collects the blocks of one file.
type memoryWriter struct {
	m      *Memory
	mu     sync.Mutex
	blocks map[string]*memoryBlock // nil when spent
	scope  string                  // whom the file is for; "": everybody
}

func (w *memoryWriter) WriteLeaf(off int64, c cid.Cid, data []byte) error {
	if off < 0 {
		return fmt.Errorf("leaf %s at offset %d", c, off)
	}
	return w.put(c, data)
}

func (w *memoryWriter) PutNode(blk blocks.Block) error {
	return w.put(blk.Cid(), blk.RawData())
}

func (w *memoryWriter) put(c cid.Cid, data []byte) error {
	if !c.Defined() {
		return errors.New("block without CID")
	}
	if len(data) > memoryBlockLimit {
		return fmt.Errorf("block %s: %d bytes, at most %d", c, len(data), memoryBlockLimit)
	}
	w.m.mu.RLock()
	closed := w.m.closed
	w.m.mu.RUnlock()
	if closed {
		return ErrClosed
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.blocks == nil {
		return errSpent
	}
	if _, ok := identityData(c); !ok {
		w.blocks[string(c.Hash())] = &memoryBlock{data: bytes.Clone(data)}
	}
	return nil
}

func (w *memoryWriter) Commit(ctx context.Context, f File, aliases map[string][]byte) error {
	if err := w.m.lock(ctx); err != nil {
		return err
	}
	defer w.m.mu.Unlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.blocks == nil {
		return errSpent
	}
	if err := w.m.enter(w.scope, f, w.blocks, aliases); err != nil {
		return err
	}
	w.blocks = nil
	return nil
}

func (w *memoryWriter) Abort() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.blocks = nil
	return nil
}

// identityData returns the bytes that an identity CID carries in itself.
func identityData(c cid.Cid) ([]byte, bool) {
	if !c.Defined() || c.Prefix().MhType != mh.IDENTITY {
		return nil, false
	}
	hash, err := mh.Decode(c.Hash())
	if err != nil {
		return nil, false
	}
	return hash.Digest, true
}

// checkBlock refuses a block that is too large or does not hash to its CID.
func checkBlock(blk blocks.Block) error {
	if !blk.Cid().Defined() {
		return errors.New("block without CID")
	}
	if n := len(blk.RawData()); n > memoryBlockLimit {
		return fmt.Errorf("block %s: %d bytes, at most %d", blk.Cid(), n, memoryBlockLimit)
	}
	return checkHash(blk.Cid(), blk.RawData())
}

// checkHash returns an error that is boxo's ErrHashMismatch when data does not hash to c.
func checkHash(c cid.Cid, data []byte) error {
	got, err := c.Prefix().Sum(data)
	if err != nil {
		return fmt.Errorf("block %s: %w", c, err)
	}
	if !got.Equals(c) {
		return fmt.Errorf("block %s has bytes of %s: %w", c, got, boxoblockstore.ErrHashMismatch)
	}
	return nil
}

// asV1 returns the CIDv1 of c, which CIDv0 and CIDv1 of one block share.
func asV1(c cid.Cid) cid.Cid {
	if !c.Defined() || c.Version() == 1 {
		return c
	}
	return cid.NewCidV1(cid.DagProtobuf, c.Hash())
}

// rawDigest returns the digest of a raw sha2-256 CID, which is the sha256 of the
// file that consists of that one leaf.
func rawDigest(c cid.Cid) (sum [sha256.Size]byte, ok bool) {
	if !c.Defined() || c.Type() != cid.Raw {
		return sum, false
	}
	hash, err := mh.Decode(c.Hash())
	if err != nil || hash.Code != mh.SHA2_256 || len(hash.Digest) != sha256.Size {
		return sum, false
	}
	return [sha256.Size]byte(hash.Digest), true
}

// rawOfAlias returns the raw CIDv1 whose digest a "sha256:<hex>" alias names.
func rawOfAlias(key string) (cid.Cid, bool) {
	digest, ok := strings.CutPrefix(key, sha256Alias)
	if !ok {
		return cid.Undef, false
	}
	sum, err := hex.DecodeString(digest)
	if err != nil || len(sum) != sha256.Size {
		return cid.Undef, false
	}
	hash, err := mh.Encode(sum, mh.SHA2_256)
	if err != nil {
		return cid.Undef, false
	}
	return cid.NewCidV1(cid.Raw, hash), true
}
