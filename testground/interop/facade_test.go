package interop

import (
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hypha-node/hypha-node/internal/hubtest"
	"github.com/hypha-node/hypha-node/testground/rig"
)

// startFacade starts a node whose hub façade asks a hub, and returns the façade's
// URL.
func startFacade(t *testing.T, upstream string) string {
	t.Helper()
	n, err := rig.StartNode(rig.Within(t), rig.Config{
		Binary: binary, Repo: t.TempDir() + "/repo", Args: []string{"--hub", "0"},
		Env: []string{"HF_ENDPOINT=" + upstream, "HF_TOKEN=node-token", "HF_HOME=" + t.TempDir(), "NO_PROXY=127.0.0.1"},
	})
	ok(t, err)
	t.Cleanup(func() {
		if err := n.Stop(); err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	_, address, found := strings.Cut(n.Ready, ", hub on ")
	if !found {
		t.Fatalf("no address of the hub in %q", n.Ready)
	}
	return address
}

// TestFacadePython lets huggingface_hub use a node in the place of the Hub, twice:
// the second time no content is asked for.
func TestFacadePython(t *testing.T) {
	python := findPython(t)
	hub := startHub(t)
	w := wantPython(t, hub)
	facade := startFacade(t, hub.URL)
	comparePython(t, python, facade, w)
	checkTokens(t, hub)
	hub.ResetRequests()
	comparePython(t, python, facade, w)
	for _, r := range hub.Requests() {
		if r.CDN {
			t.Errorf("content was fetched again: %s %s", r.Method, r.Path)
		}
	}
}

// TestFacadeJavaScript does the same with @huggingface/hub.
func TestFacadeJavaScript(t *testing.T) {
	node, modules := findJavaScript(t)
	hub := startHub(t)
	w := want(t, hub)
	facade := startFacade(t, hub.URL)
	compareJavaScript(t, node, modules, facade, w)
	checkTokens(t, hub)
}

// TestFacadePinned lets each client ask for commits, all of it twice and with empty
// caches: the second time there is no hub any more. Large files are offered by Xet,
// which no server speaks, to clients that would rather use it.
func TestFacadePinned(t *testing.T) {
	hub := newHub(t, true)
	open := true
	defer func() {
		if open {
			ok(t, hub.Close())
		}
	}()
	facade := startFacade(t, hub.URL)
	clients := map[string]func(t *testing.T){}
	if python, err := findProgram("HYPHA_PYTHON", "huggingface_hub-2.4.0/bin/python"); err == nil {
		clients["python"] = func(t *testing.T) { comparePinnedPython(t, python, facade, hub) }
		clients["hf"] = func(t *testing.T) { compareCommand(t, python, facade, hub) }
	}
	if modules, err := findProgram("HYPHA_NODE_MODULES", "huggingface-hub-js-2.17.5/node_modules"); err == nil {
		if node, err := exec.LookPath("node"); err == nil {
			clients["javascript"] = func(t *testing.T) { comparePinnedJavaScript(t, node, modules, facade, hub) }
		}
	}
	if len(clients) == 0 {
		t.Skip("no client of the Hub")
	}
	for name, client := range clients {
		t.Run(name, client)
	}
	checkTokens(t, hub)
	open = false
	ok(t, hub.Close())
	hub.ResetRequests()
	for name, client := range clients {
		t.Run(name+" without the hub", client)
	}
	if n := len(hub.Requests()); n != 0 {
		t.Errorf("%d requests", n)
	}
}

// findProgram finds what the environment or the prepared directory has.
func findProgram(env, prepared string) (string, error) { return rig.Find(env, "", prepared) }

// xetEnv is pythonEnv with Xet allowed.
func xetEnv(t *testing.T, facade string) []string {
	t.Helper()
	return slices.DeleteFunc(pythonEnv(t, facade), func(v string) bool { return v == "HF_HUB_DISABLE_XET=1" })
}

// comparePinnedPython runs huggingface_hub.
func comparePinnedPython(t *testing.T, python, facade string, hub *hubtest.Hub) {
	t.Helper()
	w := want(t, hub)
	w.One, w.Dataset, w.Pinned, w.Etag, w.Size = "", "", "", "", 0
	w.Refused = map[string]any{"entry": "RemoteEntryNotFoundError"}
	compare(t, rig.Program{
		Path: python, Args: []string{filepath.Join("testdata", "pinned.py"), w.Commit, hub.Head("model/org/gated")}, Env: xetEnv(t, facade),
	}, w)
}

// comparePinnedJavaScript runs @huggingface/hub.
func comparePinnedJavaScript(t *testing.T, node, modules, facade string, hub *hubtest.Hub) {
	t.Helper()
	w := got{Commit: hub.Head("model/org/data-and-more"), Listed: map[string]int64{}, All: map[string]string{}}
	for name, c := range plainer() {
		sum, err := c.SHA256()
		ok(t, err)
		w.Listed[name], w.All[name] = c.Size(), sum
		w.Paths = append(w.Paths, name)
	}
	slices.Sort(w.Paths)
	w.One = w.All["model.safetensors"]
	w.Etag, w.Size = w.One, w.Listed["model.safetensors"]
	compare(t, rig.Program{
		Path: node, Args: []string{filepath.Join("testdata", "pinned.cjs"), facade, w.Commit, t.TempDir()},
		Env: []string{"NODE_PATH=" + modules, "HF_TOKEN=", "NO_PROXY=127.0.0.1"},
	}, w)
}

// compareCommand runs the command hf.
func compareCommand(t *testing.T, python, facade string, hub *hubtest.Hub) {
	t.Helper()
	dir := t.TempDir()
	command := "import sys; from huggingface_hub.cli.hf import main; sys.exit(main())" // what the script hf does
	_, err := rig.Program{
		Path: python, Args: []string{"-c", command, "download", "org/model", "--revision", hub.Head("model/org/model"), "--local-dir", dir}, Env: xetEnv(t, facade),
	}.Run(rig.Within(t))
	ok(t, err)
	for name, sum := range want(t, hub).All {
		same(t, filepath.Join(dir, filepath.FromSlash(name)), sum)
	}
}

// checkTokens checks that only the tokens of clients got to a hub, and none of
// them to its CDN.
func checkTokens(t *testing.T, hub *hubtest.Hub) {
	t.Helper()
	for _, r := range hub.Requests() {
		switch token := r.Header.Get("Authorization"); {
		case token == "", !r.CDN && (token == "Bearer good" || token == "Bearer hf_good"):
		default:
			t.Errorf("%s %s (CDN %v) came with %q", r.Method, r.Path, r.CDN, token)
		}
	}
}
