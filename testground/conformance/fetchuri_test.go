package conformance

import (
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hypha-node/hypha-node/testground/rig"
)

// TestF07URIName: how the file of a URL is named, and what it must be.
func TestF07URIName(t *testing.T) {
	content := []byte("content")
	for _, tc := range []struct {
		name string
		path string // of the URL
		ref  map[string]any
		want string
	}{
		{"segment", "w.bin", nil, "w.bin"},
		{"query", "w.bin?download=true&x=a/b", nil, "w.bin"},
		{"percent", "w%20x%C3%A9.bin", nil, "w xé.bin"},
		{"field", "w.bin", map[string]any{"filename": "named.bin"}, "named.bin"},
		{"empty", "dir/", nil, "part-0.bin"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			j := newJob(t, shared.nodes[0])
			for _, name := range []string{"w.bin", "w xé.bin", "dir/"} {
				shared.origin.put(t, name, content)
			}
			ref := rig.URI(shared.origin.base(t) + tc.path)
			maps.Copy(ref, tc.ref)
			files := j.fetch(t, ref)
			if len(files) != 1 || files[0].Path != "artifacts/"+tc.want || files[0].Metadata.Source != "http" {
				t.Errorf("%+v, want artifacts/%s", files, tc.want)
			}
		})
	}
}

// TestF07URIRefused: what a URL can't be.
func TestF07URIRefused(t *testing.T) {
	j := newJob(t, shared.nodes[0])
	url, _ := shared.origin.put(t, "f.bin", []byte("content"))
	for _, value := range []string{"ftp://127.0.0.1/f", "file:///etc/passwd", "gopher://x/", "//127.0.0.1/f", "f.bin", ""} {
		a := j.post(t, "/resources/fetch", rig.URI(value))
		if a.status != http.StatusBadRequest {
			t.Errorf("%q: status %d: %s", value, a.status, a.body)
		}
	}
	for _, name := range []string{"../f", "/f", "a\x00b", "a/../../f", strings.Repeat("n", 256)} {
		a := j.post(t, "/resources/fetch", map[string]any{"type": "uri", "value": url, "filename": name})
		if a.status != http.StatusBadRequest {
			t.Errorf("filename %q: status %d: %s", name, a.status, a.body)
		}
	}
	if names := j.list(t, "artifacts"); len(names) > 0 {
		t.Errorf("refusals left %q", names)
	}
}

// TestF07Checksum: what is expected is what comes, or nothing does.
func TestF07Checksum(t *testing.T) {
	j := newJob(t, shared.nodes[0])
	content := random(t, 107, 300000)
	url, _ := shared.origin.put(t, "f.bin", content)
	ref := rig.URI(url)
	ref["checksum"] = digest(content[1:])
	j.post(t, "/resources/fetch", ref).refused(t, 422, "checksum_mismatch")
	if names := j.list(t, "artifacts"); len(names) > 0 {
		t.Errorf("a mismatch left %q", names)
	}
	ref["checksum"] = digest(content)
	j.fetch(t, ref)
	ref["checksum"] = "sha256:zz"
	j.post(t, "/resources/fetch", ref).refused(t, 400, "invalid_request")
}

// TestF07Headers: headers of a reference go to the origin.
func TestF07Headers(t *testing.T) {
	j := newJob(t, shared.nodes[0])
	url, f := shared.origin.put(t, "f.bin", []byte("content"))
	ref := rig.URI(url)
	ref["headers"] = map[string]string{"X-Api-Key": "k1"}
	j.fetch(t, ref)
	for _, h := range f.headers() {
		if h.Get("X-Api-Key") != "k1" {
			t.Errorf("the origin got %v", h)
		}
	}
}

