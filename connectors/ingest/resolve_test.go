package ingest_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/connectors"
	"github.com/hypha-node/hypha-node/connectors/ingest"
	"github.com/hypha-node/hypha-node/internal/hubtest"
)

// pointerTo returns the pointer of git LFS to a content.
func pointerTo(content []byte) []byte {
	return fmt.Appendf(nil, "%soid sha256:%x\nsize %d\n", connectors.PointerStart, sha256.Sum256(content), len(content))
}

// TestPointer: a pointer of git LFS is never served as data. What it stands for comes
// out of the store or from where a hub has it; else it is an error with a hint.
func TestPointer(t *testing.T) {
	content := random(3, 100_000)
	pointer := pointerTo(content)
	fetchAt := func(t *testing.T, e *ingest.Engine, o *origin, name string) (ingest.Fetched, error) {
		t.Helper()
		return e.Fetch(t.Context(), item(t, e, o.ref(name)), ingest.Options{})
	}
	t.Run("stored", func(t *testing.T) {
		s := blockstore.NewMemory()
		o := newOrigin(t, map[string]*served{"/git/m": {content: pointer, etag: `"p"`}, "/m": {content: content, etag: `"m"`}})
		e := newEngine(t, ingest.Config{Store: s})
		fetch(t, e, s, o.ref("/m"), content)
		got, err := fetchAt(t, e, o, "/git/m")
		must(t, err)
		if got.From != ingest.FromStore || got.OriginBytes != 0 {
			t.Errorf("%+v", got)
		}
		checkStored(t, s, got.File, content)
	})
	t.Run("hub", func(t *testing.T) {
		s := blockstore.NewMemory()
		o := newOrigin(t, map[string]*served{"/a/b/raw/main/m": {content: pointer}, "/a/b/resolve/main/m": {content: content}})
		e := newEngine(t, ingest.Config{Store: s})
		got, err := fetchAt(t, e, o, "/a/b/raw/main/m")
		must(t, err)
		if got.From != ingest.FromOrigin || !got.Verified {
			t.Errorf("%+v", got)
		}
		checkStored(t, s, got.File, content)
	})
	wrong := random(4, len(content))
	for name, files := range map[string]map[string]*served{
		"nowhere":                         {"/x/raw/m": {content: pointer}},
		"a host that has no other place":  {"/x/m": {content: pointer}},
		"a pointer again":                 {"/x/raw/m": {content: pointer}, "/x/resolve/m": {content: pointer}},
		"another content":                 {"/x/raw/m": {content: pointer}, "/x/resolve/m": {content: wrong}},
		"its size is told when it begins": {"/x/m": {content: pointer, etag: `"p"`}},
	} {
		t.Run(name, func(t *testing.T) {
			s := blockstore.NewMemory()
			o := newOrigin(t, files)
			e := newEngine(t, ingest.Config{Store: s})
			path := "/x/m"
			if files[path] == nil {
				path = "/x/raw/m"
			}
			_, err := fetchAt(t, e, o, path)
			ce, ok := errors.AsType[*connectors.Error](err)
			want := connectors.ErrPointer
			if name == "another content" || name == "a pointer again" {
				want = connectors.ErrMismatch
			}
			if !ok || !errors.Is(err, want) || errors.Is(want, connectors.ErrPointer) && ce.Hint == "" {
				t.Errorf("error is %v, want %v with a hint", err, want)
			}
			checkNothing(t, s, pointer)
			checkNothing(t, s, wrong)
		})
	}
	t.Run("what only begins like one", func(t *testing.T) {
		s := blockstore.NewMemory()
		text := append(bytes.Clone(pointer), strings.Repeat("x", connectors.MaxPointer)...)
		o := newOrigin(t, map[string]*served{"/long": {content: text}, "/start": {content: []byte(connectors.PointerStart)}})
		e := newEngine(t, ingest.Config{Store: s})
		fetch(t, e, s, o.ref("/long"), text)
		fetch(t, e, s, o.ref("/start"), []byte(connectors.PointerStart))
	})
}

