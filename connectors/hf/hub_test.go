package hf_test

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hypha-node/hypha-node/connectors"
	"github.com/hypha-node/hypha-node/connectors/hf"
	"github.com/hypha-node/hypha-node/internal/hubtest"
)

// collect returns the items of a reference, and the error that ended them.
func collect(t *testing.T, c *hf.Connector, ref connectors.Ref) ([]connectors.Item, error) {
	t.Helper()
	var items []connectors.Item
	for it, err := range c.Items(t.Context(), ref, operator) {
		if err != nil {
			return items, err
		}
		items = append(items, it)
	}
	return items, nil
}

// readItem reads the whole content of an item.
func readItem(t *testing.T, it connectors.Item) ([]byte, error) {
	t.Helper()
	body, err := it.Open(t.Context(), 0, -1, nil)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(body)
	return b, errors.Join(err, body.Close())
}

// named returns a reference to files of owner/name.
func named(files ...string) connectors.Ref {
	return connectors.Ref{
		Type: connectors.TypeHuggingFace, Repository: "owner/name", RepoType: connectors.RepoModel,
		HasFilenames: true, Filenames: files, Index: -1,
	}
}

// model is a small model.
func model() map[string]hubtest.Content {
	return map[string]hubtest.Content{
		"config.json":       hubtest.Bytes([]byte(`{"a":1}`)),
		"model.safetensors": hubtest.Random(1, 300_000),
	}
}

