package blockstore

import (
	"errors"
	"fmt"
	"maps"
	"sync"

	blocks "github.com/ipfs/go-block-format"

	"github.com/hypha-node/hypha-node/blockstore/internal/vfs"
)

const (
	packLimit   = 256 << 20 // bytes after which a new pack is begun
	packBuffer  = 512 << 10 // bytes that are written at once
	pendingMost = 64 << 20  // bytes of blocks that wait for Sync at most
	pendingKeys = 16 << 10  // blocks that wait for Sync at most
)

// pack is the write side of pack segments: blocks and facts are appended to the
// newest pack, through a buffer. What was appended is readable at once and
// durable after begin, fdatasync and the index (commit.go).
type pack struct {
	segs  *segments
	space *space
	limit int64 // bytes after which a new pack is begun

	mu       sync.Mutex
	id       uint64   // newest pack, 0: none yet
	f        vfs.File // opened for writing
	size     int64    // bytes of the newest pack, with buf
	buf      []byte   // end of the newest pack that is not written yet
	bytes    int64    // of blocks in fresh
	fresh    map[string]pending
	epoch    uint64             // the oldest in which the index did not know a fresh block
	flushing map[string]pending // being committed
	unsynced []*packFile        // written to since the last commit
	created  bool               // the directory has an entry that is not durable
	failed   error              // nothing more can be made durable
}

// packFile is a pack that has to be synced, with what the index will be told.
type packFile struct {
	id   uint64
	f    vfs.File
	size int64
}

func newPack(segs *segments, space *space) *pack {
	return &pack{segs: segs, space: space, limit: packLimit, fresh: make(map[string]pending)}
}

// pending is a block that waits to be committed.
type pending struct {
	at      extent
	private bool
}

// find returns a block that waits to be committed.
func (p *pack) find(hash string) (pending, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.findLocked(hash)
}

func (p *pack) findLocked(hash string) (pending, bool) {
	if e, ok := p.fresh[hash]; ok {
		return e, true
	}
	e, ok := p.flushing[hash]
	return e, ok
}

// forget drops a block that waits, as it does while the disk is full.
func (p *pack) forget(hash []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.fresh, string(hash))
}

// newest returns the number of the pack that is appended to.
func (p *pack) newest() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.id
}

// waiting returns the blocks that wait to be committed.
func (p *pack) waiting() map[string]pending {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make(map[string]pending, len(p.fresh)+len(p.flushing))
	maps.Copy(all, p.flushing)
	maps.Copy(all, p.fresh)
	return all
}

// put appends verified blocks that are not waiting already, for everybody or not,
// and tells whether so many wait now that they should be committed.
func (p *pack) put(epoch uint64, private bool, blks ...blocks.Block) (full bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failed != nil {
		return false, p.failed
	}
	for _, blk := range blks {
		hash := string(blk.Cid().Hash())
		if e, ok := p.findLocked(hash); ok {
			if private || !e.private {
				continue
			}
			epoch = 0 // the index is told, or will have been
		}
		data := blk.RawData()
		var head [maxRecordHead]byte
		off, err := p.append(appendBlockHead(head[:0], blk.Cid(), len(data), private), data)
		if err != nil {
			return false, fmt.Errorf("block %s: %w", blk.Cid(), err)
		}
		if len(p.fresh) == 0 || epoch < p.epoch {
			p.epoch = epoch
		}
		p.fresh[hash] = pending{extent{seg: p.id, off: off, length: int64(len(data))}, private}
		p.bytes += int64(len(data))
	}
	return p.bytes >= pendingMost || len(p.fresh) >= pendingKeys, nil
}

// fact appends a record that only a rebuild of the index reads.
func (p *pack) fact(rec []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failed != nil {
		return p.failed
	}
	_, err := p.append(rec, nil)
	return err
}

// append adds one record and returns where its payload lies; on an error it has
// added nothing. The caller holds mu.
func (p *pack) append(head, payload []byte) (int64, error) {
	if p.id == 0 || p.size >= p.limit {
		if err := p.rotate(); err != nil {
			return 0, err
		}
	}
	n := len(head) + len(payload)
	if len(p.buf)+n > packBuffer {
		if err := p.write(); err != nil {
			return 0, err
		}
	}
	at := p.size + int64(len(head))
	if n > packBuffer {
		if err := p.writeLarge(head, payload); err != nil {
			return 0, err
		}
		return at, nil
	}
	if p.buf == nil {
		p.buf = make([]byte, 0, packBuffer)
	}
	p.buf = append(append(p.buf, head...), payload...)
	p.size += int64(n)
	p.touched()
	return at, nil
}

