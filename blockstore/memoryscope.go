package blockstore

import (
	"context"

	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
)

// Scope returns the store as a scope sees and fills it.
func (m *Memory) Scope(name string) Store { return scoped{m, name} }

// Audience returns who may have a block.
func (m *Memory) Audience(ctx context.Context, c cid.Cid) (Audience, error) {
	if err := m.rlock(ctx); err != nil {
		return Audience{}, err
	}
	defer m.mu.RUnlock()
	if _, inline := identityData(c); !inline && m.find(c) == nil {
		return Audience{}, ipld.ErrNotFound{Cid: c}
	}
	return m.audience(c), nil
}

// audience is Audience, everybody for a block that is not stored; the caller
// holds the lock.
func (m *Memory) audience(c cid.Cid) (all Audience) {
	b := m.find(c)
	if b == nil || !b.private {
		return Audience{Public: true}
	}
	for _, codec := range []uint64{cid.Raw, cid.DagProtobuf} {
		all = all.with(parseAudience(m.alias[scopeKey(cid.NewCidV1(codec, c.Hash()))].Meta))
	}
	for root, f := range m.files {
		if _, has := f.blocks[string(c.Hash())]; has {
			all = all.with(parseAudience(m.alias[scopeKey(root)].Meta))
		}
	}
	return all
}

// addAudience adds to the audience of a root; the caller holds the lock.
func (m *Memory) addAudience(root cid.Cid, more Audience) error {
	a, err := more.alias(root)
	if err == nil {
		a, err = mergeScopes(scopeKey(root), m.alias[scopeKey(root)], a)
	}
	if err == nil {
		m.alias[scopeKey(root)] = a
	}
	return err
}

// Admit adds a scope to the audience of a private root.
func (m *Memory) Admit(ctx context.Context, root cid.Cid, scope string) error {
	now, err := m.Audience(ctx, root)
	if err != nil || scope == "" || now.Admits(scope) {
		return err
	}
	if err := m.lock(ctx); err != nil {
		return err
	}
	defer m.mu.Unlock()
	return m.addAudience(root, Audience{Scopes: []string{scope}})
}
