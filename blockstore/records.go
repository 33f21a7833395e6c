package blockstore

import (
	"context"
	"errors"
	"fmt"
	"iter"

	ipld "github.com/ipfs/go-ipld-format"
)

// Records returns the map of that name. It lives in the index alone: it is lost
// when the index is.
func (d *Disk) Records(bucket string) Records {
	return bucketRecords{bucketMap{d: d, kind: keyRecord, name: bucket}}
}

// bucketMap is a map inside the index.
type bucketMap struct {
	d    *Disk
	kind byte
	name string
}

func (m bucketMap) key(key string) ([]byte, error) {
	if n := len(m.name) + len(key); n > maxKey {
		return nil, fmt.Errorf("key of %d bytes, at most %d", n, maxKey)
	}
	return bucketKey(m.kind, m.name, key), nil
}

// get returns errAbsent for an absent key.
func (m bucketMap) get(ctx context.Context, key string) (value []byte, err error) {
	if err := m.d.enter(ctx); err != nil {
		return nil, err
	}
	defer m.d.gate.leave()
	k, err := m.key(key)
	if err != nil {
		return nil, errAbsent
	}
	err = m.d.index.get(k, func(v []byte) error {
		value = append([]byte{}, v...)
		return nil
	})
	return value, err
}

// write sets keys, or deletes those whose value is nil, in one durable step.
func (m bucketMap) write(ctx context.Context, ops []indexOp) error {
	if err := m.d.enter(ctx); err != nil {
		return err
	}
	defer m.d.gate.leave()
	return m.d.commit(ctx, &change{build: func(b *batch) error {
		for _, op := range ops {
			b.add(op)
		}
		return nil
	}})
}

func (m bucketMap) set(key string, value []byte) (indexOp, error) {
	k, err := m.key(key)
	if len(value) > largestValue {
		err = fmt.Errorf("value of %d bytes, at most %d", len(value), largestValue)
	}
	return indexOp{k, append([]byte{}, value...)}, err
}

// all yields what begins with prefix in the order of the keys, which come
// without the bucket's name.
func (m bucketMap) all(ctx context.Context, prefix string) iter.Seq2[indexOp, error] {
	return func(yield func(indexOp, error) bool) {
		base, err := m.key(prefix)
		if err != nil {
			return // no key can begin like that
		}
		cut := len(base) - len(prefix)
		for op, err := range m.d.pairs(ctx, base) {
			if err == nil {
				op.key = op.key[cut:]
			}
			if !yield(op, err) || err != nil {
				return
			}
		}
	}
}

type bucketRecords struct{ m bucketMap }

func (r bucketRecords) Get(ctx context.Context, key string) ([]byte, error) {
	value, err := r.m.get(ctx, key)
	if errors.Is(err, errAbsent) {
		return nil, fmt.Errorf("record %.100q in %q: %w", key, r.m.name, ipld.ErrNotFound{})
	}
	return value, err
}

func (r bucketRecords) Put(ctx context.Context, key string, value []byte) error {
	op, err := r.m.set(key, value)
	if err != nil {
		return fmt.Errorf("record %.100q in %q: %w", key, r.m.name, err)
	}
	return r.m.write(ctx, []indexOp{op})
}

func (r bucketRecords) Delete(ctx context.Context, key string) error {
	k, err := r.m.key(key)
	if err != nil {
		return nil //nolint:nilerr // a key that can't be put is absent
	}
	return r.m.write(ctx, []indexOp{{key: k}})
}

func (r bucketRecords) All(ctx context.Context, prefix string) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		for op, err := range r.m.all(ctx, prefix) {
			if !yield(Record{Key: string(op.key), Value: op.value}, err) || err != nil {
				return
			}
		}
	}
}
