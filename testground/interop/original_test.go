package interop

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hypha-node/hypha-node/testground/rig"
)

// TestOriginalClient has two executors train against each other with the Python
// client of the original's own executors, as it was published. It is in no package
// registry and is not kept here; HYPHA_ORIGINAL_CLIENT names the file, and python3
// must have httpx (0.28):
//
//	git clone https://github.com/hypha-space/hypha && git -C hypha checkout 76fe471
//	python3 -m venv v && v/bin/pip install httpx==0.28.1
//	PATH=$PWD/v/bin:$PATH go test ./testground/interop -run TestOriginalClient
//	# with HYPHA_ORIGINAL_CLIENT=$PWD/hypha/executors/accelerate/src/hypha/accelerate_executor/api.py
func TestOriginalClient(t *testing.T) {
	client := os.Getenv("HYPHA_ORIGINAL_CLIENT")
	if client == "" {
		t.Skip("HYPHA_ORIGINAL_CLIENT does not name the original's api.py, which is in no registry")
	}
	origin := httptest.NewServer(http.FileServer(http.Dir(dirOf(t, "model.safetensors", "slice.bin"))))
	t.Cleanup(origin.Close)
	a, b := start(t), start(t)
	address, err := b.Address(rig.Within(t))
	ok(t, err)
	run(t, a, "connect", address)
	outs, errs := make([]string, 2), make(chan error, 2)
	nodes := []*rig.Node{a, b}
	id := "original-client"
	for i, n := range nodes {
		var job rig.Job
		ok(t, json.Unmarshal([]byte(run(t, n, "job", "create", "--json", "--id", id)), &job))
		peer, err := nodes[1-i].Address(rig.Within(t))
		ok(t, err)
		peer = peer[strings.LastIndexByte(peer, '/')+1:]
		peers := map[string]any{"type": "peers", "peers": []string{peer}, "strategy": map[string]string{"type": "All"}, "resource": nil}
		spec, err := json.Marshal(map[string]any{"job_id": id, "executor": map[string]any{"class": "train", "config": map[string]any{
			"model": map[string]any{"task": "causal-lm", "artifact": rig.URI(origin.URL + "/model.safetensors")},
			"data":  rig.URI(origin.URL + "/slice.bin"), "updates": peers, "results": peers,
		}}})
		ok(t, err)
		args := []string{"-B", filepath.Join("testdata", "original_client.py"), client, job.Socket, job.WorkDir, string(spec)}
		go func() {
			r, err := rig.Program{Path: "python3", Args: args}.Run(rig.Within(t))
			outs[i] = r.Stdout
			errs <- err
		}()
	}
	for range outs {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	for i, out := range outs {
		for _, line := range []string{"fetched model.safetensors", fmt.Sprint("data ", 1<<20), "round 3", "done"} {
			if !strings.Contains(out, line) {
				t.Errorf("executor %d printed %s, without %q", i, out, line)
			}
		}
	}
}

// dirOf is a directory with files of 1 MiB of these names.
func dirOf(t *testing.T, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	for i, name := range names {
		_, err := rig.WriteRandom(filepath.Join(dir, name), uint64(i), 1<<20)
		ok(t, err)
	}
	return dir
}
