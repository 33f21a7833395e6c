package ingest_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/blockstore/memo"
	"github.com/hypha-node/hypha-node/connectors"
	"github.com/hypha-node/hypha-node/connectors/hf"
	httpconn "github.com/hypha-node/hypha-node/connectors/http"
	"github.com/hypha-node/hypha-node/connectors/ingest"
	"github.com/hypha-node/hypha-node/internal/hubtest"
)

// newHub starts a hub and returns an engine that fetches from it.
func newHub(t *testing.T, s blockstore.Store, cfg hubtest.Config) (*hubtest.Hub, *ingest.Engine) {
	t.Helper()
	return newHubWith(t, cfg, ingest.Config{Store: s})
}

// newHubWith is newHub with more to say of the engine.
func newHubWith(t *testing.T, cfg hubtest.Config, ec ingest.Config) (*hubtest.Hub, *ingest.Engine) {
	t.Helper()
	hub, err := hubtest.New(cfg)
	must(t, err)
	must(t, hub.Start())
	client := httpconn.NewClient(httpconn.Config{Delay: time.Millisecond})
	t.Cleanup(func() {
		client.Close()
		must(t, hub.Close())
	})
	var e *ingest.Engine
	known := func(ctx context.Context, key, scope string) (hf.File, bool) {
		f, etag, ok := e.Known(ctx, key, scope)
		return hf.File{Size: f.Size, SHA256: &f.SHA256, ETag: etag}, ok
	}
	notes := memo.New(blockstore.NewMemory().Records("hub"), slog.New(slog.DiscardHandler))
	conn := hf.New(hf.Config{Endpoint: hub.URL, Client: client, Memo: notes}).Knowing(known)
	ec.Connectors = connectors.Set{conn}
	e = newEngine(t, ec)
	return hub, e
}

// all fetches everything that a URI stands for, by path.
func all(t *testing.T, e *ingest.Engine, uri, token string) (map[string]ingest.Fetched, error) {
	t.Helper()
	ref, err := connectors.ParseURI(uri)
	must(t, err)
	ref.Token = connectors.Secret(token)
	return allOf(t, e, ref)
}

// allOf is all of a reference.
func allOf(t *testing.T, e *ingest.Engine, ref connectors.Ref) (_ map[string]ingest.Fetched, err error) {
	t.Helper()
	got := make(map[string]ingest.Fetched)
	for it, err := range e.Resolve(t.Context(), ref, connectors.Access{Operator: true}) {
		if err != nil {
			return got, err
		}
		if got[it.Path], err = e.Fetch(t.Context(), it, ingest.Options{}); err != nil {
			return got, err
		}
	}
	return got, nil
}

// files counts the requests for content.
func files(hub *hubtest.Hub) (n int) {
	for _, r := range hub.Requests() {
		if r.CDN || strings.Contains(r.Path, "/resolve") {
			n++
		}
	}
	return n
}

func repo() map[string]hubtest.Content {
	return map[string]hubtest.Content{
		"model.safetensors": hubtest.Random(1, 3<<20+17),
		"config.json":       hubtest.Bytes([]byte(`{"a":1}`)),
		"empty":             hubtest.Bytes(nil),
		"onnx/model.onnx":   hubtest.Random(2, 3000),
	}
}

// TestHub holds that a repository's files are fetched once, whichever commit,
// repository or kind they are asked for by.
func TestHub(t *testing.T) {
	eachStore(t, func(t *testing.T, s blockstore.Store) {
		hub, e := newHub(t, s, hubtest.Config{Repos: []hubtest.Repo{
			{ID: "owner/name", Files: repo()}, {ID: "other/copy", Files: repo()}, {Type: "dataset", ID: "owner/data", Files: repo()},
		}})
		first, err := all(t, e, "hf://owner/name", "")
		must(t, err)
		for path, content := range repo() {
			sum, err := content.SHA256()
			must(t, err)
			got := first[path]
			if got.From != ingest.FromOrigin || !got.Verified || got.Private || got.OriginBytes != content.Size() {
				t.Errorf("%s: %+v", path, got)
			}
			if a, err := s.Alias(t.Context(), "sha256:"+sum); err != nil || a.Root != got.File.Root {
				t.Errorf("%s: alias of sha256:%s = %v, %v", path, sum, a.Root, err)
			}
		}
		hub.ResetRequests()
		for _, uri := range []string{"hf://owner/name", "hf://owner/name@" + hub.Head("model/owner/name"), "hf://other/copy", "hf://datasets/owner/data"} {
			again, err := all(t, e, uri, "")
			must(t, err)
			for path, got := range again {
				if got.From != ingest.FromStore || got.File != first[path].File || !got.Verified {
					t.Errorf("%s %s: %+v", uri, path, got)
				}
			}
			if len(again) != len(first) {
				t.Errorf("%s: %d files, want %d", uri, len(again), len(first))
			}
		}
		if n := files(hub); n != 0 {
			t.Errorf("%d requests for content that is here", n)
		}
	})
}

