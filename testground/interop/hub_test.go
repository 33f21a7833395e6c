package interop

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hypha-node/hypha-node/internal/hubtest"
	"github.com/hypha-node/hypha-node/testground/rig"
)

// model is what the repository org/model holds.
func model() map[string]hubtest.Content {
	return map[string]hubtest.Content{
		"README.md":                 hubtest.Bytes([]byte("# A model\n")),
		"config.json":               hubtest.Bytes([]byte(`{"layers":2}`)),
		"empty.txt":                 hubtest.Bytes(nil),
		"weights/model.safetensors": hubtest.Random(1, 5<<20+3),
		"weights/small.bin":         hubtest.Random(2, 1000),
		"with space/ünï+code&.txt":  hubtest.Bytes([]byte("names are quoted")),
	}
}

// plainer is what the repository org/data-and-more holds: what every client can read.
func plainer() map[string]hubtest.Content {
	return map[string]hubtest.Content{
		"config.json":       hubtest.Bytes([]byte(`{"layers":3}`)),
		"model.safetensors": hubtest.Random(5, 6<<20+1),
		"sub/vocab.txt":     hubtest.Bytes([]byte("a b c")),
	}
}

// startHub starts a hub with small pages, so that every listing has several.
func startHub(t *testing.T) *hubtest.Hub {
	t.Helper()
	hub := newHub(t, false)
	t.Cleanup(func() {
		if err := hub.Close(); err != nil {
			t.Errorf("close hub: %v", err)
		}
	})
	return hub
}

// newHub starts such a hub, which the caller closes; with xet it offers large
// files by Xet, too.
func newHub(t *testing.T, xet bool) *hubtest.Hub {
	t.Helper()
	hub, err := hubtest.New(hubtest.Config{
		PageSize: 2, Xet: xet,
		Tokens: map[string]hubtest.User{"good": {Name: "reader"}, "hf_good": {Name: "reader"}},
		Repos: []hubtest.Repo{
			{ID: "org/model", Files: model()},
			{ID: "org/data-and-more", Files: plainer()},
			{Type: "dataset", ID: "org/data", Files: map[string]hubtest.Content{"train.csv": hubtest.Random(3, 2<<20)}},
			{ID: "org/gated", Gated: "auto", Readers: []string{"reader"}, Files: map[string]hubtest.Content{"secret.bin": hubtest.Random(4, 2<<20)}},
		},
	})
	ok(t, err)
	ok(t, hub.Start())
	return hub
}

// got is what a client says it got.
type got struct {
	Commit  string            `json:"commit"`
	Listed  map[string]int64  `json:"listed"`
	Paths   []string          `json:"paths"`
	One     string            `json:"one"`
	All     map[string]string `json:"all"`
	Some    map[string]string `json:"some"`
	Dataset string            `json:"dataset"`
	Pinned  string            `json:"pinned"`
	Gated   string            `json:"gated"`
	Size    int64             `json:"size"` // of the weights, asked for alone
	Etag    string            `json:"etag"`
	Missing *string           `json:"missing"`
	Refused map[string]any    `json:"refused"`
}

// want is what a client must get from startHub's hub.
func want(t *testing.T, hub *hubtest.Hub) got {
	t.Helper()
	sum := func(c hubtest.Content) string {
		s, err := c.SHA256()
		ok(t, err)
		return s
	}
	w := got{
		Commit: hub.Head("model/org/model"), Listed: map[string]int64{}, All: map[string]string{},
		Paths:   []string{"config.json", "weights/model.safetensors"},
		Dataset: sum(hubtest.Random(3, 2<<20)), Gated: sum(hubtest.Random(4, 2<<20)),
	}
	for name, c := range model() {
		w.Listed[name], w.All[name] = c.Size(), sum(c)
	}
	w.One, w.Pinned = w.All["weights/model.safetensors"], w.All["config.json"]
	w.Etag, w.Size = w.One, w.Listed["weights/model.safetensors"]
	return w
}

// compare runs a client and compares what it says.
func compare(t *testing.T, client rig.Program, w got) {
	t.Helper()
	r, err := client.Run(rig.Within(t))
	ok(t, err)
	var g got
	ok(t, json.Unmarshal([]byte(r.Stdout), &g))
	if diff := cmp.Diff(w, g); diff != "" {
		t.Errorf("the client got something else (-want +got):\n%s", diff)
	}
}

// TestHubPython lets huggingface_hub use the hub that our tests take for the Hub.
func TestHubPython(t *testing.T) {
	python := findPython(t)
	hub := startHub(t)
	comparePython(t, python, hub.URL, wantPython(t, hub))
}

// findPython returns a Python that has huggingface_hub, or skips the test.
func findPython(t *testing.T) string {
	t.Helper()
	python, err := rig.Find("HYPHA_PYTHON", "", "huggingface_hub-2.4.0/bin/python")
	if err != nil {
		t.Skipf("no huggingface_hub: %v", err)
	}
	return python
}

