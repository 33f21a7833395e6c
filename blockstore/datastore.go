package blockstore

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/ipfs/go-datastore"
	"github.com/ipfs/go-datastore/query"
)

// Datastore returns a go-datastore of its own under a name, for the DHT and the
// provider. Writes are durable after Sync, and seen at once by all that use the
// same name; a batch is durable when Commit returns. Like Records it is lost
// with the index. Closing it does nothing.
func (d *Disk) Datastore(prefix string) datastore.Batching {
	return bucketDatastore{bucketMap{d: d, kind: keyDatastore, name: prefix}}
}

type bucketDatastore struct{ m bucketMap }

func (s bucketDatastore) Get(ctx context.Context, key datastore.Key) ([]byte, error) {
	k, err := s.m.key(key.String())
	if err != nil {
		return nil, datastore.ErrNotFound
	}
	if value, ok := s.m.d.lazy.get(k); ok && value != nil {
		return value, ctx.Err()
	} else if ok {
		return nil, datastore.ErrNotFound
	}
	value, err := s.m.get(ctx, key.String())
	if errors.Is(err, errAbsent) {
		return nil, datastore.ErrNotFound
	}
	return value, err
}

func (s bucketDatastore) Has(ctx context.Context, key datastore.Key) (bool, error) {
	return datastore.GetBackedHas(ctx, s, key)
}

func (s bucketDatastore) GetSize(ctx context.Context, key datastore.Key) (int, error) {
	return datastore.GetBackedSize(ctx, s, key)
}

func (s bucketDatastore) Put(ctx context.Context, key datastore.Key, value []byte) error {
	op, err := s.m.set(key.String(), value)
	if err != nil {
		return fmt.Errorf("datastore: %w", err)
	}
	return s.m.lazily(ctx, []indexOp{op})
}

func (s bucketDatastore) Delete(ctx context.Context, key datastore.Key) error {
	k, err := s.m.key(key.String())
	if err != nil {
		return nil //nolint:nilerr // a key that can't be put is absent
	}
	return s.m.lazily(ctx, []indexOp{{key: k}})
}

// lazily writes what the next commit makes durable.
func (m bucketMap) lazily(ctx context.Context, ops []indexOp) error {
	if err := m.d.enter(ctx); err != nil {
		return err
	}
	defer m.d.gate.leave()
	if err := m.d.pack.broken(); err != nil {
		return err
	}
	if m.d.lazy.add(ops) {
		return m.d.commit(ctx, &change{})
	}
	return nil
}

func (s bucketDatastore) Sync(ctx context.Context, _ datastore.Key) error {
	return s.m.write(ctx, nil)
}

func (s bucketDatastore) Close() error { return nil }

// Query reads the index page by page; filters, orders and limits are applied by
// go-datastore.
func (s bucketDatastore) Query(ctx context.Context, q query.Query) (query.Results, error) {
	under := datastore.NewKey(q.Prefix).String()
	if !strings.HasSuffix(under, "/") {
		under += "/"
	}
	base, err := s.m.key(under)
	if err != nil {
		return query.ResultsWithEntries(q, nil), nil //nolint:nilerr // no key can begin like that
	}
	if s.m.d.lazy.waits(base) {
		if err := s.m.write(ctx, nil); err != nil {
			return nil, err
		}
	}
	w := pager{d: s.m.d, prefix: base, from: base}
	results := query.ResultsFromIterator(q, query.Iterator{Next: func() (query.Result, bool) {
		op, ok, err := w.next(ctx)
		if !ok || err != nil {
			return query.Result{Error: err}, err != nil
		}
		e := query.Entry{Key: string(op.key[len(base)-len(under):]), Size: len(op.value)}
		if !q.KeysOnly {
			e.Value = op.value
		}
		return query.Result{Entry: e}, true
	}})
	q.Prefix = "" // taken care of
	return query.NaiveQueryApply(q, results), nil
}

func (s bucketDatastore) Batch(context.Context) (datastore.Batch, error) {
	return &bucketBatch{m: s.m}, nil
}

// bucketBatch collects writes for one commit.
type bucketBatch struct {
	m   bucketMap
	mu  sync.Mutex
	ops []indexOp
}

func (b *bucketBatch) Put(_ context.Context, key datastore.Key, value []byte) error {
	op, err := b.m.set(key.String(), value)
	if err != nil {
		return fmt.Errorf("datastore: %w", err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ops = append(b.ops, op)
	return nil
}

func (b *bucketBatch) Delete(_ context.Context, key datastore.Key) error {
	k, err := b.m.key(key.String())
	if err != nil {
		return nil //nolint:nilerr // a key that can't be put is absent
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ops = append(b.ops, indexOp{key: k})
	return nil
}

// Commit writes what was collected and empties the batch.
func (b *bucketBatch) Commit(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.ops) == 0 {
		return ctx.Err()
	}
	// Behind what waits, not before it.
	b.m.d.lazy.add(b.ops)
	if err := b.m.write(ctx, nil); err != nil {
		return err
	}
	b.ops = nil
	return nil
}
