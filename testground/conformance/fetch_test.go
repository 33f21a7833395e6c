package conformance

import (
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hypha-node/hypha-node/internal/hubtest"
)

// hfRef is a reference to files of org/model.
func hfRef(filenames ...string) map[string]any {
	return map[string]any{"type": "HuggingFace", "repository": "org/model", "filenames": filenames}
}

// paths are the paths of an answer.
func paths(files []fetched) (out []string) {
	for _, f := range files {
		out = append(out, f.Path)
	}
	return out
}

// TestF01HuggingFace: one element a file, in the order of the request.
func TestF01HuggingFace(t *testing.T) {
	j := newJob(t, shared.nodes[0])
	ref := hfRef("model.safetensors", "config.json", "empty.txt")
	ref["revision"] = "main"
	files := j.fetch(t, map[string]any{"fetch": ref, "out_dir": "artifacts"})
	if got, want := paths(files), []string{"artifacts/model.safetensors", "artifacts/config.json", "artifacts/empty.txt"}; !slices.Equal(got, want) {
		t.Fatalf("paths %q, want %q", got, want)
	}
	want, err := hubtest.Random(1, 3<<20+1).SHA256()
	ok(t, err)
	if files[0].Checksum != "sha256:"+want || files[0].Size != 3<<20+1 {
		t.Errorf("%+v, want sha256:%s", files[0], want)
	}
	commit := shared.hub.Head("model/org/model")
	for _, f := range files {
		m := f.Metadata
		when, err := time.Parse(time.RFC3339, m.Timestamp)
		ok(t, err)
		if m.Source != "huggingface" || m.Revision != commit || len(commit) != 40 || !strings.HasSuffix(m.Timestamp, "Z") || when.IsZero() {
			t.Errorf("%s: metadata %+v", f.Path, m)
		}
		if !regexp.MustCompile(`^baf[a-z2-7]+$`).MatchString(f.CID) {
			t.Errorf("%s: CID %q", f.Path, f.CID)
		}
	}
	if files[0].Metadata.ETag == "" {
		t.Errorf("no etag: %+v", files[0].Metadata)
	}
}

// TestF02SubDirectories: names with directories keep them, 0700.
func TestF02SubDirectories(t *testing.T) {
	j := newJob(t, shared.nodes[0])
	files := j.fetch(t, map[string]any{"fetch": hfRef("a/b/c.json", "tokenizer/with space+ü.md"), "out_dir": "in/to"})
	if got, want := paths(files), []string{"in/to/a/b/c.json", "in/to/tokenizer/with space+ü.md"}; !slices.Equal(got, want) {
		t.Fatalf("paths %q, want %q", got, want)
	}
	for _, dir := range []string{"in", "in/to", "in/to/a", "in/to/a/b"} {
		info, err := os.Stat(filepath.Join(j.WorkDir, dir))
		ok(t, err)
		if info.Mode().Perm() != 0o700 {
			t.Errorf("%s is %v", dir, info.Mode())
		}
	}
}

// TestF03OneCommit: without a revision it is main, and the branch is resolved
// once, so that files of one answer are of one commit.
func TestF03OneCommit(t *testing.T) {
	j := newJob(t, shared.nodes[0])
	commit := shared.hub.Head("model/org/model")
	for _, revision := range []any{nil, "main", commit} {
		ref := hfRef("config.json", "a/b/c.json")
		ref["revision"] = revision
		for _, f := range j.fetch(t, ref) {
			if f.Metadata.Revision != commit {
				t.Errorf("revision %v: %s is of %s, want %s", revision, f.Path, f.Metadata.Revision, commit)
			}
		}
	}
	for _, r := range shared.hub.Requests() {
		if strings.HasPrefix(r.Path, "/org/model/resolve/") && !strings.HasPrefix(r.Path, "/org/model/resolve/"+commit+"/") {
			t.Errorf("asked for %s, not for the commit", r.Path)
		}
	}
}