// TestSidecar: the digest in a file beside the file is what the content must have.
func TestSidecar(t *testing.T) {
	content := random(5, 50_000)
	sum := fmt.Sprintf("%x", sha256.Sum256(content))
	tests := []struct {
		name, sidecar string
		want          error
	}{
		{"right", sum + "  f.bin\n", nil},
		{"wrong", strings.Repeat("0", 64) + "  f.bin\n", connectors.ErrMismatch},
		{"of another file", sum + "  g.bin\n", connectors.ErrUpstream},
		{"a page", "<!DOCTYPE html>", connectors.ErrUpstream},
		{"too large", sum + strings.Repeat("\n", connectors.MaxSidecar), connectors.ErrUpstream},
		{"missing", "", connectors.ErrNotFound},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := blockstore.NewMemory()
			files := map[string]*served{"/d/f.bin": {content: content}, "/d/f.bin.sha256": {content: []byte(tt.sidecar)}}
			if tt.sidecar == "" {
				files["/d/f.bin.sha256"].status = http.StatusNotFound
			}
			o := newOrigin(t, files)
			e := newEngine(t, ingest.Config{Store: s})
			ref, err := o.ref("/d/f.bin").WithChecksum("Sidecar")
			must(t, err)
			ref.Filename = "mine"
			var got ingest.Fetched
			for it, ierr := range e.Resolve(t.Context(), ref, connectors.Access{Operator: true}) {
				if err = ierr; err == nil {
					got, err = e.Fetch(t.Context(), it, ingest.Options{})
				}
			}
			if !errors.Is(err, tt.want) {
				t.Fatalf("error is %v, want %v", err, tt.want)
			}
			if tt.want == nil {
				checkStored(t, s, got.File, content)
				if !got.Verified {
					t.Error("not verified")
				}
				return
			}
			checkNothing(t, s, content)
		})
	}
}

// TestChecksumOfOne: a checksum belongs to a reference that stands for one file, of
// whatever kind, and to that file's content.
func TestChecksumOfOne(t *testing.T) {
	_, e := newHub(t, blockstore.NewMemory(), hubtest.Config{Repos: []hubtest.Repo{{ID: "owner/name", Files: repo()}}})
	sum, err := repo()["model.safetensors"].SHA256()
	must(t, err)
	for uri, want := range map[string]error{
		"hf://owner/name/model.safetensors": nil,
		"hf://owner/name/onnx/model.onnx":   connectors.ErrMismatch, // the listing says so
		"hf://owner/name/config.json":       connectors.ErrMismatch, // its content does
		"hf://owner/name":                   connectors.ErrInvalid,
		"hf://owner/name/*.none":            connectors.ErrNotFound,
	} {
		ref, err := connectors.ParseURI(uri)
		must(t, err)
		ref.Checksum = "sha256:" + sum
		for it, ierr := range e.Resolve(t.Context(), ref, connectors.Access{Operator: true}) {
			if err = ierr; err == nil {
				_, err = e.Fetch(t.Context(), it, ingest.Options{})
			}
		}
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", uri, err, want)
		}
	}
}

// TestArchives: what is packed stays packed, whatever its origin says that it is.
func TestArchives(t *testing.T) {
	for name, text := range map[string]string{
		"/a.zip": "PK\x03\x04\x14\x00", "/a.tar": "dir/" + strings.Repeat("\x00", 600) + "ustar", "/a.tar.gz": "\x1f\x8b\x08\x00packed",
	} {
		s := blockstore.NewMemory()
		o := newOrigin(t, map[string]*served{name: {content: []byte(text)}})
		e := newEngine(t, ingest.Config{Store: s})
		it := item(t, e, o.ref(name))
		got, err := e.Fetch(t.Context(), it, ingest.Options{})
		must(t, err)
		checkStored(t, s, got.File, []byte(text))
		if it.Path != name[1:] {
			t.Errorf("%s is called %s", name, it.Path)
		}
	}
}
