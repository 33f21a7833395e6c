package interop

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hypha-node/hypha-node/testground/rig"
)

// startRPC starts a node that serves Kubo's API, and returns its URL and token.
func startRPC(t *testing.T) (url, token string) {
	t.Helper()
	repo := filepath.Join(t.TempDir(), "repo")
	n, err := rig.StartNode(rig.Within(t), rig.Config{Binary: binary, Repo: repo, Args: []string{"--rpc", "0"}})
	ok(t, err)
	t.Cleanup(func() {
		if err := n.Stop(); err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	_, url, found := strings.Cut(n.Ready, ", rpc on ")
	if !found {
		t.Fatalf("no address of the rpc in %q", n.Ready)
	}
	text, err := os.ReadFile(filepath.Join(repo, "rpc.token"))
	ok(t, err)
	return strings.TrimSpace(url), strings.TrimSpace(string(text))
}

// TestRPCJavaScript lets npm's kubo-rpc-client use a node in the place of Kubo. The
// CIDs are those that Kubo gives.
func TestRPCJavaScript(t *testing.T) {
	node, modules := findIPFS(t)
	url, token := startRPC(t)
	r, err := rig.Program{Path: node, Args: []string{filepath.Join("testdata", "rpc.mjs"), modules, url, token}, Env: []string{"NO_PROXY=127.0.0.1"}}.Run(rig.Within(t))
	ok(t, err)
	var got map[string]any
	ok(t, json.Unmarshal([]byte(r.Stdout), &got))

	dir := t.TempDir()
	tree := filepath.Join(dir, "wrap", "tree")
	for name, text := range map[string]string{"big.bin": strings.Repeat("abcdefghijklmnop", 5_000_000/16), "sub/ä b.txt": "text"} {
		ok(t, os.MkdirAll(filepath.Dir(filepath.Join(tree, name)), 0o700))
		ok(t, os.WriteFile(filepath.Join(tree, name), []byte(text), 0o600))
	}
	ok(t, os.MkdirAll(filepath.Join(tree, "empty"), 0o700))
	k := kubo(t, "v1-2025")
	add := func(name string, more ...string) string {
		t.Helper()
		c, err := k.Add(rig.Within(t), name, more...)
		ok(t, err)
		return c
	}
	root := add(tree)
	only := filepath.Join(dir, "only")
	ok(t, os.WriteFile(only, []byte("only hashed"), 0o600))
	block := filepath.Join(dir, "block")
	ok(t, os.WriteFile(block, []byte("a block"), 0o600))
	const hello = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"
	agent, isText := got["agent"].(string)
	if !isText || !strings.HasPrefix(agent, "hypha-node/") {
		t.Errorf("agent %q", agent)
	}
	for name, part := range map[string]string{"trickle": "trickle", "noToken": "token", "absent": "not pinned"} {
		text, isText := got[name].(string)
		if !isText || !strings.Contains(text, part) {
			t.Errorf("%s: %q", name, text)
		}
		delete(got, name)
	}
	delete(got, "agent")
	delete(got, "version")
	want := map[string]any{
		"hello": hello, "v0": "Qmf412jQZiuVUtdgnB36FXFX7xg5V6KEbSJ4dpQuhkLyfD", "only": add(only, "--only-hash"),
		"tree": []any{
			[]any{"tree/big.bin", add(filepath.Join(tree, "big.bin"))},
			[]any{"tree/sub/ä b.txt", add(filepath.Join(tree, "sub", "ä b.txt"))},
			[]any{"tree/sub", add(filepath.Join(tree, "sub"))},
			[]any{"tree/empty", add(filepath.Join(tree, "empty"))},
			[]any{"tree", root},
			[]any{"", add(filepath.Join(dir, "wrap"))},
		},
		"cat": true, "range": strings.Repeat("abcdefghijklmnop", 2)[10:22],
		"ls":    []any{[]any{"big.bin", "file", 5e6}, []any{"empty", "dir", 0.0}, []any{"sub", "dir", 0.0}},
		"block": []any{add(block), "a block", 7.0}, "removed": []any{true},
		"roots": []any{[]any{true, root}}, "pins": []any{[]any{"recursive", ""}, []any{"recursive", "by name"}},
		"root": root, "unpinned": root, "objects": true, "peers": 0.0,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestRPCPython lets pip's ipfshttpclient use a node in the place of Kubo, whose CIDs
// it gets.
func TestRPCPython(t *testing.T) {
	python, err := rig.Find("HYPHA_PYTHON_IPFS", "", "ipfshttpclient-0.8.0a2/bin/python")
	if err != nil {
		t.Skipf("no ipfshttpclient: %v", err)
	}
	address, token := startRPC(t)
	host, port, found := strings.Cut(strings.TrimPrefix(address, "http://"), ":")
	if !found {
		t.Fatalf("the rpc is at %q", address)
	}
	dir := t.TempDir()
	r, err := rig.Program{
		Path: python, Env: []string{"NO_PROXY=127.0.0.1"},
		Args: []string{filepath.Join("testdata", "rpc.py"), "/ip4/" + host + "/tcp/" + port + "/http", token, dir},
	}.Run(rig.Within(t))
	ok(t, err)
	var got map[string]any
	ok(t, json.Unmarshal([]byte(r.Stdout), &got))
	for name, part := range map[string]string{"agent": "hypha-node/", "wrong": "token"} {
		if text, isText := got[name].(string); !isText || !strings.Contains(text, part) {
			t.Errorf("%s: %v", name, got[name])
		}
		delete(got, name)
	}
	k := kubo(t, "v0-2015")
	tree, err := k.Add(rig.Within(t), filepath.Join(dir, "tree"), "--cid-version=0", "--raw-leaves=false")
	ok(t, err)
	want := map[string]any{
		"system": true, "file": "Qmf412jQZiuVUtdgnB36FXFX7xg5V6KEbSJ4dpQuhkLyfD", "tree": tree,
		"text": "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e", "json": map[string]any{"a": []any{1.0, 2.0}},
		"cat": "text", "range": "wor", "ls": []any{[]any{"a.txt", 2.0}, []any{"sub", 1.0}},
		"pinned": []any{true, []any{tree}}, "unpinned": true, "again": []any{tree},
		"block": []any{"hello world", 11.0}, "car": true, "objects": true, "peers": []any{},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
