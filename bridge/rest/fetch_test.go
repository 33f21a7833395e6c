package rest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hypha-node/hypha-node/bridge"
	"github.com/hypha-node/hypha-node/bridge/bridgetest"
	"github.com/hypha-node/hypha-node/dag"
)

func TestF1HuggingFace(t *testing.T) {
	hub, files := model()
	w := bridgetest.New(t, bridgetest.Options{Hub: hub})
	s := serveJob(t, w, "f1")
	before := time.Now().UTC().Truncate(time.Second)
	list := s.fetch(`{"fetch":{"type":"HuggingFace","repository":"org/model","revision":"main",` +
		`"filenames":["model.safetensors","config.json"]},"out_dir":"artifacts"}`).files(t)
	if len(list) != 2 || list[0].Path != "artifacts/model.safetensors" || list[1].Path != "artifacts/config.json" {
		t.Fatalf("%+v", list)
	}
	s.checkFile(list[0], files["model.safetensors"])
	s.checkFile(list[1], files["config.json"])
	for _, r := range list {
		m := r.Metadata
		if m.Source != "huggingface" || m.From != "origin" || m.Cached || m.Revision != w.Hub.Head("model/org/model") || m.ETag == "" {
			t.Errorf("%+v", m)
		}
		if m.Timestamp.Before(before) || m.Timestamp.After(time.Now()) || m.Timestamp.Location() != time.UTC {
			t.Errorf("timestamp %v", m.Timestamp)
		}
	}
	if got := s.tree(); !slices.Equal(got, []string{"artifacts/config.json", "artifacts/model.safetensors"}) {
		t.Errorf("work directory has %v", got)
	}
}

func TestF2Subdirectories(t *testing.T) {
	hub, files := model()
	s := serveJob(t, bridgetest.New(t, bridgetest.Options{Hub: hub}), "f2")
	list := s.fetch(`{"type":"huggingface","repository":"org/model","filenames":["a/b/c.json"]}`).files(t)
	if len(list) != 1 || list[0].Path != "artifacts/a/b/c.json" {
		t.Fatalf("%+v", list)
	}
	s.checkFile(list[0], files["a/b/c.json"])
	s.tree() // modes
}

func TestF3RevisionIsResolvedOnce(t *testing.T) {
	hub, _ := model()
	w := bridgetest.New(t, bridgetest.Options{Hub: hub})
	s := serveJob(t, w, "f3")
	list := s.fetch(`{"type":"huggingface","repository":"org/model","filenames":["config.json","a/b/c.json","empty.txt"]}`).files(t)
	for _, r := range list {
		if r.Metadata.Revision != w.Hub.Head("model/org/model") {
			t.Errorf("%s: revision %q", r.Path, r.Metadata.Revision)
		}
	}
	revisions := 0
	for _, r := range w.Hub.Requests() {
		if strings.Contains(r.Path, "/revision/") {
			revisions++
		}
	}
	if len(list) != 3 || revisions != 1 {
		t.Errorf("%d files, %d requests for the revision", len(list), revisions)
	}
}

func TestF6Filenames(t *testing.T) {
	hub, files := model()
	s := serveJob(t, bridgetest.New(t, bridgetest.Options{Hub: hub}), "f6")
	if a := s.fetch(`{"type":"huggingface","repository":"org/model","filenames":[]}`); a.status != http.StatusBadRequest {
		t.Errorf("no filenames: %d %s", a.status, a.body)
	}
	if got := s.tree(); len(got) != 0 {
		t.Errorf("a refused request left %v", got)
	}
	list := s.fetch(`{"type":"huggingface","repository":"org/model"}`).files(t)
	if len(list) != len(files) {
		t.Errorf("listing gave %d of %d files", len(list), len(files))
	}
	for _, r := range list {
		s.checkFile(r, files[strings.TrimPrefix(r.Path, "artifacts/")])
	}
	list = s.fetch(`{"fetch":{"type":"huggingface","repository":"org/model","allow_patterns":["*.json"],"ignore_patterns":["a/*"]},"out_dir":"j"}`).files(t)
	if len(list) != 1 || list[0].Path != "j/config.json" {
		t.Errorf("patterns gave %+v", list)
	}
}

