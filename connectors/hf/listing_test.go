package hf_test

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/blockstore/memo"
	"github.com/hypha-node/hypha-node/connectors"
	"github.com/hypha-node/hypha-node/connectors/hf"
	"github.com/hypha-node/hypha-node/internal/hubtest"
)

// TestRedactedListing: a listing whose digests are left out is asked for again.
func TestRedactedListing(t *testing.T) {
	asked := 0
	c := scripted(t, map[string]http.HandlerFunc{"revision": good(), "tree": func(w http.ResponseWriter, r *http.Request) {
		asked++
		says(`[{"type":"file","path":"m","size":5,"oid":"`+oid+`","lfs":{"oid":"`+strings.Repeat("*", 64)+`","size":5}}]`)(w, r)
	}})
	for range 2 {
		if items, err := collect(t, c, parse(t, "hf://owner/name")); err != nil || len(items) != 1 {
			t.Fatalf("%d items, %v", len(items), err)
		}
	}
	if asked != 2 {
		t.Errorf("the listing was asked for %d times, want 2", asked)
	}
}

// TestListingAgain: the listing of a commit is asked for once, also over a restart and
// for whoever names files or directories of it; that of a branch costs one request. It
// is nothing to those to whom the hub would not tell it.
func TestListingAgain(t *testing.T) {
	files := model()
	for i := range 3 {
		files[fmt.Sprintf("d/x%d", i)] = hubtest.Bytes([]byte("x"))
	}
	hub := start(t, hubtest.Config{
		PageSize: 2,
		Repos: []hubtest.Repo{
			{ID: "owner/name", Files: files},
			{ID: "owner/private", Private: true, Readers: []string{"reader"}, Files: model()},
		},
		Tokens: map[string]hubtest.User{"good": {Name: "reader"}, "other": {Name: "other"}},
	})
	records := blockstore.NewMemory().Records("hub")
	again := func(offline bool) *hf.Connector { // a connector that begins with what is on the disk
		return connect(t, hub, hf.Config{Memo: memo.New(records, slog.New(slog.DiscardHandler)), Offline: offline})
	}
	ref := func(name, revision, token string, files ...string) connectors.Ref {
		r := named(files...)
		r.Repository, r.HasFilenames, r.Revision, r.Token = "owner/"+name, len(files) > 0, revision, connectors.Secret(token)
		return r
	}
	public, private := hub.Head("model/owner/name"), hub.Head("model/owner/private")
	steps := []struct {
		what    string
		ref     connectors.Ref
		offline bool
		asked   []string
		files   int
		err     error
	}{
		{"first", ref("name", public, ""), false, []string{"GET tree", "GET tree", "GET tree"}, 5, nil},
		{"again", ref("name", public, ""), false, nil, 5, nil},
		{"by whom it may be told as well", ref("name", public, "good"), false, nil, 5, nil},
		{"names", ref("name", public, "", "config.json", "d"), false, nil, 4, nil},
		{"a name that is not there", ref("name", public, "", "none"), false, nil, 0, connectors.ErrNotFound},
		{"nobody has asked for main", ref("name", "", ""), true, nil, 0, connectors.ErrUpstream},
		{"main", ref("name", "", ""), false, []string{"GET revision"}, 5, nil},
		{"main, offline", ref("name", "", "", "d"), true, nil, 3, nil},
		{"private", ref("private", private, "good"), false, []string{"GET tree"}, 2, nil},
		{"private, again", ref("private", private, "good"), false, nil, 2, nil},
		{"private, another", ref("private", private, "other"), false, []string{"GET tree"}, 0, connectors.ErrNotFound},
		{"private, nobody", ref("private", private, ""), false, []string{"GET tree"}, 0, connectors.ErrUnauthorized},
		{"private, offline", ref("private", private, "good"), true, nil, 2, nil},
		{"private, offline, another", ref("private", private, "other"), true, nil, 0, connectors.ErrUpstream},
	}
	for _, s := range steps {
		hub.ResetRequests()
		items, err := collect(t, again(s.offline), s.ref)
		if !errors.Is(err, s.err) || len(items) != s.files {
			t.Errorf("%s: %d files, %v; want %d, %v", s.what, len(items), err, s.files, s.err)
		}
		if diff := cmp.Diff(s.asked, asked(hub)); diff != "" {
			t.Errorf("%s: requests differ (-want +got):\n%s", s.what, diff)
		}
		if !s.offline || len(items) == 0 {
			continue
		}
		_, err = readItem(t, items[0])
		if ce, ok := errors.AsType[*connectors.Error](err); !ok || !strings.Contains(ce.Hint, "HF_HUB_OFFLINE") {
			t.Errorf("%s: content is asked for, %v", s.what, err)
		}
		if err := items[0].May(t.Context()); err == nil {
			t.Errorf("%s: nobody has been asked", s.what)
		}
	}
}