// TestF08CIDs: content by CID, from the store and from another node; a
// directory brings its tree.
func TestF08CIDs(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tree")
	ok(t, os.MkdirAll(filepath.Join(dir, "sub"), 0o700))
	big := random(t, 108, 3<<20+17)
	ok(t, os.WriteFile(filepath.Join(dir, "big.bin"), big, 0o600))
	ok(t, os.WriteFile(filepath.Join(dir, "sub", "small.txt"), []byte("small"), 0o600))
	tree := run(t, shared.nodes[0], "add", "-q", "-r", dir)
	file := run(t, shared.nodes[0], "add", "-q", filepath.Join(dir, "big.bin"))
	for i, n := range shared.nodes[:2] {
		j := newJob(t, n)
		files := j.fetch(t, map[string]any{"type": "cids", "values": []string{file}})
		if len(files) != 1 || files[0].Path != "artifacts/"+file || files[0].CID != file || files[0].Checksum != digest(big) || files[0].Metadata.Source != "cid" {
			t.Errorf("node %d: %+v", i, files)
		}
		files = j.fetch(t, map[string]any{"fetch": map[string]any{"type": "cids", "values": []string{tree}}, "out_dir": "tree"})
		got := map[string]string{}
		for _, f := range files {
			got[strings.TrimPrefix(f.Path, "tree/")] = f.Checksum
		}
		if diff := cmp.Diff(map[string]string{"big.bin": digest(big), "sub/small.txt": digest([]byte("small"))}, got); diff != "" {
			t.Errorf("node %d (-want +got):\n%s", i, diff)
		}
	}
}

// TestF12WholeFiles: while a file comes, its directory shows nothing of it.
func TestF12WholeFiles(t *testing.T) {
	j := newJob(t, shared.nodes[0])
	content := random(t, 112, 6<<20)
	url, f := shared.origin.putGated(t, "f.bin", content, 4<<20)
	type result struct {
		answer
		err error
	}
	done := make(chan result, 1)
	go func() {
		a, err := j.try(rig.Within(t), http.MethodPost, "/resources/fetch", rig.URI(url))
		done <- result{a, err}
	}()
	await(t, "the gate", f.reached)
	if names := j.list(t, "artifacts"); len(names) > 0 {
		t.Errorf("in mid-download artifacts has %q", names)
	}
	f.release()
	r := <-done
	ok(t, r.err)
	var files []fetched
	r.into(t, http.StatusOK, &files)
	j.holds(t, "artifacts/f.bin", int64(len(content)), digest(content))
	if names := j.list(t, "artifacts"); !slices.Equal(names, []string{"f.bin"}) {
		t.Errorf("artifacts has %q", names)
	}
	if names := j.list(t, ".hypha/tmp"); len(names) > 0 {
		t.Errorf("temporary files stay: %q", names)
	}
}

// TestF13Cached: the second fetch answers the same and asks nobody, in the same
// job and in others, and when the executor has removed the file.
func TestF13Cached(t *testing.T) {
	content := random(t, 113, 2<<20+5)
	url, f := shared.origin.put(t, "f.bin", content)
	j := newJob(t, shared.nodes[0])
	first := j.fetch(t, rig.URI(url))
	before := f.bytes()
	ok(t, os.Remove(filepath.Join(j.WorkDir, first[0].Path)))
	for i, j := range []*job{j, j, newJob(t, shared.nodes[0])} {
		again := j.fetch(t, rig.URI(url))
		if !again[0].Metadata.Cached || again[0].Checksum != first[0].Checksum || again[0].CID != first[0].CID || again[0].Path != first[0].Path {
			t.Errorf("fetch %d: %+v, first %+v", i, again, first)
		}
	}
	if after := f.bytes(); after != before || first[0].Metadata.Cached || before != int64(len(content)) {
		t.Errorf("the origin sent %d bytes for the first, %d for the others; first cached: %v", before, after-before, first[0].Metadata.Cached)
	}
}

// TestF14OneDownload: 64 identical fetches at the same time, of eight jobs, cost the
// origin one.
func TestF14OneDownload(t *testing.T) {
	content := random(t, 114, 2<<20+1)
	url, f := shared.origin.putGated(t, "f.bin", content, 1<<20)
	const each = 8
	var jobs []*job
	for range 8 {
		jobs = append(jobs, newJob(t, shared.nodes[0]))
	}
	done := make(chan error, each*len(jobs))
	for i := range each * len(jobs) {
		go func() {
			a, err := jobs[i%len(jobs)].try(rig.Within(t), http.MethodPost, "/resources/fetch", map[string]any{"fetch": rig.URI(url)})
			if err == nil && a.status != http.StatusOK {
				err = &rig.Refused{Status: a.status, Detail: string(a.body)}
			}
			done <- err
		}()
	}
	await(t, "the gate", f.reached)
	f.release()
	for range each * len(jobs) {
		ok(t, <-done)
	}
	if sent := f.bytes(); sent != int64(len(content)) {
		t.Errorf("%d fetches cost the origin %d bytes, the file has %d", each*len(jobs), sent, len(content))
	}
	for _, j := range jobs {
		j.holds(t, "artifacts/f.bin", int64(len(content)), digest(content))
	}
}
