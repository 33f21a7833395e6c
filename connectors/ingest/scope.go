package ingest

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/ipfs/go-cid"

	"github.com/hypha-node/hypha-node/blockstore"
)

// maxScopes is how many credentials are remembered of one file; the oldest are
// forgotten, and have to show again that they pass.
const maxScopes = 64

// scopes is the record of who may have a root: the Meta of its alias
// "scope:<CIDv1>". No record means everybody.
type scopes struct {
	Public bool     `json:"public,omitempty"` // was fetched without a credential, too
	Scopes []string `json:"scopes,omitempty"` // connectors.Item.Scope, oldest first
}

func (s scopes) private() bool { return !s.Public && len(s.Scopes) > 0 }

func (s scopes) admits(scope string) bool { return !s.private() || slices.Contains(s.Scopes, scope) }

func scopeKey(root cid.Cid) string {
	return "scope:" + cid.NewCidV1(root.Type(), root.Hash()).String()
}

// Private tells whether a root was fetched with a credential only: it must not
// be announced.
func Private(ctx context.Context, labels blockstore.Labels, root cid.Cid) (bool, error) {
	s, err := scopesOf(ctx, labels, root)
	return s.private(), err
}

func scopesOf(ctx context.Context, labels blockstore.Labels, root cid.Cid) (s scopes, err error) {
	a, err := labels.Alias(ctx, scopeKey(root))
	if err != nil {
		return scopes{}, ignoreNotFound(err)
	}
	if err := json.Unmarshal(a.Meta, &s); err != nil {
		return scopes{}, fmt.Errorf("scopes of %s: %w", root, err)
	}
	return s, nil
}

// enter notes that a root, which is about to be stored, was fetched with a
// scope. A mark of privacy is durable when enter returns, before the content
// can be read; that of publicity is returned, to be recorded with the content.
func (e *Engine) enter(ctx context.Context, root cid.Cid, scope string) (now scopes, aliases map[string][]byte, err error) {
	e.scoping.Lock()
	defer e.scoping.Unlock()
	old, err := scopesOf(ctx, e.cfg.Store, root)
	switch {
	case err != nil:
		return scopes{}, nil, err
	case scope == "" && old.private():
		now = scopes{Public: true}
		b, err := json.Marshal(now)
		return now, map[string][]byte{scopeKey(root): b}, err
	case scope == "" || old.Public || slices.Contains(old.Scopes, scope):
		return old, nil, nil
	}
	if !old.private() {
		_, err := e.cfg.Store.File(ctx, root)
		if err == nil {
			return old, nil, nil // is here already, for everybody
		}
		if err := ignoreNotFound(err); err != nil {
			return scopes{}, nil, err
		}
	}
	now.Scopes = append(old.Scopes, scope)
	now.Scopes = now.Scopes[max(0, len(now.Scopes)-maxScopes):]
	b, err := json.Marshal(now)
	if err != nil {
		return scopes{}, nil, err
	}
	return now, nil, e.cfg.Store.PutAlias(ctx, scopeKey(root), blockstore.Alias{Root: root, Meta: b})
}
