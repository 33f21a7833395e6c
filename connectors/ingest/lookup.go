package ingest

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"log/slog"

	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
	mh "github.com/multiformats/go-multihash"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/connectors"
	"github.com/hypha-node/hypha-node/dag"
)

// lookup finds what the store has under the item's identities that can't have
// changed, strongest first.
func (e *Engine) lookup(ctx context.Context, it connectors.Item) (got Fetched, ok bool, err error) {
	if it.Root.Defined() {
		return e.lookupRoot(ctx, it)
	}
	if it.SHA256 != nil {
		if got, ok, err = e.lookupSHA256(ctx, it, *it.SHA256); ok || err != nil {
			return got, ok, err
		}
	}
	if it.GitSHA1 != nil {
		if got, ok, err = e.lookupAlias(ctx, it, gitKey(*it.GitSHA1)); ok || err != nil {
			return got, ok, err
		}
	}
	if it.Key != "" && it.Pinned {
		return e.lookupAlias(ctx, it, it.Key)
	}
	return Fetched{}, false, nil
}

// lookupRoot finds a stored root: one that is private only for who found it to be
// when it was named.
func (e *Engine) lookupRoot(ctx context.Context, it connectors.Item) (Fetched, bool, error) {
	f, err := e.cfg.Store.File(ctx, it.Root)
	if ipld.IsNotFound(err) {
		return Fetched{}, false, nil
	}
	if err != nil {
		return Fetched{}, false, err
	}
	private, err := blockstore.IsPrivate(ctx, e.cfg.Store, f.Root)
	if err != nil || private && it.Scope == "" {
		return Fetched{}, false, err
	}
	if err := expect(it).check(it, f, nil); err != nil {
		return Fetched{}, false, err
	}
	return Fetched{File: f, From: FromStore, ETag: it.ETag, Verified: true, Private: private}, true, nil
}

// lookupSHA256 finds a file by its digest, by its alias or as a leaf.
func (e *Engine) lookupSHA256(ctx context.Context, it connectors.Item, sum [sha256.Size]byte) (Fetched, bool, error) {
	it.SHA256 = &sum
	got, ok, err := e.lookupAlias(ctx, it, sha256Key(sum))
	if ok || err != nil {
		return got, ok, err
	}
	// The alias may name a file that is gone while the leaf is here.
	hash, err := mh.Encode(sum[:], mh.SHA2_256)
	if err != nil {
		return Fetched{}, false, err
	}
	f, err := e.cfg.Store.File(ctx, cid.NewCidV1(cid.Raw, hash))
	if err != nil {
		return Fetched{}, false, ignoreNotFound(err)
	}
	return e.admit(ctx, it, f, nil)
}

// lookupAlias finds the file that an alias names. An alias whose file is gone
// or is not what the item says is as good as none.
func (e *Engine) lookupAlias(ctx context.Context, it connectors.Item, key string) (Fetched, bool, error) {
	got, _, ok, err := e.lookupMeta(ctx, it, key)
	return got, ok, err
}

// Known tells which file a key that never changes its meaning stands for, and the
// entity tag that the item had, if it is stored and those with the scope may have it.
func (e *Engine) Known(ctx context.Context, key, scope string) (f dag.File, etag string, ok bool) {
	got, m, ok, err := e.lookupMeta(ctx, connectors.Item{Key: key, Size: -1, Scope: scope}, key)
	if !ok || err != nil {
		return dag.File{}, "", false
	}
	published := parseMeta(m).Published
	return got.File, published, published != ""
}

// lookupMeta is lookupAlias with the alias' Meta.
func (e *Engine) lookupMeta(ctx context.Context, it connectors.Item, key string) (Fetched, []byte, bool, error) {
	a, err := e.cfg.Store.Alias(ctx, key)
	if err != nil {
		return Fetched{}, nil, false, ignoreNotFound(err)
	}
	f, err := e.cfg.Store.File(ctx, a.Root)
	if err != nil {
		return Fetched{}, nil, false, ignoreNotFound(err)
	}
	got, ok, err := e.admit(ctx, it, f, a.Meta)
	return got, a.Meta, ok, err
}

// admit makes a hit of a stored file unless it contradicts the item or belongs
// to a scope that the item does not have; blockstore.Operator has all.
func (e *Engine) admit(ctx context.Context, it connectors.Item, f dag.File, aliasMeta []byte) (Fetched, bool, error) {
	if it.SHA256 != nil && *it.SHA256 != f.SHA256 || it.Size >= 0 && it.Size != f.Size {
		e.cfg.Logger.WarnContext(ctx, "stored file is not what the source announces; fetching",
			slog.String("url", it.URL), slog.String("cid", f.Root.String()))
		return Fetched{}, false, nil
	}
	who, err := e.cfg.Store.Audience(ctx, f.Root)
	if err != nil || it.Scope != blockstore.Operator && !who.Admits(it.Scope) {
		return Fetched{}, false, ignoreNotFound(err)
	}
	m := parseMeta(aliasMeta)
	got := Fetched{
		File: f, From: FromStore, ETag: it.ETag, Revision: m.Revision, Private: !who.Public,
		Verified: it.SHA256 != nil || it.GitSHA1 != nil || m.Verified,
	}
	if got.ETag == "" {
		got.ETag = m.ETag
	}
	return got, true, nil
}

// meta is what the engine reads of an alias' Meta. The rest is the connector's.
type meta struct {
	ETag      string `json:"etag"`
	Published string `json:"published"` // connectors.Item.ETag
	Revision  string `json:"revision"`  // connectors.Body.Revision
	Verified  bool   `json:"verified"`
}

// parseMeta reads a Meta; one that can't be read says nothing.
func parseMeta(b []byte) (m meta) {
	if json.Unmarshal(b, &m) != nil {
		return meta{}
	}
	return m
}

// metaOf returns the Meta of an alias: the connector's object with the engine's
// members added.
func (e *Engine) metaOf(it connectors.Item, body *connectors.Body, verified bool) ([]byte, error) {
	all := make(map[string]any)
	if len(body.Meta) > 0 {
		if err := json.Unmarshal(body.Meta, &all); err != nil {
			return nil, fmt.Errorf("validator of %s: %w", it.URL, err)
		}
		if all == nil { // it was "null"
			all = make(map[string]any)
		}
	}
	all["time"], all["verified"] = e.cfg.Now().Unix(), verified
	if it.Scope != "" {
		all["scope"] = it.Scope
	}
	if it.ETag != "" {
		all["published"] = it.ETag
	}
	if body.Revision != "" {
		all["revision"] = body.Revision
	}
	if _, has := all["etag"]; !has && body.ETag != "" {
		all["etag"] = body.ETag
	}
	return json.Marshal(all)
}

func ignoreNotFound(err error) error {
	if ipld.IsNotFound(err) {
		return nil
	}
	return err
}
