package httpconn_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/hypha-node/hypha-node/connectors"
	httpconn "github.com/hypha-node/hypha-node/connectors/http"
)

// item returns the one item of a reference.
func item(t *testing.T, ref connectors.Ref) connectors.Item {
	t.Helper()
	c := newConnector(t, httpconn.Config{})
	for it, err := range c.Items(t.Context(), ref, operator) {
		if err != nil {
			t.Fatal(err)
		}
		return it
	}
	t.Fatal("no item")
	return connectors.Item{}
}

func TestName(t *testing.T) {
	for uri, want := range map[string]string{
		"http://h/a/b.bin":              "b.bin",
		"http://h/a/b.bin?x=/y.txt#z":   "b.bin",
		"http://h/a%20b%2ebin":          "a b.bin",
		"http://h/":                     "part-0.bin",
		"http://h":                      "part-0.bin",
		"http://h?x=y":                  "part-0.bin",
		"http://h/a/":                   "part-0.bin",
		"http://h/a/..":                 "part-0.bin",
		"http://h/a/%2e%2e":             "part-0.bin",
		"http://h/a/.":                  "part-0.bin",
		"http://h/a/%2e%2e%2fetc":       ".._etc",
		"http://h/a/b%5cc":              "b_c",
		"http://h/a/b%00c":              "b_c",
		"http://h/%e6%a8%a1%e5%9e%8b":   "模型",
		"http://h/a:b":                  "a_b",
		"http://h/" + repeat("x", 300):  repeat("x", 255),
		"http://h/.hypha-tmp-x":         "part-0.bin",
		"http://h/a;v=1":                "a;v=1",
		"http://h/resolve/main/a?x#y/z": "a",
	} {
		if got := item(t, parse(t, uri)).Path; got != want {
			t.Errorf("%s is named %q, want %q", uri, got, want)
		}
	}
	var ref connectors.Ref
	if err := json.Unmarshal([]byte(`{"type":"uri","value":"http://h/a","filename":"d/e.bin"}`), &ref); err != nil {
		t.Fatal(err)
	}
	if got := item(t, ref).Path; got != "d/e.bin" {
		t.Errorf("the name asked for gives %q", got)
	}
}

func repeat(s string, n int) string { return strings.Repeat(s, n) }

func TestKeyAndScope(t *testing.T) {
	plain := item(t, parse(t, "https://example.org/a?b=c"))
	if plain.Key != "url:https://example.org/a?b=c" || plain.Scope != "" || plain.Pinned || plain.Size != -1 || plain.Source != "http" {
		t.Errorf("item is %+v", plain)
	}
	for _, same := range []string{"https://EXAMPLE.org/a?b=c", "HTTPS://example.org:443/a?b=c#frag"} {
		if got := item(t, parse(t, same)).Key; got != plain.Key {
			t.Errorf("%s has the key %q, want %q", same, got, plain.Key)
		}
	}
	for _, other := range []string{"http://example.org/a?b=c", "https://example.org:444/a?b=c", "https://example.org/A?b=c", "https://example.org/a?b=d", "https://example.org/a"} {
		if got := item(t, parse(t, other)).Key; got == plain.Key {
			t.Errorf("%s has the same key", other)
		}
	}
	// Credentials of every kind make a scope of their own, that tells nothing.
	seen := map[string]string{}
	with := func(change func(*connectors.Ref)) connectors.Ref {
		ref := parse(t, "https://example.org/a?b=c")
		change(&ref)
		return ref
	}
	for name, ref := range map[string]connectors.Ref{
		"token":         with(func(r *connectors.Ref) { r.Token = "secret" }),
		"another token": with(func(r *connectors.Ref) { r.Token = "secret2" }),
		"header":        with(func(r *connectors.Ref) { r.Headers = map[string]connectors.Secret{"X-Key": "secret"} }),
		"two headers":   with(func(r *connectors.Ref) { r.Headers = map[string]connectors.Secret{"X-Key": "secret", "B": "secret"} }),
		"user":          parse(t, "https://user:secret@example.org/a?b=c"),
		"signed":        parse(t, "https://example.org/a?b=c&X-Amz-Signature=secret"),
		"signed anew":   parse(t, "https://example.org/a?b=c&X-Amz-Signature=secret2"),
	} {
		it := item(t, ref)
		if it.Scope == "" || strings.Contains(it.Scope, "secret") || !strings.HasSuffix(it.Key, "#"+it.Scope) {
			t.Errorf("%s: item is %+v", name, it)
		}
		if strings.Contains(it.URL, "secret") {
			t.Errorf("%s: URL is %s", name, it.URL)
		}
		if before, ok := seen[it.Scope]; ok {
			t.Errorf("%s and %s have the same scope", name, before)
		}
		seen[it.Scope] = name
		if again := item(t, ref); again.Scope != it.Scope {
			t.Errorf("%s: scope changes", name)
		}
	}
}

func TestChecksum(t *testing.T) {
	var ref connectors.Ref
	sum := strings.Repeat("ab", 32)
	if err := json.Unmarshal([]byte(`{"type":"uri","value":"http://h/a","checksum":"sha256:`+sum+`"}`), &ref); err != nil {
		t.Fatal(err)
	}
	if it := item(t, ref); it.SHA256 == nil || it.SHA256[0] != 0xab {
		t.Errorf("item is %+v", it)
	}
}

// TestHeaders: what a request carries.
func TestHeaders(t *testing.T) {
	base, log := serve(t, func(_ int, w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Repr-Digest", "sha-256=:LXEWQrcmsEQBYnyp/6wy9chTD7GQPMTbAiWHF5IaSIE=:")
		w.Header().Set("ETag", `"v1"`)
		_, _ = w.Write([]byte("x"))
	})
	ref := parse(t, base+"/a")
	ref.Token, ref.Headers = "hf_x", map[string]connectors.Secret{"x-api-key": "k", "User-Agent": "mine"}
	body, err := item(t, ref).Open(t.Context(), 0, -1, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := body.Close(); err != nil {
		t.Error(err)
	}
	if body.SHA256 == nil || body.SHA256[0] != 0x2d || body.ETag != `"v1"` || body.Size != 1 || body.Unframed {
		t.Errorf("body is %+v", body)
	}
	got := log.list()[0]
	for name, want := range map[string]string{
		"Authorization": "Bearer hf_x", "X-Api-Key": "k", "User-Agent": "mine", "Accept-Encoding": "identity",
		"Want-Repr-Digest": "sha-256=10", "Range": "", "If-Range": "",
	} {
		if h := got.Header.Get(name); h != want {
			t.Errorf("%s is %q, want %q", name, h, want)
		}
	}
	if got.Method != http.MethodGet || got.Proto != "HTTP/1.1" || log.count() != 1 {
		t.Errorf("%d requests, the first is %s %s", log.count(), got.Method, got.Proto)
	}
}

// TestUnreachable: what can't be reached is an error at once.
func TestUnreachable(t *testing.T) {
	base, _ := serve(t, func(int, http.ResponseWriter, *http.Request) {})
	ref := parse(t, "http://127.0.0.1:1/x")
	_, err := item(t, ref).Open(t.Context(), 0, -1, nil)
	if !errors.Is(err, connectors.ErrUpstream) || strings.Contains(err.Error(), "attempts") {
		t.Errorf("error is %v", err)
	}
	if _, err := item(t, parse(t, base)).Open(t.Context(), -1, 5, nil); !errors.Is(err, connectors.ErrInvalid) {
		t.Errorf("error is %v, want %v", err, connectors.ErrInvalid)
	}
}