func TestF7URI(t *testing.T) {
	w := bridgetest.New(t, bridgetest.Options{})
	s := serveJob(t, w, "f7")
	data := random(2, 300_000)
	for _, p := range []string{"/dir/data.bin", "/x y.bin", "/", "/d/"} {
		w.Origin.Put(p, data)
	}
	sum := sha256.Sum256(data)
	tests := []struct{ name, body, path string }{
		{"last segment", `{"type":"uri","value":"` + w.Origin.URL + `/dir/data.bin"}`, "artifacts/data.bin"},
		{"without the query", `{"type":"uri","value":"` + w.Origin.URL + `/dir/data.bin?download=true&x=/y"}`, "artifacts/data.bin"},
		{"percent", `{"type":"uri","value":"` + w.Origin.URL + `/x%20y.bin"}`, "artifacts/x y.bin"},
		{"no name", `{"type":"uri","value":"` + w.Origin.URL + `/"}`, "artifacts/part-0.bin"},
		{"directory", `{"type":"uri","value":"` + w.Origin.URL + `/d/"}`, "artifacts/part-0.bin"},
		{"given name", `{"type":"uri","value":"` + w.Origin.URL + `/d/","filename":"n.bin"}`, "artifacts/n.bin"},
		{"URI", `"` + w.Origin.URL + `/dir/data.bin"`, "artifacts/data.bin"},
		{"directory of the job", `{"fetch":"` + w.Origin.URL + `/dir/data.bin","out_dir":"in/put"}`, "in/put/data.bin"},
		{"checksum", `{"type":"uri","value":"` + w.Origin.URL + `/dir/data.bin","filename":"c","checksum":"sha256:` + hex.EncodeToString(sum[:]) + `"}`, "artifacts/c"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			list := s.fetch(tt.body).files(t)
			if len(list) != 1 || list[0].Path != tt.path || list[0].Metadata.Source != "http" {
				t.Fatalf("%+v", list)
			}
			s.checkFile(list[0], data)
		})
	}
	s.tree()
}

