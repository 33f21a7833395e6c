package hf_test

import (
	"crypto/sha1" //nolint:gosec // git's object hash
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hypha-node/hypha-node/connectors"
	"github.com/hypha-node/hypha-node/connectors/hf"
)

func TestCacheDir(t *testing.T) {
	tests := []struct {
		name string
		env  map[string]string
		home string
		want string
	}{
		{"nothing", nil, "", ""},
		{"home", nil, "/h", "/h/.cache/huggingface/hub"},
		{"XDG", map[string]string{"XDG_CACHE_HOME": "/x"}, "/h", "/x/huggingface/hub"},
		{"HF_HOME before XDG", map[string]string{"XDG_CACHE_HOME": "/x", "HF_HOME": "~/hf"}, "/h", "/h/hf/hub"},
		{"old name", map[string]string{"HUGGINGFACE_HUB_CACHE": "/old", "HF_HOME": "/hf"}, "/h", "/old"},
		{"HF_HUB_CACHE before all", map[string]string{"HUGGINGFACE_HUB_CACHE": "/old", "HF_HUB_CACHE": "~/c"}, "/h", "/h/c"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			lookup := func(name string) (string, bool) { value, ok := tt.env[name]; return value, ok }
			if got := hf.CacheDir(lookup, tt.home); got != filepath.FromSlash(tt.want) {
				t.Errorf("cache is %q, want %q", got, tt.want)
			}
		})
	}
}

// TestCacheOpen: what is taken for a content of the cache, and what is not.
func TestCacheOpen(t *testing.T) {
	text := []byte("content")
	sum := sha256.Sum256(text)
	git := sha1.Sum([]byte("blob 7\x00content")) //nolint:gosec // git's object hash
	large := connectors.Item{Key: "hf:model/org/name@c0ffee/f", SHA256: &sum, Size: 7}
	small := connectors.Item{Key: "hf:dataset/data@c0ffee/f", GitSHA1: &git, Size: 7}
	largeName, smallName := fmt.Sprintf("%x", sum), fmt.Sprintf("%x", git)
	tests := []struct {
		name string
		put  func(t *testing.T, dir string)
		it   connectors.Item
		hit  bool
	}{
		{"no cache", func(t *testing.T, dir string) { must(t, os.Remove(dir)) }, large, false},
		{"empty cache", func(*testing.T, string) {}, large, false},
		{"large", put("models--org--name/blobs/"+largeName, text), large, true},
		{"large, of another repository", put("datasets--x--y/blobs/"+largeName, text), large, true},
		{"small", put("datasets--data/blobs/"+smallName, text), small, true},
		{"small, of another repository", put("datasets--other/blobs/"+smallName, text), small, false},
		{"unfinished", put("models--org--name/blobs/"+largeName+".0a1b2c3d.incomplete", text), large, false},
		{"not of a hub", put("models--org--name/blobs/"+largeName, text), connectors.Item{Key: "url:https://x/", SHA256: &sum}, false},
		{"no digest", put("models--org--name/blobs/"+largeName, text), connectors.Item{Key: large.Key}, false},
		{"a name that escapes", put("../escaped/blobs/"+largeName, text), connectors.Item{Key: "hf:/../../escaped@c/f", SHA256: &sum}, false},
		{"a link", func(t *testing.T, dir string) {
			put("other", text)(t, dir)
			must(t, os.MkdirAll(filepath.Join(dir, "models--org--name/blobs"), 0o700))
			must(t, os.Symlink("../../other", filepath.Join(dir, "models--org--name/blobs", largeName)))
		}, large, false},
		{"a link to a repository elsewhere", func(t *testing.T, dir string) {
			other := t.TempDir()
			put("blobs/"+largeName, text)(t, other)
			must(t, os.Symlink(other, filepath.Join(dir, "models--org--name")))
		}, large, false},
		{"a directory", func(t *testing.T, dir string) {
			must(t, os.MkdirAll(filepath.Join(dir, "models--org--name/blobs", largeName), 0o700))
		}, large, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "hub")
			must(t, os.Mkdir(dir, 0o700))
			tt.put(t, dir)
			f, err := hf.Cache{Dir: dir}.Open(tt.it)
			must(t, err)
			if (f != nil) != tt.hit {
				t.Fatalf("opened %v, want a hit: %v", f, tt.hit)
			}
			if f == nil {
				return
			}
			got, err := io.ReadAll(f)
			must(t, err)
			must(t, f.Close())
			if string(got) != string(text) {
				t.Errorf("got %q", got)
			}
		})
	}
}

// TestCacheOwner: what another user keeps where the own cache would be is read only
// if the operator has named it.
func TestCacheOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give a directory away")
	}
	text := []byte("content")
	sum := sha256.Sum256(text)
	dir := t.TempDir()
	put(fmt.Sprintf("models--org--name/blobs/%x", sum), text)(t, dir)
	must(t, os.Chown(dir, 4711, 4711))
	it := connectors.Item{Key: "hf:model/org/name@c0ffee/f", SHA256: &sum}
	if f, err := (hf.Cache{Dir: dir}).Open(it); f != nil || err == nil || !strings.Contains(err.Error(), "hf_cache") {
		t.Errorf("opened %v, %v, want an error that names the setting", f, err)
	}
	f, err := hf.Cache{Dir: dir, Shared: true}.Open(it)
	must(t, err)
	if f == nil {
		t.Fatal("a cache that was named is not read")
	}
	must(t, f.Close())
}

// put returns a function that writes a file of a cache.
func put(name string, text []byte) func(t *testing.T, dir string) {
	return func(t *testing.T, dir string) {
		t.Helper()
		path := filepath.Join(dir, filepath.FromSlash(name))
		must(t, os.MkdirAll(filepath.Dir(path), 0o700))
		must(t, os.WriteFile(path, text, 0o600))
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
