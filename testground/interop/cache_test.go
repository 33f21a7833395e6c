package interop

import (
	"encoding/json"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hypha-node/hypha-node/testground/rig"
)

// TestCacheOfHub: what huggingface_hub has fetched for the operator costs the hub no
// request for content, and the cache is left as it was. A blob that somebody has
// changed is noticed and fetched.
func TestCacheOfHub(t *testing.T) {
	python, hub := findPython(t), startHub(t)
	home := t.TempDir()
	fill := rig.Program{
		Path: python, Args: []string{"-c", "from huggingface_hub import snapshot_download; print(snapshot_download('org/model'))"},
		Env: []string{"HF_ENDPOINT=" + hub.URL, "HF_HOME=" + home, "HF_HUB_DISABLE_XET=1", "HF_HUB_DISABLE_TELEMETRY=1", "NO_PROXY=127.0.0.1"},
	}
	_, err := fill.Run(rig.Within(t))
	ok(t, err)
	sum, err := model()["weights/model.safetensors"].SHA256()
	ok(t, err)
	wrong := filepath.Join(home, "hub", "models--org--model", "blobs", sum)
	for _, state := range []string{"as it is", "with a wrong blob"} {
		weights := "cache"
		if state == "with a wrong blob" {
			weights = "origin"
			flip(t, wrong)
		}
		before := files(t, home)
		hub.ResetRequests()
		got := fetchJSON(t, t.TempDir(), home, hub.URL, "hf://org/model")
		for path, content := range model() {
			sum, err := content.SHA256()
			ok(t, err)
			if got[path].SHA256 != sum {
				t.Errorf("%s, %s: sha256 %s, want %s", state, path, got[path].SHA256, sum)
			}
			want := "cache"
			if path == "weights/model.safetensors" {
				want = weights
			}
			if got[path].From != want {
				t.Errorf("%s, %s: from %q, want %q", state, path, got[path].From, want)
			}
		}
		contents := 0
		for _, r := range hub.Requests() {
			if r.CDN {
				contents++
			}
			if r.Method == "HEAD" || !r.CDN && weights == "cache" && strings.Contains(r.Path, "/resolve") {
				t.Errorf("%s: %s %s", state, r.Method, r.Path)
			}
		}
		if (contents > 0) != (weights == "origin") {
			t.Errorf("%s: %d requests for content", state, contents)
		}
		if diff := cmp.Diff(before, files(t, home)); diff != "" {
			t.Errorf("%s: the cache was changed (-before +after):\n%s", state, diff)
		}
	}
}

// fetched is a line of `fetch --json`.
type fetched struct {
	Path   string `json:"path"`
	From   string `json:"from"`
	SHA256 string `json:"sha256"`
}

// fetchJSON fetches a reference with an own repository and returns what the command
// says, by path.
func fetchJSON(t *testing.T, dir, home, hub, ref string) map[string]fetched {
	t.Helper()
	run := rig.Program{
		Path: binary, Args: []string{"--repo", filepath.Join(dir, "repo"), "--json", "fetch", ref},
		Env: []string{"HF_ENDPOINT=" + hub, "HF_HOME=" + home, "NO_PROXY=127.0.0.1"},
	}
	r, err := run.Run(rig.Within(t))
	ok(t, err)
	got := map[string]fetched{}
	for line := range strings.Lines(r.Stdout) {
		var f fetched
		ok(t, json.Unmarshal([]byte(line), &f))
		got[f.Path] = f
	}
	return got
}

// flip changes one byte of a file.
func flip(t *testing.T, path string) {
	t.Helper()
	b, err := os.ReadFile(path)
	ok(t, err)
	b[len(b)/2] ^= 1
	ok(t, os.WriteFile(path, b, 0o600))
}

// files returns size, mode, time and target of everything below a directory.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	ok(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		all[path] = fs.FormatFileInfo(info)
		if d.Type()&fs.ModeSymlink != 0 {
			to, err := os.Readlink(path)
			maps.Copy(all, map[string]string{path + " →": to})
			return err
		}
		return nil
	}))
	return all
}
