package bitswap

import (
	"context"

	"github.com/ipfs/go-datastore"
	"github.com/ipfs/go-datastore/query"
)

// steady is a datastore whose operations can't be cancelled. The DHT and its
// provider write what they must remember while they close, with a context that
// they have cancelled just before: a datastore that looks at its context would
// lose it.
type steady struct {
	ds datastore.Batching
}

var _ datastore.Batching = steady{}

// Get returns a value.
func (s steady) Get(ctx context.Context, k datastore.Key) ([]byte, error) {
	return s.ds.Get(context.WithoutCancel(ctx), k)
}

// Has tells whether a key has a value.
func (s steady) Has(ctx context.Context, k datastore.Key) (bool, error) {
	return s.ds.Has(context.WithoutCancel(ctx), k)
}

// GetSize returns the size of a value in bytes.
func (s steady) GetSize(ctx context.Context, k datastore.Key) (int, error) {
	return s.ds.GetSize(context.WithoutCancel(ctx), k)
}

// Query lists what the query asks for.
func (s steady) Query(ctx context.Context, q query.Query) (query.Results, error) {
	return s.ds.Query(context.WithoutCancel(ctx), q)
}

// Put sets a value.
func (s steady) Put(ctx context.Context, k datastore.Key, v []byte) error {
	return s.ds.Put(context.WithoutCancel(ctx), k, v)
}

// Delete removes a value.
func (s steady) Delete(ctx context.Context, k datastore.Key) error {
	return s.ds.Delete(context.WithoutCancel(ctx), k)
}

// Sync makes what is below a prefix durable.
func (s steady) Sync(ctx context.Context, prefix datastore.Key) error {
	return s.ds.Sync(context.WithoutCancel(ctx), prefix)
}

// Batch begins a batch.
func (s steady) Batch(ctx context.Context) (datastore.Batch, error) {
	b, err := s.ds.Batch(context.WithoutCancel(ctx))
	return steadyBatch{b}, err
}

// Close does nothing: the datastore is its owner's.
func (s steady) Close() error { return nil }

// steadyBatch is a batch of steady.
type steadyBatch struct {
	b datastore.Batch
}

// Put sets a value at Commit.
func (s steadyBatch) Put(ctx context.Context, k datastore.Key, v []byte) error {
	return s.b.Put(context.WithoutCancel(ctx), k, v)
}

// Delete removes a value at Commit.
func (s steadyBatch) Delete(ctx context.Context, k datastore.Key) error {
	return s.b.Delete(context.WithoutCancel(ctx), k)
}

// Commit does what the batch says.
func (s steadyBatch) Commit(ctx context.Context) error {
	return s.b.Commit(context.WithoutCancel(ctx))
}

// soon is a datastore whose writes can be read at once and are durable with whatever
// has to be next, or when it is closed. What is announced is listed anew at every
// start (Config.Roots), so that nobody need wait until the disk has it, too.
type soon struct {
	datastore.Batching
}

// Sync does nothing.
func (s soon) Sync(context.Context, datastore.Key) error { return nil }

// Batch begins a batch of single writes.
func (s soon) Batch(context.Context) (datastore.Batch, error) {
	return datastore.NewBasicBatch(s.Batching), nil
}

// Close makes durable what was written; the datastore is its owner's.
func (s soon) Close() error { return s.Batching.Sync(context.Background(), datastore.NewKey("")) }