// TestHubCorrupt holds that content whose bytes change on the way is refused.
func TestHubCorrupt(t *testing.T) {
	for _, cdn := range []bool{true, false} {
		s, content := blockstore.NewMemory(), hubtest.Bytes(random(1, 3<<20))
		hub, e := newHub(t, s, hubtest.Config{Repos: []hubtest.Repo{{
			ID: "owner/name", Files: map[string]hubtest.Content{"f": content}, LFS: func(string, int64) bool { return cdn },
		}}})
		hub.Plant(hubtest.Fault{CDN: cdn, Path: "/", Corrupt: true, At: 1_000_000})
		uri := "hf://owner/name@" + hub.Head("model/owner/name") + "/f"
		if _, err := all(t, e, uri, ""); !errors.Is(err, connectors.ErrMismatch) {
			t.Errorf("CDN: %v: %v, want ErrMismatch", cdn, err)
		}
		checkNothing(t, s, random(1, 3<<20))
		hub.ClearFaults()
		_, err := all(t, e, uri, "")
		must(t, err)
	}
}

// TestHubPrivate holds that content that needs a token is marked, and that who
// has none does not get it.
func TestHubPrivate(t *testing.T) {
	s := blockstore.NewMemory()
	_, e := newHub(t, s, hubtest.Config{
		Tokens: map[string]hubtest.User{"ta": {Name: "a"}, "tb": {Name: "b"}},
		Repos: []hubtest.Repo{
			{ID: "owner/gated", Gated: "manual", Readers: []string{"a"}, Files: repo()},
			{ID: "owner/open", Files: map[string]hubtest.Content{"config.json": repo()["config.json"]}},
		},
	})
	got, err := all(t, e, "hf://owner/gated", "ta")
	must(t, err)
	for path, f := range got {
		if !f.Private {
			t.Errorf("%s is not private", path)
		}
		checkPrivate(t, s, f.File, true)
	}
	for _, token := range []string{"", "tb"} {
		if got, err := all(t, e, "hf://owner/gated", token); !errors.Is(err, connectors.ErrUnauthorized) {
			t.Errorf("token %q: %+v, %v, want ErrUnauthorized", token, got, err)
		}
	}
	open, err := all(t, e, "hf://owner/open", "")
	must(t, err)
	if f := open["config.json"]; f.Private || f.From != ingest.FromOrigin {
		t.Errorf("%+v", f)
	}
	checkPrivate(t, s, got["model.safetensors"].File, true)
}

// TestHubKnown: files that are named at a commit, and stored, cost no request at all;
// those that are not are asked for, and nobody gets by that what the hub would refuse.
func TestHubKnown(t *testing.T) {
	hub, e := newHub(t, blockstore.NewMemory(), hubtest.Config{
		Repos: []hubtest.Repo{
			{ID: "owner/name", Files: repo()},
			{ID: "owner/gated", Gated: "auto", Readers: []string{"reader"}, Files: map[string]hubtest.Content{"w.bin": hubtest.Random(9, 5000)}},
		},
		Tokens: map[string]hubtest.User{"good": {Name: "reader"}},
	})
	at := func(name, path string) string {
		return "hf://owner/" + name + "@" + hub.Head("model/owner/"+name) + "/" + path
	}
	first := map[string]ingest.Fetched{}
	for _, path := range []string{"model.safetensors", "config.json"} {
		got, err := all(t, e, at("name", path), "")
		must(t, err)
		first[path] = got[path]
	}
	hub.ResetRequests()
	for path, before := range first {
		got, err := all(t, e, at("name", path), "")
		must(t, err)
		if g := got[path]; g.From != ingest.FromStore || g.File.Root != before.File.Root || g.ETag != before.ETag || g.ETag == "" {
			t.Errorf("%s: %+v, want %+v", path, g, before)
		}
	}
	if n := len(hub.Requests()); n != 0 {
		t.Errorf("%d requests for what is stored, want none", n)
	}
	if got, err := all(t, e, at("name", "onnx"), ""); err != nil || got["onnx/model.onnx"].From != ingest.FromOrigin {
		t.Errorf("a directory: %+v, %v", got, err)
	}
	if _, err := all(t, e, at("name", "none"), ""); !errors.Is(err, connectors.ErrNotFound) {
		t.Errorf("a file that is not there: %v", err)
	}
	whole := strings.TrimSuffix(at("name", ""), "/")
	before, err := all(t, e, whole, "")
	must(t, err)
	hub.ResetRequests()
	again, err := all(t, e, whole, "")
	must(t, err)
	for path, want := range before {
		if g := again[path]; g.From != ingest.FromStore || g.File.Root != want.File.Root {
			t.Errorf("%s again: %+v, want %+v", path, g, want)
		}
	}
	if n := len(hub.Requests()); n != 0 || len(again) < 3 || len(again) != len(before) {
		t.Errorf("%d requests for %d files of a repository that is stored, want none", n, len(again))
	}

	_, err = all(t, e, at("gated", "w.bin"), "good")
	must(t, err)
	hub.ResetRequests()
	if _, err := all(t, e, at("gated", "w.bin"), "good"); err != nil || len(hub.Requests()) != 1 {
		t.Errorf("who shows its credential again: %v, %d requests", err, len(hub.Requests()))
	}
	for _, token := range []string{"", "bad"} {
		if _, err := all(t, e, at("gated", "w.bin"), token); !errors.Is(err, connectors.ErrUnauthorized) {
			t.Errorf("token %q: %v, want ErrUnauthorized", token, err)
		}
	}
}

