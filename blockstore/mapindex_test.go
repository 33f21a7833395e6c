package blockstore

import (
	"bytes"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
)

// mapIndex is an index that keeps an index's promises and no more: a write that
// fails may have been done up to any of the places where it was split.
type mapIndex struct {
	mu    sync.Mutex
	rng   *rand.Rand
	pairs map[string]string
	hook  func() error // before each part of a write; an error ends it
}

func newMapIndex(seed uint64) *mapIndex {
	return &mapIndex{rng: rand.New(rand.NewPCG(seed, 2)), pairs: make(map[string]string)}
}

// crash returns the index as the next process finds it.
func (x *mapIndex) crash(seed uint64) *mapIndex {
	x.mu.Lock()
	defer x.mu.Unlock()
	after := newMapIndex(seed)
	after.pairs = maps.Clone(x.pairs)
	return after
}

func (x *mapIndex) get(key []byte, fn func([]byte) error) error {
	x.mu.Lock()
	v, ok := x.pairs[string(key)]
	x.mu.Unlock()
	if !ok {
		return errAbsent
	}
	return fn([]byte(v))
}

func (x *mapIndex) write(ops []indexOp) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	for len(ops) > 0 {
		n := len(ops)
		if x.rng.IntN(2) == 0 {
			n = 1 + x.rng.IntN(n)
		}
		var err error
		if x.hook != nil {
			err = x.hook()
		}
		if err != nil && x.rng.IntN(2) == 0 {
			return err
		}
		for _, op := range ops[:n] {
			if op.value == nil {
				delete(x.pairs, string(op.key))
			} else {
				x.pairs[string(op.key)] = string(op.value)
			}
		}
		if err != nil {
			return err
		}
		ops = ops[n:]
	}
	return nil
}

func (x *mapIndex) scan(prefix, from []byte, fn func(key, value []byte) bool) error {
	x.mu.Lock()
	pairs := maps.Clone(x.pairs)
	x.mu.Unlock()
	for _, k := range slices.Sorted(maps.Keys(pairs)) {
		if strings.HasPrefix(k, string(prefix)) && bytes.Compare([]byte(k), from) >= 0 && !fn([]byte(k), []byte(pairs[k])) {
			return nil
		}
	}
	return nil
}

func (x *mapIndex) close() error { return nil }
