package interop

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hypha-node/hypha-node/testground/rig"
)

// upload runs put and returns what it prints: sha256 by URI.
func upload(t *testing.T, repo string, args ...string) map[string]string {
	t.Helper()
	stored := map[string]string{}
	for line := range strings.Lines(hypha(t, repo, append([]string{"--json", "put"}, args...)...)) {
		var got struct{ URI, SHA256 string }
		ok(t, json.Unmarshal([]byte(line), &got))
		stored[got.URI] = got.SHA256
	}
	return stored
}

// TestS3Put uploads files, at once and in parts, and a directory; curl gets the
// very bytes, and so does fetch.
func TestS3Put(t *testing.T) {
	g := versity(t)
	dir := repo(t, g.Config("lab"))
	small, smallSum := random(t, 100, 12345)
	big, bigSum := random(t, 101, 130<<20)
	empty, emptySum := random(t, 102, 0)
	tree := t.TempDir()
	ok(t, os.MkdirAll(filepath.Join(tree, "sub dir", ".git"), 0o700))
	for _, name := range []string{"sub dir/ü+%.bin", ".hidden", "sub dir/.git/x"} {
		ok(t, os.Link(small, filepath.Join(tree, name)))
	}
	ok(t, os.Symlink(empty, filepath.Join(tree, "link")))

	r, err := rig.Program{Path: binary, Args: []string{"--repo", dir, "put", big, "--to", "s3://lab@models/up/big.bin"}}.Run(rig.Within(t))
	ok(t, err)
	if !strings.Contains(r.Stdout, bigSum) || r.Anon > 96<<20 {
		t.Errorf("%s with %d MiB of memory", r.Stdout, r.Anon>>20)
	}
	for uri, sum := range upload(t, dir, small, empty, tree, "--to", "s3://lab@models/up/tree/") {
		want, known := map[string]string{
			"s3://lab@models/up/tree/" + filepath.Base(small): smallSum,
			"s3://lab@models/up/tree/" + filepath.Base(empty): emptySum,
			"s3://lab@models/up/tree/sub dir/ü+%.bin":         smallSum,
			"s3://lab@models/up/tree/link":                    emptySum,
		}[uri]
		if !known || sum != want {
			t.Errorf("%s is stored with sha256 %s", uri, sum)
		}
	}
	out := t.TempDir()
	for key, sum := range map[string]string{
		"up/big.bin": bigSum, "up/tree/sub%20dir/%C3%BC%2B%25.bin": smallSum, "up/tree/link": emptySum, "up/tree/" + filepath.Base(small): smallSum,
	} {
		name := filepath.Join(out, "curl")
		s3(t, g, "/models/"+key, "-o", name)
		same(t, name, sum)
	}
	hypha(t, dir, "fetch", "s3://lab@models/up/", "-o", out)
	same(t, filepath.Join(out, "big.bin"), bigSum)
	same(t, filepath.Join(out, "tree", "sub dir", "ü+%.bin"), smallSum)
	if uploads := s3(t, g, "/models?uploads="); strings.Contains(uploads, "<UploadId>") {
		t.Errorf("uploads are left: %s", uploads)
	}

	wrong := repo(t, strings.ReplaceAll(g.Config("lab"), rig.S3SecretKey, "guess"))
	for _, tc := range []struct {
		name, repo string
		args       []string
		code       int
		message    string
	}{
		{"wrong key", wrong, []string{big, "--to", "s3://lab@models/x"}, 1, "signature does not match"},
		{"no bucket", dir, []string{small, "--to", "s3://lab@nowhere/x"}, 3, "no such bucket"},
		{"no file", dir, []string{small + "-none", "--to", "s3://lab@models/x"}, 3, "no such file"},
		{"a directory under a key", dir, []string{tree, "--to", "s3://lab@models/x"}, 2, "a key is for one file"},
		{"two files under a key", dir, []string{small, big, "--to", "s3://lab@models/x"}, 2, "a key is for one file"},
		{"a pattern", dir, []string{small, "--to", "s3://lab@models/*"}, 2, "no place of S3"},
		{"another scheme", dir, []string{small, "--to", "https://example.org/x"}, 2, "no place of S3"},
		{"no alias", dir, []string{small, "--to", "s3://none@models/x"}, 2, "no alias"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r, err := rig.Program{Path: binary, Args: append([]string{"--repo", tc.repo, "put"}, tc.args...)}.Run(rig.Within(t))
			if err == nil || r.Code != tc.code || !strings.Contains(r.Stderr, tc.message) {
				t.Errorf("exit code %d: %s; want %d and %q", r.Code, r.Stderr, tc.code, tc.message)
			}
		})
	}
}