// TestHubSecondJob: what is stored and private is given to a credential for one
// request, without content, if the hub says that it may have it; the hub's refusal is
// the answer if not. What somebody merely claims of a content is no way to it.
func TestHubSecondJob(t *testing.T) {
	weights, small := hubtest.Random(7, 300_000), hubtest.Random(8, 900)
	sum, err := weights.SHA256()
	must(t, err)
	smallSum, err := small.SHA256()
	must(t, err)
	files := map[string]hubtest.Content{"w.bin": weights, "s.json": small}
	tokens := map[string]hubtest.User{}
	for _, name := range []string{"a", "b", "c"} {
		tokens["t"+name] = hubtest.User{Name: name}
	}
	repos := []hubtest.Repo{
		{ID: "owner/gated", Gated: "manual", Readers: []string{"a", "b"}, Files: files},
		{ID: "owner/private", Private: true, Readers: []string{"a", "b"}, Files: files},
		// The stranger's own: another content of the same size, and a text that is
		// a pointer to what he wants.
		{ID: "c/trap", Private: true, Readers: []string{"c"}, Files: map[string]hubtest.Content{
			"s.json": hubtest.Random(9, small.Size()),
			"p.json": hubtest.Bytes(fmt.Appendf(nil, "version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize %d\n", sum, weights.Size())),
		}},
	}
	tests := []struct {
		name, uri, token, checksum string
		pinned                     bool
		want                       error // nil: it is given
		says                       string
	}{
		{name: "gated, on the list", uri: "owner/gated", token: "tb"},
		{name: "gated, on the list, commit", uri: "owner/gated", token: "tb", pinned: true},
		{name: "private, a reader", uri: "owner/private", token: "tb"},
		{name: "private, a reader, one file", uri: "owner/private/w.bin", token: "tb"},
		{name: "gated, not on the list", uri: "owner/gated", token: "tc", want: connectors.ErrUnauthorized, says: "gated"},
		{name: "gated, not on the list, commit", uri: "owner/gated", token: "tc", pinned: true, want: connectors.ErrUnauthorized, says: "gated"},
		{name: "gated, no token", uri: "owner/gated", want: connectors.ErrUnauthorized, says: "gated"},
		{name: "bad token", uri: "owner/gated", token: "tx", want: connectors.ErrUnauthorized, says: "token was not accepted"},
		{name: "private, a stranger", uri: "owner/private", token: "tc", want: connectors.ErrNotFound, says: "no such repository"},
		{name: "a claimed digest", uri: "c/trap/s.json", token: "tc", checksum: "sha256:" + smallSum, want: connectors.ErrMismatch, says: smallSum},
		{name: "a claimed pointer", uri: "c/trap/p.json", token: "tc", want: connectors.ErrPointer, says: "pointer"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			hub, e := newHub(t, blockstore.NewMemory(), hubtest.Config{Tokens: tokens, Repos: repos})
			uri := "hf://" + tt.uri
			if tt.pinned {
				uri += "@" + hub.Head("model/"+tt.uri)
			}
			_, err := all(t, e, "hf://owner/gated", "ta")
			must(t, err)
			_, err = all(t, e, "hf://c/trap/s.json", "tc")
			must(t, err)
			hub.ResetRequests()
			ref, err := connectors.ParseURI(uri)
			must(t, err)
			ref, err = ref.WithChecksum(tt.checksum)
			must(t, err)
			ref.Token = connectors.Secret(tt.token)
			got, err := allOf(t, e, ref)
			if tt.want != nil {
				if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.says) {
					t.Errorf("%+v, %v, want %v that says %q", got, err, tt.want, tt.says)
				}
				return
			}
			must(t, err)
			for path, g := range got {
				if g.From != ingest.FromStore || !g.Private || g.OriginBytes != 0 || !g.Verified {
					t.Errorf("%s: %+v", path, g)
				}
			}
			heads, gets := 0, 0
			for _, r := range hub.Requests() {
				switch {
				case r.Method == http.MethodHead:
					heads++
				case r.CDN || strings.Contains(r.Path, "/resolve"):
					gets++
				}
			}
			if len(got) == 0 || heads != 1 || gets != 0 {
				t.Errorf("%d files cost %d HEADs and %d GETs of content, want 1 and 0", len(got), heads, gets)
			}
		})
	}
}