// touched notes that the newest pack has to be synced.
func (p *pack) touched() {
	if n := len(p.unsynced); n == 0 || p.unsynced[n-1].id != p.id {
		p.unsynced = append(p.unsynced, &packFile{id: p.id, f: p.f})
	}
	p.unsynced[len(p.unsynced)-1].size = p.size
}

// write moves the buffer to the file. After an error it can be called again.
func (p *pack) write() error {
	if len(p.buf) == 0 {
		return nil
	}
	if err := p.space.want(int64(len(p.buf))); err != nil {
		return err
	}
	if _, err := p.f.WriteAt(p.buf, p.size-int64(len(p.buf))); err != nil {
		return noSpace(err)
	}
	p.buf = p.buf[:0]
	return nil
}

// writeLarge appends a record that is larger than the buffer, which is empty.
func (p *pack) writeLarge(head, payload []byte) error {
	n := int64(len(head) + len(payload))
	if err := p.space.want(n); err != nil {
		return err
	}
	if _, err := p.f.WriteAt(head, p.size); err != nil {
		return noSpace(err)
	}
	if _, err := p.f.WriteAt(payload, p.size+int64(len(head))); err != nil {
		return noSpace(err)
	}
	p.size += n
	p.touched()
	return nil
}

// rotate begins a new pack; the old one is closed when it has been synced.
func (p *pack) rotate() error {
	if err := p.write(); err != nil {
		return err
	}
	id := p.segs.allocate(packSegment)
	f, err := p.segs.fs.Open(segmentName(id), vfs.Create)
	if err != nil {
		return noSpace(err)
	}
	old, touched := p.f, len(p.unsynced) > 0 && p.unsynced[len(p.unsynced)-1].id == p.id
	p.id, p.f, p.size, p.created = id, f, 0, true
	if old != nil && !touched {
		return old.Close()
	}
	return nil
}

// resume continues a pack of the last run; the last call counts.
func (p *pack) resume(id uint64, size int64) error {
	f, err := p.segs.fs.Open(segmentName(id), vfs.Write)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	old := p.f
	p.id, p.f, p.size = id, f, size
	if old != nil {
		return old.Close()
	}
	return nil
}

// read copies an extent of the newest pack that is still in the buffer to dst
// and tells whether it was.
func (p *pack) read(dst []byte, e extent) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	start := p.size - int64(len(p.buf))
	if e.seg != p.id || e.off < start {
		return false
	}
	return copy(dst, p.buf[e.off-start:]) == len(dst)
}

// flush is what one commit takes on: blocks whose extents go to the index once
// the packs are synced.
type flush struct {
	blocks  map[string]pending
	epoch   uint64
	packs   []*packFile
	syncDir bool
}

// begin writes the buffer out and takes all that waits; end must follow.
func (p *pack) begin() (*flush, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failed != nil {
		return nil, p.failed
	}
	if err := p.write(); err != nil {
		return nil, err
	}
	fl := &flush{blocks: p.fresh, epoch: p.epoch, packs: p.unsynced, syncDir: p.created}
	p.flushing, p.fresh, p.bytes = p.fresh, make(map[string]pending), 0
	p.unsynced, p.created = nil, false
	return fl, nil
}

// sync makes the packs durable.
func (fl *flush) sync(fs vfs.FS) error {
	for _, f := range fl.packs {
		if err := f.f.Sync(); err != nil {
			return err
		}
	}
	if fl.syncDir {
		return fs.SyncDir()
	}
	return nil
}

// end tells the pack how the commit went. What could not be made durable never
// will be, as far as the kernel tells (a second fsync succeeds without having
// written), so that an error ends all writing until the store is opened again.
func (p *pack) end(fl *flush, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		if p.failed == nil {
			p.failed = fmt.Errorf("store takes no more writes until it is opened again: %w", err)
		}
		return // what was to be committed stays readable
	}
	p.flushing = nil
	for _, f := range fl.packs {
		if f.id != p.id {
			err = errors.Join(err, f.f.Close())
		}
	}
	_ = err
}

// close writes nothing; the caller has committed.
func (p *pack) close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failed == nil {
		p.failed = ErrClosed
	}
	if p.f == nil {
		return nil
	}
	err := p.f.Close()
	p.f = nil
	return err
}
