package interop

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hypha-node/hypha-node/internal/hubtest"
	"github.com/hypha-node/hypha-node/testground/rig"
)

// xetModel is what a repository with files in Xet holds: content that looks random,
// some that repeats itself, and a file that is one short chunk.
func xetModel() map[string]hubtest.Content {
	return map[string]hubtest.Content{
		"model.safetensors": hubtest.Random(11, 12<<20+7),
		"repeats.bin":       hubtest.Bytes(bytes.Repeat([]byte("a line of a file that repeats itself\n"), 100_000)),
		"tiny.bin":          hubtest.Random(12, 100),
	}
}

// startXet starts a hub that offers its large files by Xet, and returns what a
// client must get of them.
func startXet(t *testing.T, v1 bool) (hub *hubtest.Hub, names []string, want map[string]string) {
	t.Helper()
	hub, err := hubtest.New(hubtest.Config{Xet: true, XetV1: v1, Repos: []hubtest.Repo{{ID: "org/model", Files: xetModel()}}})
	ok(t, err)
	ok(t, hub.Start())
	t.Cleanup(func() {
		if err := hub.Close(); err != nil {
			t.Errorf("close hub: %v", err)
		}
	})
	want = map[string]string{}
	for name, c := range xetModel() {
		names = append(names, name)
		want[name], err = c.SHA256()
		ok(t, err)
	}
	slices.Sort(names)
	return hub, names, want
}

// compareXet runs a client and compares what it got: by Xet and by nothing else.
func compareXet(t *testing.T, hub *hubtest.Hub, client rig.Program, want map[string]string) {
	t.Helper()
	r, err := client.Run(rig.Within(t))
	ok(t, err)
	var got map[string]string
	ok(t, json.Unmarshal([]byte(r.Stdout), &got))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the client got something else (-want +got):\n%s", diff)
	}
	xorbs, parts := 0, 0
	for _, r := range hub.Requests() {
		switch {
		case r.CDN && strings.HasPrefix(r.Path, "/xorbs/") && r.Status == 206:
			xorbs++
			if strings.Contains(r.Header.Get("Range"), ",") {
				parts++
			}
		case r.CDN:
			t.Errorf("the client asked for %s and was answered %d", r.Path, r.Status)
		}
	}
	if xorbs == 0 {
		t.Error("the client fetched no xorb")
	}
	t.Logf("%d requests for xorbs, %d of several ranges", xorbs, parts)
}

// TestXetPython lets hf_xet, through huggingface_hub, download from the Xet storage
// that our tests take for the Hub's.
func TestXetPython(t *testing.T) {
	python := findPython(t)
	for name, v1 := range map[string]bool{"v2": false, "v1": true} {
		t.Run(name, func(t *testing.T) {
			hub, names, want := startXet(t, v1)
			env := slices.DeleteFunc(pythonEnv(t, hub.URL), func(s string) bool { return strings.HasPrefix(s, "HF_HUB_DISABLE_XET=") })
			compareXet(t, hub, rig.Program{
				Path: python, Args: append([]string{filepath.Join("testdata", "xet.py"), t.TempDir()}, names...), Env: env,
			}, want)
		})
	}
}

// TestXetJavaScript does the same with @huggingface/hub, which asks for several
// ranges at once, and for version 2 alone.
func TestXetJavaScript(t *testing.T) {
	node, modules := findJavaScript(t)
	hub, names, want := startXet(t, false)
	compareXet(t, hub, rig.Program{
		Path: node, Args: append([]string{filepath.Join("testdata", "xet.cjs"), hub.URL}, names...),
		Env: []string{"NODE_PATH=" + modules, "HF_TOKEN=", "NO_PROXY=127.0.0.1"},
	}, want)
}
