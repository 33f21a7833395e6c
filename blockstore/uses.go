package blockstore

import (
	"encoding/binary"
	"fmt"
	"sync"

	mh "github.com/multiformats/go-multihash"
)

const (
	// usesMost is how many uses wait to be written at most.
	usesMost = 4096
	// usesKept is how many are remembered at most, so that what is read again and
	// again is written once.
	usesKept = 4 * usesMost
)

// use is when something was used, in nanoseconds since 1970.
type use struct {
	first int64 // of a pack: when it was begun; else 0
	last  int64
}

// uses remembers when things were used last: file segments as a whole, blocks in
// packs one by one, and packs when they are appended to. It is exact while the
// store is open; the index is told along with other changes, and by Tend each
// minute, so that no read waits for the disk.
type uses struct {
	mu    sync.Mutex
	at    map[string]use // by segment (8 bytes, big endian) or multihash
	fresh map[string]struct{}
}

func newUses() *uses {
	return &uses{at: make(map[string]use), fresh: make(map[string]struct{})}
}

// note remembers a use and tells whether it is time to flush.
func (u *uses) note(key []byte, now int64) (full bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	at := u.at[string(key)]
	at.last = now
	u.at[string(key)] = at
	u.fresh[string(key)] = struct{}{}
	return len(u.fresh) >= usesMost
}

// begin remembers that a pack is appended to.
func (u *uses) begin(key []byte, now int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	at := u.at[string(key)]
	if at.first == 0 {
		at.first = now
	}
	at.last = now
	u.at[string(key)] = at
	u.fresh[string(key)] = struct{}{}
}

// take returns the writes to the index that tell of what was noted since the last
// call; known returns what the index has.
func (u *uses) take(known func(key []byte) (use, bool)) []indexOp {
	u.mu.Lock()
	defer u.mu.Unlock()
	ops := make([]indexOp, 0, len(u.fresh))
	for key := range u.fresh {
		k, at := useKey([]byte(key)), u.at[key]
		if at.first != 0 {
			if old, ok := known(k); ok && old.first != 0 {
				at.first = min(at.first, old.first)
			}
		}
		ops = append(ops, indexOp{k, at.encode()})
	}
	clear(u.fresh)
	if len(u.at) > usesKept {
		clear(u.at)
	}
	return ops
}

// useKey is the key of what is known of a use; key is a segment's number, big
// endian, or a multihash, which is never of 8 bytes.
func useKey(key []byte) []byte { return append([]byte{keyUse}, key...) }

func segmentUse(id uint64) []byte { return binary.BigEndian.AppendUint64(nil, id) }

func (u use) encode() []byte {
	b := binary.AppendVarint(make([]byte, 0, 20), u.last)
	return binary.AppendVarint(b, u.first)
}

func decodeUse(b []byte) (u use, err error) {
	d := decoder{b: b}
	u.last, u.first = d.varint(), d.varint()
	if err := d.finish(); err != nil {
		return use{}, fmt.Errorf("use: %w", errValue)
	}
	return u, nil
}

// useBlock notes that a block was read.
func (d *Disk) useBlock(hash mh.Multihash, e extent) {
	if d.quota == nil {
		return
	}
	key := []byte(hash)
	if kindOf(e.seg) == fileSegment || len(hash) == 8 {
		key = segmentUse(e.seg)
	}
	if d.uses.note(key, d.now()) {
		d.flushUses()
	}
}

// useSegment notes that a file segment was made.
func (d *Disk) useSegment(id uint64) {
	if d.quota != nil {
		d.uses.note(segmentUse(id), d.now())
	}
}

// flushUses hands what was noted to the index, which the next commit tells it.
func (d *Disk) flushUses() {
	if d.quota == nil {
		return
	}
	d.lazy.add(d.uses.take(func(key []byte) (u use, ok bool) {
		err := d.index.get(key, func(v []byte) (err error) {
			u, err = decodeUse(v)
			return err
		})
		return u, err == nil
	}))
}
