package trust

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hypha-node/hypha-node/internal/hubtest"
	"github.com/hypha-node/hypha-node/testground/rig"
)

// TestKillAndChangeTransport kills the daemon with SIGKILL in the middle of a
// download over one transport, and holds that the next one goes on over the other:
// at most one window (32 MiB) is fetched again.
func TestKillAndChangeTransport(t *testing.T) {
	const (
		size   = 80 << 20
		window = 32 << 20
		unit   = 1 << 20
	)
	content := hubtest.Random(31, size)
	sum, err := content.SHA256()
	ok(t, err)
	for _, tc := range []struct {
		first, second string
		stop          hubtest.Fault
		at            int64 // byte where that stops the download
	}{
		{"http", "xet", hubtest.Fault{CDN: true, Path: "xet-bridge-us", Stall: true, At: 48 << 20}, 48 << 20},
		// The storage is asked again for each 64 MiB.
		{"xet", "http", hubtest.Fault{CAS: true, Stall: true, After: 1}, 64 << 20},
	} {
		t.Run(tc.first+" then "+tc.second, func(t *testing.T) {
			hub, err := hubtest.New(hubtest.Config{Xet: true, Repos: []hubtest.Repo{{ID: "org/model", Files: map[string]hubtest.Content{"model.bin": content}}}})
			ok(t, err)
			ok(t, hub.Start())
			defer func() { ok(t, hub.Close()) }()
			repo := filepath.Join(t.TempDir(), "repo")
			hub.Plant(tc.stop)
			n := startWith(t, repo, hub, tc.first)
			job, err := n.CreateJob(rig.Within(t))
			ok(t, err)
			ref := map[string]any{"type": "HuggingFace", "repository": "org/model", "revision": hub.Head("model/org/model"), "filenames": []string{"model.bin"}}
			done := make(chan error, 1)
			go func() {
				_, err := job.Fetch(rig.Within(t), ref)
				done <- err
			}()
			eventually(t, "the content is written up to the stop", func() bool {
				part := partFiles(t, repo)
				return len(part) == 1 && part[0] >= tc.at-2*unit
			})
			ok(t, n.Kill())
			if err := <-done; err == nil {
				t.Fatal("a fetch was answered whose content was never sent")
			}

			hub.ClearFaults()
			hub.ResetRequests()
			n = startWith(t, repo, hub, tc.second)
			job, err = n.CreateJob(rig.Within(t))
			ok(t, err)
			got, err := job.Fetch(rig.Within(t), ref)
			ok(t, err)
			inDir, err := rig.HashFile(filepath.Join(job.WorkDir, got[0].Path))
			over := tc.second
			if over == "http" {
				over = "" // that is not worth a word
			}
			if err != nil || inDir != sum || got[0].Metadata.Transport != over {
				t.Errorf("sha256 %s over %q, %v; want %s over %s", inDir, got[0].Metadata.Transport, err, sum, tc.second)
			}
			from := int64(-1)
			for _, r := range hub.Requests() {
				if bridge := strings.HasPrefix(r.Path, "/xet-bridge-us/"); r.CAS || bridge {
					var first int64
					_, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &first)
					if err != nil || r.CAS != (tc.second == "xet") {
						t.Errorf("%s was asked for %q: %v", r.Path, r.Header.Get("Range"), err)
					}
					if from < 0 {
						from = first
					}
				}
			}
			if from < tc.at-window-2*unit || from > tc.at {
				t.Errorf("it went on at byte %d after a kill at %d, want at most %d before that", from, tc.at, window)
			}
			t.Logf("killed at byte %d over %s, went on at %d over %s", tc.at, tc.first, from, tc.second)
			stop(t, n)
		})
	}
}

// startWith starts a daemon that reads from a hub by a transport.
func startWith(t *testing.T, repo string, hub *hubtest.Hub, transport string) *rig.Node {
	t.Helper()
	n, err := rig.StartNode(rig.Within(t), rig.Config{Binary: binary, Repo: repo, Env: []string{
		"HF_ENDPOINT=" + hub.URL, "HYPHA_HF_TRANSPORT=" + transport, "HF_TOKEN=", "HF_HOME=" + t.TempDir(), "NO_PROXY=127.0.0.1",
	}})
	ok(t, err)
	return n
}
