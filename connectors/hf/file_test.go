package hf_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hypha-node/hypha-node/connectors"
	"github.com/hypha-node/hypha-node/connectors/hf"
	"github.com/hypha-node/hypha-node/internal/hubtest"
)

// TestFileItem holds that an item made of what a listing tells is the one that
// Items yields for the file, but for its scope, and has the same bytes.
func TestFileItem(t *testing.T) {
	hub := start(t, hubtest.Config{Repos: []hubtest.Repo{{ID: "owner/name", Files: model()}}})
	c := connect(t, hub, hf.Config{})
	items, err := collect(t, c, named("model.safetensors", "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	commit := hub.Head("model/owner/name")
	for _, want := range items {
		size, listing := want.Size, ""
		if want.SHA256 != nil {
			listing = fmt.Sprintf(`[{"type":"file","path":%q,"size":%d,"oid":"x","lfs":{"oid":%q,"size":%d}}]`, want.Path, size, want.ETag, size)
		} else {
			listing = fmt.Sprintf(`[{"type":"file","path":%q,"size":%d,"oid":%q}]`, want.Path, size, want.ETag)
		}
		files, err := hf.Files([]byte(listing), hf.File{RepoType: connectors.RepoModel, Repository: "owner/name", Commit: commit})
		if err != nil || len(files) != 1 {
			t.Fatalf("%d files, %v", len(files), err)
		}
		if diff := cmp.Diff(files[0], files[0].WithETag(want.ETag)); diff != "" {
			t.Errorf("by its tag it is another file: %s", diff)
		}
		for _, token := range []connectors.Secret{"", "secret"} {
			for _, public := range []bool{true, false} {
				got, err := c.Item(files[0], token, public, operator)
				if err != nil {
					t.Fatal(err)
				}
				scope := hf.Scope(token)
				if public {
					scope = ""
				}
				if got.Path != want.Path || got.Size != want.Size || got.Key != want.Key || !got.Pinned || got.URL != want.URL || got.ETag != want.ETag ||
					got.Revision != commit || got.Scope != scope || cmp.Diff(got.SHA256, want.SHA256) != "" || cmp.Diff(got.GitSHA1, want.GitSHA1) != "" {
					t.Errorf("token %v, public %v: item %+v, want %+v", token != "", public, got, want)
				}
			}
		}
		it, err := c.Item(files[0], "", true, operator)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := readItem(t, it); err != nil || int64(len(b)) != want.Size {
			t.Errorf("%d bytes, %v", len(b), err)
		}
	}
	if hf.Scope("") != "" || hf.Scope("a") == hf.Scope("b") || hf.Scope("a") == "a" {
		t.Error("scopes do not tell tokens apart, or tell them")
	}
}

// TestFilesRefuse holds what is no file of a listing, and no listing.
func TestFilesRefuse(t *testing.T) {
	files, err := hf.Files([]byte(`[{"type":"directory","path":"d"},{"type":"file","path":"../x"},{"type":"file","path":"a","size":-1},{}]`), hf.File{})
	if err != nil || len(files) != 0 {
		t.Errorf("%v, %v", files, err)
	}
	for _, listing := range []string{"", "{}", "[1]", "null x"} {
		if files, err := hf.Files([]byte(listing), hf.File{}); len(files) != 0 || err == nil && listing != "null x" {
			t.Errorf("%q: %v, %v", listing, files, err)
		}
	}
	if _, err := connect(t, start(t, hubtest.Config{}), hf.Config{}).Item(hf.File{Path: "../x"}, "", true, operator); !errors.Is(err, connectors.ErrUpstream) {
		t.Errorf("unsafe name: %v", err)
	}
}

// TestCommit reads what the hub tells of a revision.
func TestCommit(t *testing.T) {
	const sha = "0123456789abcdef0123456789abcdef01234567"
	for _, tc := range []struct {
		info, kind, commit string
		public             bool
	}{
		{`{"sha":"` + sha + `","private":false,"gated":false}`, connectors.RepoModel, sha, true},
		{`{"sha":"` + sha + `","private":false,"gated":"auto"}`, connectors.RepoModel, sha, false},
		{`{"sha":"` + sha + `","private":true,"gated":false}`, connectors.RepoModel, sha, false},
		{`{"sha":"` + sha + `","private":false}`, connectors.RepoModel, sha, false},
		{`{"sha":"` + sha + `","private":false}`, connectors.RepoSpace, sha, true},
		{`{"sha":"` + sha + `"}`, connectors.RepoSpace, sha, false},
		{`{"sha":"main"}`, connectors.RepoModel, "", false},
		{`[]`, connectors.RepoModel, "", false},
	} {
		if commit, public := hf.Commit([]byte(tc.info), tc.kind); commit != tc.commit || public != tc.public {
			t.Errorf("%s of a %s: %q, %v", tc.info, tc.kind, commit, public)
		}
	}
}