func TestF8CIDs(t *testing.T) {
	w := bridgetest.New(t, bridgetest.Options{})
	s := serveJob(t, w, "f8")
	data := random(5, 3<<20)
	f, err := dag.Import(t.Context(), w.Store, bytes.NewReader(data), dag.ImportOptions{})
	if err != nil {
		t.Fatal(err)
	}
	src := t.TempDir()
	for name, content := range map[string][]byte{"top.txt": []byte("top"), "sub/deep.bin": data} {
		if err := os.MkdirAll(filepath.Join(src, filepath.Dir(name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(src, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	root, err := os.OpenRoot(src)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	tree, err := dag.ImportTree(t.Context(), w.Store, root, ".", dag.TreeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	list := s.fetch(`{"type":"cids","values":["` + f.Root.String() + `"]}`).files(t)
	if len(list) != 1 || list[0].Path != "artifacts/"+f.Root.String() || list[0].Metadata.Source != "cid" || !list[0].Metadata.Cached {
		t.Fatalf("%+v", list)
	}
	s.checkFile(list[0], data)
	byPath := map[string]bridge.Result{}
	for _, r := range s.fetch(`{"fetch":"ipfs://` + tree.Cid.String() + `","out_dir":"t"}`).files(t) {
		byPath[r.Path] = r
	}
	s.checkFile(byPath["t/top.txt"], []byte("top"))
	s.checkFile(byPath["t/sub/deep.bin"], data)
	if len(byPath) != 2 {
		t.Errorf("%v", byPath)
	}
	one := s.fetch(`{"fetch":"ipfs://` + tree.Cid.String() + `/sub/deep.bin","out_dir":"p"}`).files(t)
	if len(one) != 1 {
		t.Fatalf("%+v", one)
	}
	s.checkFile(one[0], data)
	a := s.fetch(`{"type":"cids","values":["bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy"]}`)
	if p := a.problem(t); a.status != http.StatusNotFound || p.Error != "not_found" || !strings.Contains(p.Detail, "bafkreigh2a") {
		t.Errorf("a CID that nobody has: %d %s", a.status, a.body)
	}
	s.tree()
}

func TestF12AppearsComplete(t *testing.T) {
	w := bridgetest.New(t, bridgetest.Options{})
	s := serveJob(t, w, "f12")
	data := random(6, 8<<20)
	f := w.Origin.Put("/big", data)
	gate := f.Stop()
	got := make(chan answer, 1)
	go func() { got <- s.fetch(`"` + w.Origin.URL + `/big"`) }()
	bridgetest.Wait(t, gate.Reached(), "half of the download")
	if _, err := os.Lstat(filepath.Join(s.dir, "artifacts", "big")); err == nil {
		t.Error("the file is there before it is complete")
	}
	entries, err := os.ReadDir(filepath.Join(s.dir, "artifacts"))
	if err == nil && len(entries) > 0 {
		t.Errorf("executors would list %v", entries)
	}
	gate.Open()
	list := (<-got).files(t)
	s.checkFile(list[0], data)
	if got := s.tree(); !slices.Equal(got, []string{"artifacts/big"}) {
		t.Errorf("work directory has %v", got)
	}
}

// A file that is there is replaced by rename: who has it open keeps it.
func TestF12ReplacesByRename(t *testing.T) {
	w := bridgetest.New(t, bridgetest.Options{})
	s := serveJob(t, w, "f12r")
	data := random(7, 100_000)
	w.Origin.Put("/x", data)
	old := filepath.Join(s.dir, "artifacts", "x")
	if err := os.MkdirAll(filepath.Dir(old), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(old, []byte("mapped by somebody"), 0o400); err != nil {
		t.Fatal(err)
	}
	reader, err := os.Open(old)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	s.checkFile(s.fetch(`"` + w.Origin.URL + `/x"`).files(t)[0], data)
	kept := make([]byte, 18)
	if _, err := reader.ReadAt(kept, 0); err != nil || string(kept) != "mapped by somebody" {
		t.Errorf("the old file was changed: %q, %v", kept, err)
	}
	// A symlink in the place is replaced as well, its target is not touched.
	victim := filepath.Join(t.TempDir(), "victim")
	if err := os.WriteFile(victim, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(old); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(victim, old); err != nil {
		t.Fatal(err)
	}
	s.checkFile(s.fetch(`"` + w.Origin.URL + `/x"`).files(t)[0], data)
	if got, err := os.ReadFile(victim); err != nil || string(got) != "mine" {
		t.Errorf("the target of a symlink was written: %q, %v", got, err)
	}
	// A directory in the place is not.
	if err := os.MkdirAll(filepath.Join(s.dir, "d", "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	a := s.fetch(`{"fetch":"` + w.Origin.URL + `/x","out_dir":"d"}`)
	if a.status != http.StatusBadRequest || a.problem(t).Error != "invalid_path" {
		t.Errorf("over a directory: %d %s", a.status, a.body)
	}
	s.tree()
}

func TestF13Twice(t *testing.T) {
	w := bridgetest.New(t, bridgetest.Options{})
	s := serveJob(t, w, "f13")
	other := serveJob(t, w, "f13b")
	data := random(8, 2<<20+5)
	f := w.Origin.Put("/x", data)
	body := `"` + w.Origin.URL + `/x"`
	first := s.fetch(body).files(t)
	sent := f.Sent()
	for _, s := range []*jobServer{s, other} {
		second := s.fetch(body).files(t)
		s.checkFile(second[0], data)
		if m := second[0].Metadata; !m.Cached || m.From != "store" {
			t.Errorf("%+v", m)
		}
		a, b := first[0], second[0]
		a.Metadata.Timestamp, a.Metadata.Cached, a.Metadata.From = b.Metadata.Timestamp, true, "store"
		if diff := cmp.Diff(a, b); diff != "" {
			t.Errorf("the second answer differs: %s", diff)
		}
	}
	if f.Sent() != sent {
		t.Errorf("the origin sent %d more bytes", f.Sent()-sent)
	}
}

// 64 fetches of one file, by four jobs, are one download.
func TestF14ManyAtOnce(t *testing.T) {
	w := bridgetest.New(t, bridgetest.Options{})
	data := random(9, 4<<20)
	f := w.Origin.Put("/x", data)
	gate := f.Stop()
	var wg sync.WaitGroup
	for n := range 4 {
		s := serveJob(t, w, fmt.Sprintf("f14-%d", n))
		for i := range 16 {
			wg.Go(func() {
				s.checkFile(s.fetch(fmt.Sprintf(`{"fetch":"%s/x","out_dir":"d%d"}`, w.Origin.URL, i)).files(t)[0], data)
			})
		}
		defer s.tree()
	}
	bridgetest.Wait(t, gate.Reached(), "half of the download")
	gate.Open()
	wg.Wait()
	if f.Sent() != int64(len(data)) {
		t.Errorf("the origin sent %d bytes of a file of %d", f.Sent(), len(data))
	}
}

// The old forms of a body give the same result.
func TestF17Dialects(t *testing.T) {
	hub, files := model()
	w := bridgetest.New(t, bridgetest.Options{Hub: hub})
	const r = `"repository":"org/model","revision":"main","filenames":["config.json"]`
	var want []bridge.Result
	for i, body := range []string{
		`{"fetch":{"type":"HuggingFace",` + r + `},"out_dir":"artifacts"}`,
		`{"type":"huggingface",` + r + `}`,
		`{"type":"huggingface",` + r + `,"token":null}`,
		`{"resource":{"type":"huggingface",` + r + `}}`,
		`"hf://org/model@main/config.json"`,
		`{"fetch":"hf://org/model/config.json"}`,
	} {
		s := serveJob(t, w, fmt.Sprintf("f17-%d", i))
		list := s.fetch(body).files(t)
		if len(list) != 1 {
			t.Fatalf("%s: %+v", body, list)
		}
		s.checkFile(list[0], files["config.json"])
		list[0].Metadata.Timestamp, list[0].Metadata.Cached, list[0].Metadata.From = time.Time{}, false, ""
		if i == 0 {
			want = list
		}
		if diff := cmp.Diff(want, list); diff != "" {
			t.Errorf("%s: %s", body, diff)
		}
	}
}

func TestPins(t *testing.T) {
	w := bridgetest.New(t, bridgetest.Options{})
	s := serveJob(t, w, "pins")
	w.Origin.Put("/x", []byte("content"))
	r := s.fetch(`"` + w.Origin.URL + `/x"`).files(t)[0]
	var names []string
	for p, err := range w.Store.Pins(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if p.Root.String() == r.CID {
			names = append(names, p.Name)
		}
	}
	if !slices.Equal(names, []string{"job:pins"}) {
		t.Errorf("pins %v", names)
	}
}

func TestJobRoute(t *testing.T) {
	w := bridgetest.New(t, bridgetest.Options{})
	s := serveJob(t, w, "me")
	var info bridge.Info
	if err := json.Unmarshal(s.get("/job").body, &info); err != nil {
		t.Fatal(err)
	}
	if info.ID != "me" || info.WorkDir != s.dir || info.Created.IsZero() {
		t.Errorf("%+v", info)
	}
}
