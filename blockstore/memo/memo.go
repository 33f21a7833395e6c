// Package memo remembers small texts between runs, as what a hub has told of a
// repository: the latest in memory, and those that are worth it in a bucket of the
// store's index. Both are bounded, and what was not used for longest goes first.
package memo

import (
	"bytes"
	"container/list"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"sync"

	"github.com/hypha-node/hypha-node/blockstore"
)

// Bounds of what is remembered. The listing of a repository of 1,000 files is
// some 50 KiB when it is packed.
const (
	memoryBytes = 64 << 20
	diskBytes   = 64 << 20
	diskRecords = 100_000
	maxRecord   = 256 << 10 // bytes of one record on disk: about what the index takes
	overhead    = 200       // bytes of memory that an entry takes beside key and value, about
)

// Table remembers values under keys of any length. It is safe for concurrent use;
// its values are not to be changed. A nil Table remembers nothing.
type Table struct {
	records     blockstore.Records
	log         *slog.Logger
	memoryLimit int64 // bytes
	diskLimit   int64 // bytes

	mu     sync.Mutex
	memory lru

	writing sync.Mutex
	disk    lru // what is on disk, oldest last; values are not held
	known   bool
}

// lru is a list of keys, the last used first.
type lru struct {
	order list.List // of *held
	by    map[string]*list.Element
	bytes int64
}

// held is an entry of an lru.
type held struct {
	key    string
	value  []byte
	size   int64
	stored bool // on disk, too
}

// New returns a table over a bucket that is nobody else's.
func New(records blockstore.Records, log *slog.Logger) *Table {
	t := &Table{records: records, log: log, memoryLimit: memoryBytes, diskLimit: diskBytes}
	t.memory.by, t.disk.by = map[string]*list.Element{}, map[string]*list.Element{}
	return t
}

// Key returns the key for some texts: of fixed length, and telling nothing.
func Key(texts ...string) string {
	sum := sha256.New()
	for _, s := range texts {
		fmt.Fprintf(sum, "%d:%s", len(s), s)
	}
	return hex.EncodeToString(sum.Sum(nil)[:16])
}

// Get returns a value, nil if there is none.
func (t *Table) Get(ctx context.Context, key string) []byte {
	if t == nil {
		return nil
	}
	t.mu.Lock()
	value := t.memory.use(key)
	t.mu.Unlock()
	if value != nil {
		return value
	}
	value, err := t.records.Get(ctx, key)
	if err != nil || value == nil {
		return nil // absent; a store that fails is noticed elsewhere
	}
	t.hold(key, value, true)
	return value
}

// Note remembers a value in memory only.
func (t *Table) Note(key string, value []byte) {
	if t != nil {
		t.hold(key, value, false)
	}
}

// hold keeps a value in memory. It tells whether the very value is on disk.
func (t *Table) hold(key string, value []byte, stored bool) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e := t.memory.by[key]; e != nil {
		h := heldBy(e)
		stored = stored || h.stored && bytes.Equal(h.value, value)
	}
	t.memory.put(&held{key, value, int64(len(value)+len(key)) + overhead, stored})
	for t.memory.bytes > t.memoryLimit {
		t.memory.dropLast()
	}
	return stored
}

// Put remembers a value on disk, too, unless it is large. That the disk does not take
// it costs a request some day, and is no error.
func (t *Table) Put(ctx context.Context, key string, value []byte) {
	if t == nil || t.hold(key, value, false) || len(value) > maxRecord {
		return
	}
	switch err := t.write(ctx, key, value); {
	case err == nil:
		t.hold(key, value, true)
	case ctx.Err() == nil:
		t.log.WarnContext(ctx, "metadata is not kept", slog.Any("error", err))
	}
}

// write writes a record and drops the oldest ones that there is no room for.
func (t *Table) write(ctx context.Context, key string, value []byte) error {
	if err := t.records.Put(ctx, key, value); err != nil {
		return err
	}
	t.writing.Lock()
	defer t.writing.Unlock()
	if !t.known {
		for r, err := range t.records.All(ctx, "") {
			if err != nil {
				return err
			}
			t.disk.put(&held{key: r.Key, size: int64(len(r.Value) + len(r.Key))})
		}
		t.known = true
	}
	t.disk.put(&held{key: key, size: int64(len(value) + len(key))})
	for t.disk.bytes > t.diskLimit || t.disk.order.Len() > diskRecords {
		if err := t.records.Delete(ctx, t.disk.dropLast()); err != nil {
			return err
		}
	}
	return nil
}

// use returns a value and makes it the last used.
func (l *lru) use(key string) []byte {
	e := l.by[key]
	if e == nil {
		return nil
	}
	l.order.MoveToFront(e)
	return heldBy(e).value
}

// put adds an entry, in the place of one with the same key.
func (l *lru) put(h *held) {
	if e := l.by[h.key]; e != nil {
		l.remove(e)
	}
	l.by[h.key] = l.order.PushFront(h)
	l.bytes += h.size
}

// dropLast removes the entry that was not used for longest and returns its key.
func (l *lru) dropLast() string { return l.remove(l.order.Back()) }

func (l *lru) remove(e *list.Element) string {
	h := heldBy(e)
	l.order.Remove(e)
	delete(l.by, h.key)
	l.bytes -= h.size
	return h.key
}

// heldBy returns what an element of an lru is.
func heldBy(e *list.Element) *held {
	if h, ok := e.Value.(*held); ok {
		return h
	}
	return &held{}
}
