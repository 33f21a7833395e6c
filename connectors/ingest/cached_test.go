package ingest_test

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/connectors"
	"github.com/hypha-node/hypha-node/connectors/hf"
	"github.com/hypha-node/hypha-node/connectors/ingest"
	"github.com/hypha-node/hypha-node/internal/hubtest"
)

// hubCache is a cache of Hugging Face's tools, as they lay it out.
type hubCache struct {
	dir string
	log bytes.Buffer // of the engine
}

// blob returns where a content of the model owner/name lies.
func (c *hubCache) blob(t *testing.T, content hubtest.Content, large bool) string {
	t.Helper()
	name, err := content.GitSHA1()
	if large {
		name, err = content.SHA256()
	}
	must(t, err)
	return filepath.Join(c.dir, "models--owner--name", "blobs", name)
}

// fill puts contents into the cache.
func (c *hubCache) fill(t *testing.T, contents map[string]hubtest.Content) {
	t.Helper()
	for path, content := range contents {
		name := c.blob(t, content, strings.HasSuffix(path, ".safetensors") || strings.HasSuffix(path, ".onnx"))
		must(t, os.MkdirAll(filepath.Dir(name), 0o700))
		must(t, os.WriteFile(name, contentBytes(t, content), 0o600))
	}
}

func contentBytes(t *testing.T, content hubtest.Content) []byte {
	t.Helper()
	r, err := content.Open()
	must(t, err)
	defer r.Close()
	b, err := io.ReadAll(r)
	must(t, err)
	return b
}

// newCached starts a hub with the model owner/name and returns an engine over it
// that looks into a cache.
func newCached(t *testing.T, s blockstore.Store, r hubtest.Repo) (*hubtest.Hub, *ingest.Engine, *hubCache) {
	t.Helper()
	c := &hubCache{dir: t.TempDir()}
	r.ID, r.Files = "owner/name", repo()
	hub, e := newHubWith(t, hubtest.Config{
		Repos: []hubtest.Repo{r}, Tokens: map[string]hubtest.User{"good": {Name: "reader"}, "other": {Name: "stranger"}},
	}, ingest.Config{Store: s, Cache: hf.Cache{Dir: c.dir}, Logger: slog.New(slog.NewTextHandler(&c.log, nil))})
	return hub, e, c
}

// TestCached: what the operator's cache has costs no request for content, is
// whole, verified and findable like everything else, and the cache stays as it is.
func TestCached(t *testing.T) {
	eachStore(t, func(t *testing.T, s blockstore.Store) {
		hub, e, cache := newCached(t, s, hubtest.Repo{})
		cache.fill(t, repo())
		got, err := all(t, e, "hf://owner/name", "")
		must(t, err)
		for path, content := range repo() {
			if g := got[path]; g.From != ingest.FromCache || g.OriginBytes != 0 || !g.Verified || g.Private {
				t.Errorf("%s: %+v", path, g)
			}
			checkStored(t, s, got[path].File, contentBytes(t, content))
			large := strings.HasSuffix(path, ".safetensors") || strings.HasSuffix(path, ".onnx")
			left, err := os.ReadFile(cache.blob(t, content, large))
			if err != nil || !bytes.Equal(left, contentBytes(t, content)) {
				t.Errorf("%s: the cache was changed (%v)", path, err)
			}
		}
		if n := files(hub); n != 0 {
			t.Errorf("%d requests for files that are here", n)
		}
		got, err = all(t, e, "hf://owner/name@"+hub.Head("model/owner/name"), "")
		must(t, err)
		for path, g := range got {
			if g.From != ingest.FromStore {
				t.Errorf("%s again: from %s", path, g.From)
			}
		}
	})
}

// TestCachedTee: a file that comes out of the cache goes to its destination at once.
func TestCachedTee(t *testing.T) {
	s := blockstore.NewMemory()
	hub, e, cache := newCached(t, s, hubtest.Repo{})
	cache.fill(t, repo())
	ref, err := connectors.ParseURI("hf://owner/name/model.safetensors")
	must(t, err)
	var tee memFile
	var last ingest.Progress
	got, err := e.Fetch(t.Context(), item(t, e, ref), ingest.Options{Tee: &tee, Progress: func(p ingest.Progress) { last = p }})
	must(t, err)
	if !got.Teed || !bytes.Equal(tee.b, contentBytes(t, repo()["model.safetensors"])) {
		t.Errorf("teed %v, %d bytes", got.Teed, len(tee.b))
	}
	if last.From != ingest.FromCache || last.Done != got.File.Size || files(hub) != 0 {
		t.Errorf("progress %+v, %d requests for content", last, files(hub))
	}
}

