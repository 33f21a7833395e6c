package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/alecthomas/kong"

	"github.com/hypha-node/hypha-node/api/control"
	"github.com/hypha-node/hypha-node/blockstore"
)

func TestClassify(t *testing.T) {
	ended, cancel := context.WithCancelCause(t.Context())
	cancel(signalled{syscall.SIGINT})
	for _, tc := range []struct {
		name  string
		err   error
		code  int
		quiet bool
		hint  string // contained
	}{
		{"done", nil, 0, false, ""},
		{"anything", errors.New("x"), 1, false, ""},
		{"not found", &control.Error{Code: control.CodeNotFound, Hint: "look"}, 3, false, "look"},
		{"no progress", &control.Error{Code: control.CodeTimeout}, 3, false, ""},
		{"bad name", &control.Error{Code: control.CodeInvalid}, 2, false, ""},
		{"no network", &control.Error{Code: control.CodeOffline}, 4, false, ""},
		{"full disk", &control.Error{Code: control.CodeNoSpace}, 1, false, ""},
		{"no daemon", fmt.Errorf("x: %w", control.ErrNoDaemon), 4, false, "daemon"},
		{"in use", fmt.Errorf("x: %w", blockstore.ErrInUse), 1, false, "share"},
		{"newer", fmt.Errorf("x: %w", blockstore.ErrVersion), 1, false, "newer"},
		{"no file", syscall.ENOENT, 3, false, ""},
		{"reader gone", fmt.Errorf("write: %w", syscall.EPIPE), 141, true, ""},
		{"interrupted", because(ended, context.Canceled), 130, true, ""},
		{"failed before it was interrupted", because(ended, errors.New("x")), 1, false, ""},
		{"terminated", signalled{syscall.SIGTERM}, 143, true, ""},
		{"said already", fmt.Errorf("x: %w", &failure{code: 7, quiet: true, err: errors.New("y")}), 7, true, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := classify(tc.err)
			if tc.err == nil {
				if f != nil {
					t.Errorf("%+v", f)
				}
				return
			}
			if f.code != tc.code || f.quiet != tc.quiet || !strings.Contains(f.hint, tc.hint) {
				t.Errorf("%+v", f)
			}
		})
	}
}

func TestReference(t *testing.T) {
	const id = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"
	for text, want := range map[string]string{
		"hf://a/b":            `"hf://a/b"`,
		"https://x/y?a=b&c=d": `"https://x/y?a=b\u0026c=d"`,
		id:                    `"ipfs://` + id + `"`,
		id + "/a/b":           `"ipfs://` + id + `/a/b"`,
		"/ipfs/" + id + "/a":  `"ipfs://` + id + `/a"`,
		`{"type":"uri"}`:      `{"type":"uri"}`,
	} {
		got, err := reference(text)
		if err != nil || string(got) != want {
			t.Errorf("%s: %s, %v; want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"", "a/b", `{"type"`, "x:y", "\x1b[31m"} {
		got, err := reference(text)
		if f := classify(err); f == nil || f.code != exitUsage {
			t.Errorf("%q: %s, %v", text, got, err)
		}
	}
}

func TestEscapeLines(t *testing.T) {
	got := escapeLines("one\nerror: \x1b[31mtwo\n")
	if got != "one\n  error: \\x1b[31mtwo" {
		t.Errorf("%q", got)
	}
}

// TestModel holds the command line to its own rules: every command and flag is
// explained, in a sentence, and no flag has two meanings.
func TestModel(t *testing.T) {
	var c cli
	k, err := newParser(&c)
	if err != nil {
		t.Fatal(err)
	}
	var walk func(n *kong.Node)
	walk = func(n *kong.Node) {
		for _, child := range n.Children {
			if child.Help == "" || !strings.HasSuffix(child.Help, ".") {
				t.Errorf("%s: help %q", child.FullPath(), child.Help)
			}
			walk(child)
		}
		for _, f := range n.Flags {
			if f.Help == "" {
				t.Errorf("%s --%s has no help", n.FullPath(), f.Name)
			}
			if !f.IsBool() && f.PlaceHolder == "" && f.Name != "codec" {
				t.Errorf("%s --%s does not say what its value is", n.FullPath(), f.Name)
			}
		}
	}
	walk(k.Model.Node)
	seen := map[string]bool{}
	for _, at := range completions(k.Model.Node) {
		if seen[at.path] {
			t.Errorf("%q twice", at.path)
		}
		seen[at.path] = true
	}
	for _, path := range []string{"", "fetch", "job run", "block put", "config set", "completion"} {
		if !seen[path] {
			t.Errorf("no completions for %q", path)
		}
	}
}
