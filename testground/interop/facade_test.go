package interop

import (
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
// the second time nothing is asked but what branches stand for.
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
		t.Log(r.Method, r.Path, r.Query, r.Status)
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