// TestF04Token: a token goes to the hub only, and is told to nobody.
func TestF04Token(t *testing.T) {
	n := start(t, filepath.Join(shortDir(t), "r"), nil)
	j := newJob(t, n)
	ref := map[string]any{"type": "huggingface", "repository": "org/gated", "filenames": []string{"secret.bin"}}
	j.post(t, "/resources/fetch", ref).refused(t, 403, "gated")
	ref["token"] = "hf_wrong"
	j.post(t, "/resources/fetch", ref).refused(t, 403, "gated")
	ref["token"] = "hf_good"
	a := j.post(t, "/resources/fetch", ref)
	var files []fetched
	a.into(t, http.StatusOK, &files)
	if strings.Contains(string(a.body), "hf_good") || len(files) != 1 {
		t.Errorf("answer %s", a.body)
	}
	toHub := 0
	for _, r := range shared.hub.Requests() {
		carries := r.Header.Get("Authorization") == "Bearer hf_good"
		if r.CDN && r.Header.Get("Authorization") != "" {
			t.Errorf("the CDN was sent a token: %s", r.Path)
		}
		if carries && !strings.Contains(r.Path, "org/gated") {
			t.Errorf("the token went to %s", r.Path)
		}
		if carries && !r.CDN {
			toHub++
		}
	}
	if toHub == 0 {
		t.Error("nobody got the token")
	}
	// Without it, another job does not have the file, stored or not.
	delete(ref, "token")
	newJob(t, n).post(t, "/resources/fetch", ref).refused(t, 403, "gated")
	ok(t, n.Stop())
	if log := n.Log(); strings.Contains(log, "hf_good") || strings.Contains(log, "hf_wrong") {
		t.Errorf("the log has a token:\n%s", log)
	}

	own := start(t, filepath.Join(shortDir(t), "r"), []string{"HF_TOKEN=hf_good"})
	if files := newJob(t, own).fetch(t, ref); len(files) != 1 || files[0].Size != 2<<20 {
		t.Errorf("with HF_TOKEN: %+v", files)
	}
}

// TestF05RepoType: models, datasets and spaces, in the spellings of executors.
func TestF05RepoType(t *testing.T) {
	j := newJob(t, shared.nodes[0])
	for _, kind := range []string{"dataset", "Dataset"} {
		ref := map[string]any{"type": "huggingface", "repository": "org/data", "repo_type": kind, "filenames": []string{"train.csv"}}
		if files := j.fetch(t, ref); len(files) != 1 || files[0].Size != 70000 {
			t.Errorf("%s: %+v", kind, files)
		}
	}
	for _, kind := range []any{"model", "Model", nil} {
		ref := hfRef("config.json")
		ref["repo_type"] = kind
		j.fetch(t, ref)
	}
	ref := map[string]any{"type": "huggingface", "repository": "org/data", "filenames": []string{"train.csv"}}
	// No model has that name; the hub does not tell strangers what is private.
	j.post(t, "/resources/fetch", ref).refused(t, 403, "gated")
	ref["repo_type"] = "planet"
	j.post(t, "/resources/fetch", ref).refused(t, 400, "invalid_request")
}

// TestF06Listing: an empty list is refused, an absent one is the whole
// repository over all pages, and patterns choose.
func TestF06Listing(t *testing.T) {
	j := newJob(t, shared.nodes[0])
	empty := hfRef()
	empty["filenames"] = []string{}
	j.post(t, "/resources/fetch", empty).refused(t, 400, "invalid_request")

	all := map[string]any{"type": "huggingface", "repository": "org/model"}
	want := []string{"artifacts/a/b/c.json", "artifacts/config.json", "artifacts/empty.txt", "artifacts/model.safetensors", "artifacts/tokenizer/with space+ü.md"}
	if got := slices.Sorted(slices.Values(paths(j.fetch(t, all)))); !slices.Equal(got, want) {
		t.Errorf("whole repository: %q", got)
	}
	all["allow_patterns"], all["ignore_patterns"] = []string{"*.json", "*.txt"}, []string{"a/*"}
	if got := slices.Sorted(slices.Values(paths(j.fetch(t, all)))); !slices.Equal(got, want[1:3]) {
		t.Errorf("patterns: %q", got)
	}
}