func TestIdentity(t *testing.T) {
	hub := start(t, hubtest.Config{Repos: []hubtest.Repo{{ID: "owner/name", Files: model()}}})
	items, err := collect(t, connect(t, hub, hf.Config{}), named("model.safetensors", "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	commit := hub.Head("model/owner/name")
	sum, err := model()["model.safetensors"].SHA256()
	if err != nil {
		t.Fatal(err)
	}
	git, err := model()["config.json"].GitSHA1()
	if err != nil {
		t.Fatal(err)
	}
	large, small := items[0], items[1]
	if fmt.Sprintf("%x", *large.SHA256) != sum || large.GitSHA1 != nil || large.ETag != sum || large.Size != 300_000 {
		t.Errorf("large file is %+v", large)
	}
	if fmt.Sprintf("%x", *small.GitSHA1) != git || small.SHA256 != nil || small.ETag != git {
		t.Errorf("small file is %+v", small)
	}
	for _, it := range items {
		if want := "hf:model/owner/name@" + commit + "/" + it.Path; it.Key != want || !it.Pinned || it.Revision != commit || it.Source != "huggingface" || it.Scope != "" {
			t.Errorf("item is %+v", it)
		}
		if want := hub.URL + "/owner/name/resolve/" + commit + "/" + it.Path; it.URL != want {
			t.Errorf("URL is %s, want %s", it.URL, want)
		}
	}
}

// asked returns the requests as "METHOD place", place being what was asked of
// the hub, or "cdn".
func asked(hub *hubtest.Hub) []string {
	var list []string
	for _, r := range hub.Requests() {
		place := "cdn"
		if parts := strings.Split(r.Path, "/"); !r.CDN {
			place = parts[min(5, len(parts)-1)]
			for _, p := range parts {
				if p == "resolve" || p == "resolve-cache" {
					place = p
				}
			}
		}
		list = append(list, r.Method+" "+place)
	}
	return list
}

// TestRequests: what a reference costs. No HEAD, ever.
func TestRequests(t *testing.T) {
	commit := func(h *hubtest.Hub) string { return h.Head("model/owner/name") }
	tests := []struct {
		name string
		ref  func(*hubtest.Hub) connectors.Ref
		read bool
		want []string
	}{
		{
			"named", func(*hubtest.Hub) connectors.Ref { return named("config.json", "model.safetensors") }, true,
			[]string{"GET revision", "POST paths-info", "GET resolve", "GET resolve-cache", "GET resolve", "GET cdn"},
		},
		{
			"pinned", func(h *hubtest.Hub) connectors.Ref {
				ref := named("config.json")
				ref.Revision = commit(h)
				return ref
			}, false,
			[]string{"POST paths-info"},
		},
		{
			"listing of three pages", func(*hubtest.Hub) connectors.Ref {
				ref := named()
				ref.HasFilenames = false
				return ref
			}, false,
			[]string{"GET revision", "GET tree", "GET tree", "GET tree"},
		},
		{
			"pinned listing", func(h *hubtest.Hub) connectors.Ref {
				ref := named()
				ref.HasFilenames, ref.Revision, ref.Allow = false, commit(h), []string{"none"}
				return ref
			}, false,
			[]string{"GET tree", "GET tree", "GET tree"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			files := model()
			for i := range 3 {
				files[fmt.Sprintf("x%d", i)] = hubtest.Bytes([]byte("x"))
			}
			hub := start(t, hubtest.Config{PageSize: 2, Repos: []hubtest.Repo{{ID: "owner/name", Files: files}}})
			items, err := collect(t, connect(t, hub, hf.Config{}), tt.ref(hub))
			if err != nil {
				t.Fatal(err)
			}
			for _, it := range items {
				if !tt.read {
					break
				}
				if _, err := readItem(t, it); err != nil {
					t.Error(err)
				}
			}
			if diff := cmp.Diff(tt.want, asked(hub)); diff != "" {
				t.Errorf("requests differ (-want +got):\n%s", diff)
			}
		})
	}
}

// TestManyNames: names are asked for in batches.
func TestManyNames(t *testing.T) {
	files, names := map[string]hubtest.Content{}, []string{}
	for i := range 1200 {
		name := fmt.Sprintf("d/%d", 1200-i)
		files[name], names = hubtest.Bytes([]byte(name)), append(names, name)
	}
	hub := start(t, hubtest.Config{Repos: []hubtest.Repo{{ID: "owner/name", Files: files}}})
	items, err := collect(t, connect(t, hub, hf.Config{}), named(names...))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.EqualFunc(items, names, func(it connectors.Item, name string) bool { return it.Path == name }) {
		t.Error("items are not in the order of the request")
	}
	if n := len(hub.Requests()); n != 4 {
		t.Errorf("%d requests, want 4", n)
	}
}

// TestSnapshot: what was resolved stays what it was when the branch moves on.
func TestSnapshot(t *testing.T) {
	hub := start(t, hubtest.Config{Repos: []hubtest.Repo{{ID: "owner/name", Files: model()}}})
	c := connect(t, hub, hf.Config{})
	before, err := collect(t, c, named("config.json"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := hub.Commit("model/owner/name", map[string]hubtest.Content{"config.json": hubtest.Bytes([]byte("new"))}); err != nil {
		t.Fatal(err)
	}
	if got, err := readItem(t, before[0]); err != nil || string(got) != `{"a":1}` {
		t.Errorf("content is %q, %v", got, err)
	}
	after, err := collect(t, c, named("config.json"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := readItem(t, after[0]); err != nil || string(got) != "new" {
		t.Errorf("content is %q, %v", got, err)
	}
	if before[0].Key == after[0].Key {
		t.Error("two contents have one key")
	}
}

// TestRefusals: the Hub's refusals are told apart, and say what to do.
func TestRefusals(t *testing.T) {
	repos := []hubtest.Repo{
		{ID: "owner/name", Files: model()},
		{ID: "owner/gated", Gated: "manual", Readers: []string{"alice"}, Files: model()},
		{ID: "owner/private", Private: true, Readers: []string{"alice"}, Files: model()},
		{ID: "owner/disabled", Disabled: true, Files: model()},
	}
	tests := []struct {
		name, repo, rev, file, token string
		want                         error
		says, hint                   string
	}{
		{"gated", "owner/gated", "", "config.json", "", connectors.ErrUnauthorized, "gated", "request access at URL/owner/gated, then set HF_TOKEN"},
		{"gated, not on the list", "owner/gated", "", "config.json", "hf_bob", connectors.ErrUnauthorized, "gated", "request access at URL/owner/gated"},
		{"gated, allowed", "owner/gated", "", "config.json", "hf_alice", nil, "", ""},
		{"private", "owner/private", "", "config.json", "", connectors.ErrUnauthorized, "does not exist or is private", "set HF_TOKEN"},
		{"private, no access", "owner/private", "", "config.json", "hf_bob", connectors.ErrNotFound, "no such repository", ""},
		{"private, allowed", "owner/private", "", "config.json", "hf_alice", nil, "", ""},
		{"no repository", "owner/nothing", "", "config.json", "", connectors.ErrUnauthorized, "does not exist or is private", "set HF_TOKEN"},
		{"no repository, known user", "owner/nothing", "", "config.json", "hf_bob", connectors.ErrNotFound, "no such repository", ""},
		{"bad token", "owner/name", "", "config.json", "hf_wrong", connectors.ErrUnauthorized, "token was not accepted", "URL/settings/tokens"},
		{"disabled", "owner/disabled", "", "config.json", "", connectors.ErrUnauthorized, "disabled", ""},
		{"no revision", "owner/name", "nope", "config.json", "", connectors.ErrNotFound, "no revision nope", ""},
		{"no commit", "owner/name", strings.Repeat("ab", 20), "config.json", "", connectors.ErrNotFound, "no revision abab", ""},
		{"no file", "owner/name", "", "nope/x.json", "", connectors.ErrNotFound, "no file nope/x.json at main", ""},
	}
	hub := start(t, hubtest.Config{Repos: repos, Tokens: map[string]hubtest.User{"hf_alice": {Name: "alice"}, "hf_bob": {Name: "bob"}}})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ref := named(tt.file)
			ref.Repository, ref.Revision, ref.Token = tt.repo, tt.rev, connectors.Secret(tt.token)
			items, err := collect(t, connect(t, hub, hf.Config{}), ref)
			if err == nil {
				_, err = readItem(t, items[0])
			}
			if !errors.Is(err, tt.want) || tt.want == nil && err != nil {
				t.Fatalf("error is %v, want %v", err, tt.want)
			}
			if tt.want == nil {
				return
			}
			ce, ok := errors.AsType[*connectors.Error](err)
			if !ok || !strings.Contains(err.Error(), tt.says) || !strings.Contains(err.Error(), tt.repo) {
				t.Errorf("error is %v, want one that says %q", err, tt.says)
			}
			if want := strings.ReplaceAll(tt.hint, "URL", hub.URL); ok && (!strings.Contains(ce.Hint, want) || want == "" && ce.Hint != "") {
				t.Errorf("hint is %q, want %q", ce.Hint, want)
			}
			if strings.Contains(err.Error(), "hf_") {
				t.Errorf("error shows the token: %v", err)
			}
		})
	}
}

// TestToken: it goes to the hub and not to the CDN; the reference's own comes
// first; and content that is not known to be public is scoped by it.
func TestToken(t *testing.T) {
	hub := start(t, hubtest.Config{
		Repos: []hubtest.Repo{
			{ID: "owner/name", Files: model()},
			{ID: "owner/private", Private: true, Readers: []string{"alice", "carol"}, Files: model()},
			{ID: "owner/gated", Gated: "auto", Readers: []string{"alice"}, Files: model()},
		},
		Tokens: map[string]hubtest.User{"hf_alice": {Name: "alice"}, "hf_carol": {Name: "carol"}},
	})
	c := connect(t, hub, hf.Config{Token: "hf_alice"})
	scopes := map[string]string{}
	for _, tt := range []struct{ repo, rev, token string }{
		{"owner/name", "", ""},
		{"owner/private", "", ""},
		{"owner/gated", "", ""},
		{"owner/private", "", "hf_carol"},
		{"owner/name", hub.Head("model/owner/name"), ""},
	} {
		hub.ResetRequests()
		ref := named("model.safetensors")
		ref.Repository, ref.Revision, ref.Token = tt.repo, tt.rev, connectors.Secret(tt.token)
		items, err := collect(t, c, ref)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := readItem(t, items[0]); err != nil {
			t.Fatal(err)
		}
		want := "Bearer " + tt.token
		if tt.token == "" {
			want = "Bearer hf_alice"
		}
		for _, r := range hub.Requests() {
			if got := r.Header.Get("Authorization"); r.CDN && got != "" || !r.CDN && got != want {
				t.Errorf("%s: %s of cdn=%t carries %q, want %q", tt.repo, r.Path, r.CDN, got, want)
			}
		}
		scopes[tt.repo+"@"+tt.rev[:min(4, len(tt.rev))]+tt.token] = items[0].Scope
		if strings.Contains(items[0].Scope, "hf_") {
			t.Error("the scope shows the token")
		}
	}
	if scopes["owner/name@"] != "" {
		t.Errorf("public content is scoped: %v", scopes)
	}
	for name, scope := range scopes {
		if name != "owner/name@" && scope == "" {
			t.Errorf("%s is not scoped: %v", name, scopes)
		}
	}
	if scopes["owner/private@"] == scopes["owner/private@hf_carol"] {
		t.Error("two tokens have one scope")
	}
}

func TestRenamed(t *testing.T) {
	hub := start(t, hubtest.Config{
		Repos:   []hubtest.Repo{{ID: "owner/new", Files: model()}},
		Renames: map[string]string{"owner/name": "owner/new", "old": "owner/new"},
	})
	for _, repo := range []string{"owner/name", "old"} {
		for _, ref := range []connectors.Ref{named("config.json"), {Type: connectors.TypeHuggingFace, RepoType: connectors.RepoModel, Allow: []string{"*.json"}}} {
			ref.Repository, ref.Token = repo, ""
			items, err := collect(t, connect(t, hub, hf.Config{}), ref)
			if err != nil || len(items) != 1 {
				t.Fatalf("%d items, %v", len(items), err)
			}
			if got, err := readItem(t, items[0]); err != nil || string(got) != `{"a":1}` {
				t.Errorf("content is %q, %v", got, err)
			}
		}
	}
}

func TestBareName(t *testing.T) {
	hub := start(t, hubtest.Config{Repos: []hubtest.Repo{{ID: "gpt2", Files: model()}}})
	items, err := collect(t, connect(t, hub, hf.Config{}), parse(t, "hf://gpt2@main/model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	if b, err := readItem(t, items[0]); err != nil || len(b) != 300_000 {
		t.Errorf("%d bytes, %v", len(b), err)
	}
}

func TestOffline(t *testing.T) {
	c := hf.New(hf.Config{Offline: true})
	_, err := collect(t, c, named("config.json"))
	ce, ok := errors.AsType[*connectors.Error](err)
	if !ok || !strings.Contains(err.Error(), "offline") || !strings.Contains(ce.Hint, "HF_HUB_OFFLINE") {
		t.Errorf("error is %v", err)
	}
}
