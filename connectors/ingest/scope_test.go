package ingest_test

import (
	"context"
	"errors"
	"net/http"
	"testing"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/connectors"
	"github.com/hypha-node/hypha-node/connectors/ingest"
	"github.com/hypha-node/hypha-node/dag"
)

// TestScopes walks through who may have content that needs a credential.
func TestScopes(t *testing.T) {
	eachStore(t, func(t *testing.T, s blockstore.Store) {
		content := random(1, 3<<20)
		secret := &served{content: content, etag: `"1"`, token: "a"}
		o := newOrigin(t, map[string]*served{"/secret": secret, "/open": {content: content, etag: `"1"`}})
		var stored []bool
		e := newEngine(t, ingest.Config{Store: s, OnStored: func(_ context.Context, f dag.File, private bool) {
			if f.Size != int64(len(content)) {
				t.Errorf("stored %+v", f)
			}
			stored = append(stored, private)
		}})
		as := func(ref connectors.Ref, token string) connectors.Item {
			ref.Token = connectors.Secret(token)
			return item(t, e, ref)
		}
		get := func(it connectors.Item, from ingest.From, private bool) ingest.Fetched {
			t.Helper()
			got, err := e.Fetch(t.Context(), it, ingest.Options{})
			if err != nil || got.From != from || got.Private != private {
				t.Fatalf("%+v, %v, want it from %s, private: %v", got, err, from, private)
			}
			checkStored(t, s, got.File, content)
			return got
		}
		checked := o.checked("/secret", content)
		got := get(as(checked, "a"), ingest.FromOrigin, true)
		checkPrivate(t, s, got.File, true)
		// The same credential: no request.
		if requests, _ := o.counted(func() { get(as(checked, "a"), ingest.FromStore, true) }); requests != 0 {
			t.Errorf("%d requests, want none", requests)
		}
		// No credential and a wrong one: knowing the digest is not enough.
		for _, token := range []string{"", "b"} {
			if _, err := e.Fetch(t.Context(), as(checked, token), ingest.Options{}); !errors.Is(err, connectors.ErrUnauthorized) {
				t.Errorf("token %q: %v, want ErrUnauthorized", token, err)
			}
		}
		// Another credential that passes shows it once.
		o.set("/secret", &served{content: content, etag: `"1"`, token: "b"})
		if requests, bytes := o.counted(func() { get(as(checked, "b"), ingest.FromStore, true) }); requests != 1 || bytes != 0 {
			t.Errorf("%d requests and %d bytes, want a request", requests, bytes)
		}
		get(as(checked, "b"), ingest.FromStore, true)
		get(as(checked, "a"), ingest.FromStore, true)
		// Naming the root is no credential, unless it was found to be private to who
		// names it.
		byRoot := connectors.Item{Path: "f", Size: -1, Root: got.File.Root}
		if _, err := e.Fetch(t.Context(), byRoot, ingest.Options{}); !errors.Is(err, connectors.ErrNotFound) {
			t.Errorf("by root: %v, want ErrNotFound", err)
		}
		byRoot.Scope = "job"
		get(byRoot, ingest.FromStore, true)
		// Published after all: everybody's.
		get(as(o.checked("/open", content), ""), ingest.FromOrigin, false)
		checkPrivate(t, s, got.File, false)
		get(as(checked, ""), ingest.FromStore, false)
		get(as(checked, "c"), ingest.FromStore, false)
		if len(stored) != 2 || !stored[0] || stored[1] {
			t.Errorf("OnStored was told private: %v, want true, false", stored)
		}
	})
}

// TestScopesByURL fetches a URL with a second credential: what came with the first is
// its as well if the origin says, to that credential, that it is the same content.
func TestScopesByURL(t *testing.T) {
	content, other := random(1, 3<<20), random(2, 3<<20)
	plain := served{content: content, etag: `"1"`}
	with := func(change func(s *served)) *served {
		s := &served{content: plain.content, etag: plain.etag}
		change(s)
		return s
	}
	refused := func(status int) *served { return &served{status: status} }
	tests := []struct {
		name          string
		first, second *served
		from          ingest.From // "": refused
		err           error
	}{
		{name: "same", first: &plain, second: &plain, from: ingest.FromStore},
		{name: "called immutable to the first", first: with(func(s *served) { s.cache = "max-age=9999, immutable" }), second: &served{content: other, etag: `"2"`}, from: ingest.FromOrigin},
		{name: "another content", first: &plain, second: &served{content: other, etag: `"2"`}, from: ingest.FromOrigin},
		{name: "weak tag", first: with(func(s *served) { s.etag = `W/"1"` }), second: with(func(s *served) { s.etag = `W/"1"` }), from: ingest.FromOrigin},
		{name: "no tag", first: with(func(s *served) { s.etag = "" }), second: &plain, from: ingest.FromOrigin},
		{name: "chosen by who asks", first: with(func(s *served) { s.vary = "Accept, authorization" }), second: &served{content: other, etag: `"1"`}, from: ingest.FromOrigin},
		{name: "not for the second", first: &plain, second: refused(http.StatusForbidden), err: connectors.ErrUnauthorized},
		{name: "hidden from the second", first: &plain, second: refused(http.StatusNotFound), err: connectors.ErrNotFound},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := blockstore.NewMemory()
			o := newOrigin(t, map[string]*served{"/f": tt.first})
			e := newEngine(t, ingest.Config{Store: s})
			ref := o.ref("/f")
			ref.Token = "a"
			fetch(t, e, s, ref, tt.first.content)
			o.set("/f", tt.second)
			ref.Token = "b"
			for range 2 { // its own name for it is known then
				got, err := e.Fetch(t.Context(), item(t, e, ref), ingest.Options{})
				if tt.err != nil {
					if !errors.Is(err, tt.err) {
						t.Errorf("%+v, %v, want %v", got, err, tt.err)
					}
					continue
				}
				must(t, err)
				if got.From != tt.from || !got.Private || (got.OriginBytes == 0) != (tt.from == ingest.FromStore) {
					t.Errorf("%+v, want it from %s", got, tt.from)
				}
				checkStored(t, s, got.File, tt.second.content)
				tt.from = ingest.FromStore
			}
		})
	}
}
