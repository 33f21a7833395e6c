package blockstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
)

// Alias returns what the alias key stands for. A sha256 that no alias names may
// still be that of a stored raw block.
func (m *Memory) Alias(ctx context.Context, key string) (Alias, error) {
	if err := m.rlock(ctx); err != nil {
		return Alias{}, err
	}
	defer m.mu.RUnlock()
	if a, ok := m.alias[key]; ok {
		return Alias{Root: a.Root, Meta: bytes.Clone(a.Meta)}, nil
	}
	if root, ok := rawOfAlias(key); ok && m.find(root) != nil {
		return Alias{Root: root}, nil
	}
	return Alias{}, fmt.Errorf("alias %q: %w", key, ipld.ErrNotFound{})
}

// PutAlias sets an alias.
func (m *Memory) PutAlias(ctx context.Context, key string, a Alias) error {
	if key == "" || !a.Root.Defined() {
		return errors.New("alias without key or root")
	}
	if err := m.lock(ctx); err != nil {
		return err
	}
	defer m.mu.Unlock()
	m.alias[key] = Alias{Root: a.Root, Meta: bytes.Clone(a.Meta)}
	return nil
}

// Pin keeps a pin until Unpin; nothing is ever collected here.
func (m *Memory) Pin(ctx context.Context, p Pin) error {
	if !p.Root.Defined() {
		return errors.New("pin without root")
	}
	if n := len(p.Owner); n > MaxOwner {
		return fmt.Errorf("pin owner of %d bytes, at most %d", n, MaxOwner)
	}
	if err := m.lock(ctx); err != nil {
		return err
	}
	defer m.mu.Unlock()
	if p.Created.IsZero() {
		p.Created = time.Now()
	}
	m.pins[memoryPin{asV1(p.Root), p.Name}] = p
	return nil
}

// Unpin removes one pin.
func (m *Memory) Unpin(ctx context.Context, root cid.Cid, name string) error {
	if err := m.lock(ctx); err != nil {
		return err
	}
	defer m.mu.Unlock()
	key := memoryPin{asV1(root), name}
	if _, ok := m.pins[key]; !ok {
		return fmt.Errorf("pin %q: %w", name, ipld.ErrNotFound{Cid: root})
	}
	delete(m.pins, key)
	return nil
}

// Pins yields all pins.
func (m *Memory) Pins(ctx context.Context) iter.Seq2[Pin, error] {
	return func(yield func(Pin, error) bool) {
		if err := m.rlock(ctx); err != nil {
			yield(Pin{}, err)
			return
		}
		pins := slices.Collect(maps.Values(m.pins))
		m.mu.RUnlock()
		for _, p := range pins {
			if err := ctx.Err(); err != nil {
				yield(Pin{}, err)
				return
			}
			if p.Expired(time.Now()) {
				continue
			}
			if !yield(p, nil) {
				return
			}
		}
	}
}

// Records returns the map of that name.
func (m *Memory) Records(bucket string) Records { return memoryRecords{m, bucket} }

type memoryRecords struct {
	m      *Memory
	bucket string
}

func (r memoryRecords) Get(ctx context.Context, key string) ([]byte, error) {
	if err := r.m.rlock(ctx); err != nil {
		return nil, err
	}
	defer r.m.mu.RUnlock()
	value, ok := r.m.record[r.bucket][key]
	if !ok {
		return nil, fmt.Errorf("record %q in %q: %w", key, r.bucket, ipld.ErrNotFound{})
	}
	return bytes.Clone(value), nil
}

func (r memoryRecords) Put(ctx context.Context, key string, value []byte) error {
	if err := r.m.lock(ctx); err != nil {
		return err
	}
	defer r.m.mu.Unlock()
	if r.m.record[r.bucket] == nil {
		r.m.record[r.bucket] = make(map[string][]byte)
	}
	r.m.record[r.bucket][key] = bytes.Clone(value)
	return nil
}

func (r memoryRecords) Delete(ctx context.Context, key string) error {
	if err := r.m.lock(ctx); err != nil {
		return err
	}
	defer r.m.mu.Unlock()
	delete(r.m.record[r.bucket], key)
	return nil
}

func (r memoryRecords) All(ctx context.Context, prefix string) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		if err := r.m.rlock(ctx); err != nil {
			yield(Record{}, err)
			return
		}
		var all []Record
		for key, value := range r.m.record[r.bucket] {
			if strings.HasPrefix(key, prefix) {
				all = append(all, Record{key, bytes.Clone(value)})
			}
		}
		r.m.mu.RUnlock()
		slices.SortFunc(all, func(a, b Record) int { return strings.Compare(a.Key, b.Key) })
		for _, rec := range all {
			if err := ctx.Err(); err != nil {
				yield(Record{}, err)
				return
			}
			if !yield(rec, nil) {
				return
			}
		}
	}
}