// TestCachedWrong: a file of the cache that is not what its name says is named in a
// warning, is left alone and is never served: the origin gives the content.
func TestCachedWrong(t *testing.T) {
	right := contentBytes(t, repo()["model.safetensors"])
	flipped := bytes.Clone(right)
	flipped[len(flipped)-1] ^= 1
	for name, wrong := range map[string][]byte{"flipped": flipped, "short": right[:100], "long": append(bytes.Clone(right), 0), "empty": nil} {
		t.Run(name, func(t *testing.T) {
			s := blockstore.NewMemory()
			_, e, cache := newCached(t, s, hubtest.Repo{})
			blob := cache.blob(t, repo()["model.safetensors"], true)
			must(t, os.MkdirAll(filepath.Dir(blob), 0o700))
			must(t, os.WriteFile(blob, wrong, 0o600))
			ref, err := connectors.ParseURI("hf://owner/name/model.safetensors")
			must(t, err)
			var tee memFile
			got, err := e.Fetch(t.Context(), item(t, e, ref), ingest.Options{Tee: &tee})
			must(t, err)
			checkStored(t, s, got.File, right)
			if got.From != ingest.FromOrigin || !got.Teed || !bytes.Equal(tee.b, right) {
				t.Errorf("from %s, teed %v, right %v", got.From, got.Teed, bytes.Equal(tee.b, right))
			}
			if log := cache.log.String(); !strings.Contains(log, "level=WARN") || !strings.Contains(log, filepath.Base(blob)) {
				t.Errorf("log does not name the file: %s", log)
			}
			if left, err := os.ReadFile(blob); err != nil || !bytes.Equal(left, wrong) {
				t.Errorf("the cache was changed (%v)", err)
			}
		})
	}
}

// TestCachedScope: what is in the cache was fetched with the operator's credential;
// who has none that the hub accepts does not get it, though its listing is open.
func TestCachedScope(t *testing.T) {
	pinned := func(h *hubtest.Hub) string { return "hf://owner/name@" + h.Head("model/owner/name") }
	branch := func(*hubtest.Hub) string { return "hf://owner/name" }
	gated := hubtest.Repo{Gated: "auto", Readers: []string{"reader"}}
	private := hubtest.Repo{Private: true, Readers: []string{"reader"}}
	tests := []struct {
		name  string
		repo  hubtest.Repo
		uri   func(*hubtest.Hub) string
		token string
		may   bool
		heads int
	}{
		{"gated, nobody's", gated, branch, "", false, 1},
		{"gated, nobody's, commit", gated, pinned, "", false, 1},
		{"gated, a stranger's", gated, branch, "other", false, 1},
		{"gated, a reader's", gated, branch, "good", true, 1},
		{"gated, a reader's, commit", gated, pinned, "good", true, 1},
		{"private, nobody's, commit", private, pinned, "", false, 0},
		{"private, a reader's", private, branch, "good", true, 1},
		{"public, nobody's, commit", hubtest.Repo{}, pinned, "", true, 1},
		{"public, anybody's", hubtest.Repo{}, branch, "other", true, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := blockstore.NewMemory()
			hub, e, cache := newCached(t, s, tt.repo)
			cache.fill(t, repo())
			got, err := all(t, e, tt.uri(hub), tt.token)
			heads, gets := 0, 0
			for _, r := range hub.Requests() {
				switch {
				case r.Method == "HEAD":
					heads++
				case r.CDN || strings.Contains(r.Path, "/resolve"):
					gets++
				}
			}
			if !tt.may {
				if !errors.Is(err, connectors.ErrUnauthorized) {
					t.Errorf("got %v, %v, want ErrUnauthorized", got, err)
				}
				checkNothing(t, s, contentBytes(t, repo()["model.safetensors"]))
				return
			}
			must(t, err)
			closed := tt.repo.Gated != "" || tt.repo.Private
			for path, g := range got {
				if g.From != ingest.FromCache || closed != g.Private {
					t.Errorf("%s: %+v", path, g)
				}
			}
			if len(got) != len(repo()) || heads != tt.heads || gets != 0 {
				t.Errorf("%d files with %d HEADs and %d GETs of content, want %d HEADs", len(got), heads, gets, tt.heads)
			}
		})
	}
}

// TestCachedOff: without a cache, and with one that is somebody else's, the origin
// is asked.
func TestCachedOff(t *testing.T) {
	hub, e, cache := newCached(t, blockstore.NewMemory(), hubtest.Repo{})
	got, err := all(t, e, "hf://owner/name", "")
	must(t, err)
	for path, g := range got {
		if g.From != ingest.FromOrigin {
			t.Errorf("%s: from %s", path, g.From)
		}
	}
	if left, err := os.ReadDir(cache.dir); err != nil || len(left) != 0 || files(hub) == 0 {
		t.Errorf("%v, %v: something was written into the cache", left, err)
	}
}
