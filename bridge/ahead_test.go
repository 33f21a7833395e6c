package bridge_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/bridge"
	"github.com/hypha-node/hypha-node/bridge/bridgetest"
	"github.com/hypha-node/hypha-node/connectors"
	"github.com/hypha-node/hypha-node/internal/hubtest"
)

// TestAhead: a repository of 1,000 files for which there is no room, in the job's
// quota or on the node's disk, is refused before a byte of it is asked for; what is
// stored, and what several files share, needs no room on the disk.
func TestAhead(t *testing.T) {
	const size = 2000
	for _, tt := range []struct {
		name   string
		n      int // files, two of each content
		limits bridge.Limits
		disk   int64 // bytes that the store takes
		before bool  // all of it is stored before
		want   error // nil: it is fetched
	}{
		{name: "too many bytes", n: 1000, limits: bridge.Limits{Bytes: 1000*size - 1}, want: bridge.ErrQuota},
		{name: "too many files", n: 1000, limits: bridge.Limits{Files: 999}, want: bridge.ErrQuota},
		{name: "a full disk", n: 1000, disk: 500*size - 1, want: blockstore.ErrNoSpace},
		{name: "stored, and a full disk", n: 50, disk: 25*size + 1<<20, before: true},
		{name: "stored, and too many bytes", n: 50, limits: bridge.Limits{Bytes: 50*size - 1}, before: true, want: bridge.ErrQuota},
		{name: "just enough", n: 50, limits: bridge.Limits{Bytes: 50 * size, Files: 50}, disk: 25*size + 1<<20},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			files := map[string]hubtest.Content{}
			for i := range tt.n {
				files[fmt.Sprintf("d/%04d.bin", i)] = hubtest.Random(uint64(i%(tt.n/2)), size)
			}
			store := blockstore.NewMemory()
			t.Cleanup(func() { store.Close() })
			w := bridgetest.New(t, bridgetest.Options{Store: store, Hub: hubtest.Config{Repos: []hubtest.Repo{{ID: "o/r", Files: files}}}})
			store.SetLimit(tt.disk)
			dir := filepath.Join(t.TempDir(), "work")
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			conf := w.Config("job", dir)
			conf.Limits = tt.limits
			job := w.OpenWith(t, conf)
			ref := connectors.Ref{Type: connectors.TypeHuggingFace, RepoType: connectors.RepoModel, Repository: "o/r", Index: -1}
			if tt.before {
				prefetched(t, job, ref)
				if tt.disk > 0 {
					store.SetLimit(1) // not a byte more
				}
			}
			w.Hub.ResetRequests()
			got, err := job.Fetch(t.Context(), bridge.FetchRequest{Ref: ref})
			if !errors.Is(err, tt.want) || tt.want == nil && len(got) != tt.n {
				t.Fatalf("%d files, %v, want %v", len(got), err, tt.want)
			}
			asked := 0
			for _, r := range w.Hub.Requests() {
				if r.CDN || strings.Contains(r.Path, "/resolve") {
					asked++
				}
			}
			if (tt.want != nil || tt.before) && asked != 0 {
				t.Errorf("%d requests for content", asked)
			}
			if use := job.Use(); tt.want != nil && (use.Files != 0 || use.Bytes != 0) {
				t.Errorf("it counts %+v", use)
			}
		})
	}
}

// prefetched brings a reference into the store.
func prefetched(t *testing.T, job *bridge.Job, ref connectors.Ref) {
	t.Helper()
	ended := make(chan bridge.Transfer, 1)
	if _, err := job.Prefetch(t.Context(), bridge.FetchRequest{Ref: ref, Progress: func(tr bridge.Transfer) {
		if tr.State != "running" {
			select {
			case ended <- tr:
			default:
			}
		}
	}}); err != nil {
		t.Fatal(err)
	}
	if tr := <-ended; tr.State != "done" {
		t.Fatalf("%+v", tr)
	}
}
