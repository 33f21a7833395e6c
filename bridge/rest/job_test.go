package rest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hypha-node/hypha-node/bridge"
	"github.com/hypha-node/hypha-node/bridge/bridgetest"
	"github.com/hypha-node/hypha-node/dag"
	"github.com/hypha-node/hypha-node/internal/hubtest"
)

// jobServer is a real job on a real socket.
type jobServer struct {
	*server
	job *bridge.Job
	dir string // work directory
}

// serveJob serves a new job of a world.
func serveJob(t testing.TB, w *bridgetest.World, id string) *jobServer {
	t.Helper()
	job := w.Open(t, id)
	return &jobServer{server: serve(t, Config{Job: job}), job: job, dir: job.Info().WorkDir}
}

// checkFile holds a result against what is in the work directory and what it
// should be.
func (s *jobServer) checkFile(r bridge.Result, want []byte) {
	s.t.Helper()
	name := filepath.Join(s.dir, filepath.FromSlash(r.Path))
	got, err := os.ReadFile(name)
	if err != nil {
		s.t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		s.t.Errorf("%s: %d bytes that are not the content (%d bytes)", r.Path, len(got), len(want))
	}
	if sum := sha256.Sum256(want); r.Checksum != "sha256:"+hex.EncodeToString(sum[:]) || r.Size != int64(len(want)) {
		s.t.Errorf("%s: reported %d bytes, %s", r.Path, r.Size, r.Checksum)
	}
	if f, err := dag.Import(s.t.Context(), nil, bytes.NewReader(want), dag.ImportOptions{HashOnly: true}); err != nil || f.Root.String() != r.CID {
		s.t.Errorf("%s: reported CID %s, want %s (%v)", r.Path, r.CID, f.Root, err)
	}
	if info, err := os.Lstat(name); err != nil || info.Mode() != 0o600 {
		s.t.Errorf("%s: mode %v, %v; want 0600", r.Path, info.Mode(), err)
	}
}

// tree returns what the work directory holds, without the node's own directory,
// and fails on modes that are not ours and on leftovers.
func (s *jobServer) tree() []string {
	s.t.Helper()
	var names []string
	err := filepath.WalkDir(s.dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || name == s.dir {
			return err
		}
		rel, err := filepath.Rel(s.dir, name)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if want := map[bool]fs.FileMode{true: fs.ModeDir | 0o700, false: 0o600}[d.IsDir()]; info.Mode() != want {
			s.t.Errorf("%s: mode %v, want %v", rel, info.Mode(), want)
		}
		if path.Dir(filepath.ToSlash(rel)) == bridge.Private+"/tmp" {
			s.t.Errorf("leftover %s", rel)
		}
		if first, _, _ := strings.Cut(filepath.ToSlash(rel), "/"); first != bridge.Private && !d.IsDir() {
			names = append(names, filepath.ToSlash(rel))
		}
		return nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return names
}

// random returns n bytes that depend on seed.
func random(seed byte, n int) []byte {
	data := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(data)
	return data
}

// model is a repository with a large file, small ones and one in a directory.
func model() (hubtest.Config, map[string][]byte) {
	files := map[string][]byte{
		"model.safetensors": random(1, 5<<20+17), "config.json": []byte(`{"a":1}`),
		"a/b/c.json": []byte(`[]`), "empty.txt": {}, "name with spaces & ümlaut.txt": []byte("x"),
	}
	repo := hubtest.Repo{ID: "org/model", Files: map[string]hubtest.Content{}}
	for name, data := range files {
		repo.Files[name] = hubtest.Bytes(data)
	}
	return hubtest.Config{Repos: []hubtest.Repo{repo}}, files
}
