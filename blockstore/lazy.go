package blockstore

import (
	"bytes"
	"maps"
	"slices"
	"strings"
	"sync"
)

const (
	lazyKeys  = 1024    // writes that wait in a lazyMap at most
	lazyBytes = 1 << 20 // bytes of values that wait in a lazyMap at most
)

// lazyMap holds writes to the index that need not be durable before somebody
// asks for it. Every commit takes them along.
type lazyMap struct {
	mu       sync.Mutex
	bytes    int
	fresh    map[string][]byte // key => value, nil: deleted
	flushing map[string][]byte // being committed
}

// add notes writes and tells whether so many wait that they should be committed.
func (l *lazyMap) add(ops []indexOp) (full bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, op := range ops {
		l.fresh[string(op.key)] = op.value
		l.bytes += len(op.value)
	}
	return len(l.fresh) >= lazyKeys || l.bytes >= lazyBytes
}

// get returns a write that waits; a nil value says that the key is deleted.
func (l *lazyMap) get(key []byte) (value []byte, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if v, ok := l.fresh[string(key)]; ok {
		return bytes.Clone(v), true
	}
	v, ok := l.flushing[string(key)]
	return bytes.Clone(v), ok
}

// waits tells whether there is a write to a key with that prefix.
func (l *lazyMap) waits(prefix []byte) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, m := range []map[string][]byte{l.fresh, l.flushing} {
		for key := range m {
			if strings.HasPrefix(key, string(prefix)) {
				return true
			}
		}
	}
	return false
}

// begin adds all that waits to a batch; end must follow.
func (l *lazyMap) begin(b *batch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.flushing, l.fresh, l.bytes = l.fresh, make(map[string][]byte), 0
	for _, key := range slices.Sorted(maps.Keys(l.flushing)) {
		b.add(indexOp{[]byte(key), l.flushing[key]})
	}
}

// end forgets what is committed; what could not be stays readable.
func (l *lazyMap) end(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil {
		l.flushing = nil
	}
}
