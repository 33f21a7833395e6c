package control

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFetch(t *testing.T) {
	both(t, func(t *testing.T, r *rig) {
		r.files["dir/hello.txt"] = hello
		req := FetchRequest{Refs: refs(r.origin + "/dir/hello.txt"), Output: filepath.Join(r.dir, "out"), Mode: 0o644}
		got, err := items(r.Fetch(t.Context(), req))
		must(t, err)
		want := []Fetched{{
			Path: "hello.txt", Size: 11, CID: helloCID, SHA256: sum(hello), From: "origin", Transport: "http",
			Source: r.origin + "/dir/hello.txt", Output: filepath.Join(r.dir, "out", "hello.txt"),
		}}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		text, err := os.ReadFile(want[0].Output)
		if info, serr := os.Stat(want[0].Output); err != nil || serr != nil || string(text) != hello || info.Mode() != 0o644 {
			t.Errorf("%q, %v, %v, %v", text, info.Mode(), err, serr)
		}
		// Again: nothing but a question whether it has changed.
		got, err = items(r.Fetch(t.Context(), req))
		if err != nil || len(got) != 1 || got[0].From != "store" {
			t.Errorf("%+v, %v", got, err)
		}
		must(t, os.WriteFile(want[0].Output, []byte("mine"), 0o600))
		_, err = items(r.Fetch(t.Context(), req))
		wantError(t, err, CodeConflict, "hello.txt")
		req.Force = true
		_, err = items(r.Fetch(t.Context(), req))
		must(t, err)
		if text, err = os.ReadFile(want[0].Output); err != nil || string(text) != hello {
			t.Errorf("%q, %v", text, err)
		}
		// By its CID, out of the store.
		got, err = items(r.Fetch(t.Context(), FetchRequest{Refs: refs("ipfs://" + helloCID)}))
		if err != nil || len(got) != 1 || got[0].From != "store" || got[0].Output != "" {
			t.Errorf("%+v, %v", got, err)
		}
	})
}

func refs(uris ...string) []json.RawMessage {
	var list []json.RawMessage
	for _, u := range uris {
		b, err := json.Marshal(u)
		if err != nil {
			return nil
		}
		list = append(list, b)
	}
	return list
}

func TestFetchSome(t *testing.T) {
	both(t, func(t *testing.T, r *rig) {
		root := r.tree(t)
		req := FetchRequest{Refs: refs("ipfs://" + root), Include: []string{"*.txt"}, Exclude: []string{"a*"}, DryRun: true}
		got, err := items(r.Fetch(t.Context(), req))
		if err != nil || len(got) != 1 || got[0].Path != "sub/b.txt" || got[0].From != "store" || got[0].Transfer == nil || *got[0].Transfer != 0 {
			t.Errorf("%+v, %v", got, err)
		}
		req.Output, req.DryRun = filepath.Join(r.dir, "some"), false
		_, err = items(r.Fetch(t.Context(), req))
		must(t, err)
		if text, err := os.ReadFile(filepath.Join(r.dir, "some", "sub", "b.txt")); err != nil || string(text) != "bb" {
			t.Errorf("%q, %v", text, err)
		}
		if _, err := os.Lstat(filepath.Join(r.dir, "some", "a.txt")); err == nil {
			t.Error("an excluded file was written")
		}
		req.Include = []string{"*.bin"}
		_, err = items(r.Fetch(t.Context(), req))
		wantError(t, err, CodeNotFound, "no file")
	})
}

func TestFetchRefused(t *testing.T) {
	both(t, func(t *testing.T, r *rig) {
		for name, tc := range map[string]struct {
			req  FetchRequest
			code string
		}{
			"no references":   {FetchRequest{}, CodeInvalid},
			"no URI":          {FetchRequest{Refs: refs("x")}, CodeInvalid},
			"wrong type":      {FetchRequest{Refs: []json.RawMessage{[]byte("7")}}, CodeInvalid},
			"unknown scheme":  {FetchRequest{Refs: refs("ftp://x/y")}, CodeInvalid},
			"absent":          {FetchRequest{Refs: refs(r.origin + "/absent")}, CodeNotFound},
			"nobody has it":   {FetchRequest{Refs: refs("ipfs://" + nobody)}, CodeNotFound},
			"relative output": {FetchRequest{Refs: refs(r.origin), Output: "x"}, CodeInvalid},
		} {
			t.Run(name, func(t *testing.T) {
				_, err := items(r.Fetch(t.Context(), tc.req))
				wantError(t, err, tc.code, "")
			})
		}
	})
}
