package blockstore

import (
	"errors"
	"fmt"
)

// errAbsent says that the index does not hold a key.
var errAbsent = errors.New("key is not in the index")

// errIndexDamaged says that the index can't be read any more; the next Open
// builds it again from the segments.
var errIndexDamaged = errors.New("index is damaged")

// index is what Disk asks of its database: an ordered map of bytes whose writes
// are durable. Reads may run beside each other and beside a write and see what
// the last finished write left; only one write runs at a time.
//
// A crash during write leaves some whole number of leading operations, split
// between operations only where the database had to.
type index interface {
	// get calls fn with the value of key, which is valid during the call
	// only; errAbsent if there is none.
	get(key []byte, fn func(value []byte) error) error
	// write applies ops in order and returns when they are durable.
	write(ops []indexOp) error
	// scan calls fn with every pair whose key begins with prefix and is not
	// before from, in order, until fn returns false. Both are valid during
	// the call only.
	scan(prefix, from []byte, fn func(key, value []byte) bool) error
	close() error
}

// indexOp sets a key, or removes it when value is nil.
type indexOp struct{ key, value []byte }

// batch is one write to the index while it is being put together. It answers
// reads as if it had been written already.
type batch struct {
	idx  index
	ops  []indexOp
	last map[string]int // key => place of its last operation in ops
}

func newBatch(idx index) *batch {
	return &batch{idx: idx, last: make(map[string]int)}
}

func (b *batch) set(key, value []byte) {
	if value == nil {
		value = []byte{}
	}
	b.add(indexOp{key, value})
}

func (b *batch) delete(key []byte) { b.add(indexOp{key, nil}) }

func (b *batch) add(op indexOp) {
	b.last[string(op.key)] = len(b.ops)
	b.ops = append(b.ops, op)
}

// get is index.get with the batch's own writes on top.
func (b *batch) get(key []byte, fn func(value []byte) error) error {
	if i, ok := b.last[string(key)]; ok {
		if v := b.ops[i].value; v != nil {
			return fn(v)
		}
		return errAbsent
	}
	return b.idx.get(key, fn)
}

// mark and undo let a change that fails half-way leave nothing behind.
func (b *batch) mark() int { return len(b.ops) }

func (b *batch) undo(mark int) {
	b.ops = b.ops[:mark]
	clear(b.last)
	for i, op := range b.ops {
		b.last[string(op.key)] = i
	}
}

// guard turns a panic inside the database into an error, for a database that
// reads bad bytes from a bad disk must not take every job down with it.
func guard(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("%w: %v", errIndexDamaged, r)
	}
}