// wantPython is what huggingface_hub must get.
func wantPython(t *testing.T, hub *hubtest.Hub) got {
	t.Helper()
	w := want(t, hub)
	w.Some = map[string]string{}
	for _, name := range []string{"weights/model.safetensors", "weights/small.bin"} {
		w.Some[name] = w.All[name]
	}
	w.Refused = map[string]any{"entry": "RemoteEntryNotFoundError", "revision": "RevisionNotFoundError", "gated": "GatedRepoError"}
	return w
}

// comparePython runs huggingface_hub against an endpoint.
func comparePython(t *testing.T, python, endpoint string, w got) {
	t.Helper()
	compare(t, rig.Program{
		Path: python, Args: []string{filepath.Join("testdata", "client.py"), t.TempDir()}, Env: pythonEnv(t, endpoint),
	}, w)
}

// pythonEnv is the environment of huggingface_hub, with a cache of its own.
func pythonEnv(t *testing.T, endpoint string) []string {
	t.Helper()
	return []string{
		"HF_ENDPOINT=" + endpoint, "HF_HOME=" + t.TempDir(), "HF_TOKEN=", "HF_HUB_DISABLE_XET=1",
		"HF_HUB_DISABLE_TELEMETRY=1", "HF_HUB_DISABLE_PROGRESS_BARS=1", "NO_PROXY=127.0.0.1",
	}
}

// TestHubJavaScript does the same with @huggingface/hub.
func TestHubJavaScript(t *testing.T) {
	node, modules := findJavaScript(t)
	hub := startHub(t)
	compareJavaScript(t, node, modules, hub.URL, want(t, hub))
}

// findJavaScript returns a Node.js and modules with @huggingface/hub, or skips
// the test.
func findJavaScript(t *testing.T) (node, modules string) {
	t.Helper()
	modules, err := rig.Find("HYPHA_NODE_MODULES", "", "huggingface-hub-js-2.17.5/node_modules")
	if err != nil {
		t.Skipf("no @huggingface/hub: %v", err)
	}
	if node, err = exec.LookPath("node"); err != nil {
		t.Skipf("no node: %v", err)
	}
	return node, modules
}

// compareJavaScript runs @huggingface/hub against an endpoint.
func compareJavaScript(t *testing.T, node, modules, endpoint string, w got) {
	t.Helper()
	delete(w.All, "empty.txt") // the client can't read empty files
	w.Etag = ""                // it sees the CDN's, which is no digest of the file
	w.Refused = map[string]any{"revision": float64(404), "gated": float64(401)}
	compare(t, rig.Program{
		Path: node, Args: []string{filepath.Join("testdata", "client.cjs"), endpoint},
		Env: []string{"NODE_PATH=" + modules, "HF_TOKEN=", "NO_PROXY=127.0.0.1"},
	}, w)
}

// TestHubNode fetches the same repository with our node, by command and bridge:
// the same files, and no HEAD request.
func TestHubNode(t *testing.T) {
	hub := startHub(t)
	w := want(t, hub)
	n := start(t, "HF_ENDPOINT="+hub.URL, "HF_TOKEN=", "HF_HOME="+t.TempDir(), "NO_PROXY=127.0.0.1")

	dir := t.TempDir()
	run(t, n, "fetch", "hf://org/model", "-o", dir)
	all := map[string]string{}
	for name := range w.All {
		sum, err := rig.HashFile(filepath.Join(dir, filepath.FromSlash(name)))
		ok(t, err)
		all[name] = sum
	}
	if diff := cmp.Diff(w.All, all); diff != "" {
		t.Errorf("fetch (-want +got):\n%s", diff)
	}
	for _, r := range hub.Requests() {
		if r.Method != "GET" {
			t.Errorf("the node sent %s %s", r.Method, r.Path)
		}
	}

	job, err := n.CreateJob(rig.Within(t))
	ok(t, err)
	fetched, err := job.Fetch(rig.Within(t), map[string]any{
		"type": "HuggingFace", "repository": "org/model", "revision": w.Commit, "filenames": []string{"weights/model.safetensors", "config.json"},
	})
	ok(t, err)
	for i, name := range []string{"weights/model.safetensors", "config.json"} {
		if fetched[i].Checksum != "sha256:"+w.All[name] || fetched[i].Metadata.From != "store" {
			t.Errorf("bridge: %+v, want sha256:%s from store", fetched[i], w.All[name])
		}
		same(t, filepath.Join(job.WorkDir, fetched[i].Path), w.All[name])
	}
	var refused *rig.Refused
	_, err = job.Fetch(rig.Within(t), map[string]any{"type": "HuggingFace", "repository": "org/gated", "filenames": []string{"secret.bin"}})
	if !errors.As(err, &refused) || refused.Status != 403 || refused.Code != "gated" {
		t.Errorf("gated without a token: %v, want 403 gated", err)
	}
	if entries, err := os.ReadDir(filepath.Join(job.WorkDir, "artifacts")); err != nil || len(entries) != 2 {
		t.Errorf("artifacts holds %v, %v", entries, err)
	}
}
