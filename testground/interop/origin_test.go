package interop

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/hypha-node/hypha-node/testground/rig"
)

// nginx serves a directory that holds big.bin, or skips the test.
func nginx(t *testing.T) (n *rig.Nginx, sum string) {
	t.Helper()
	name, err := rig.FindNginx()
	if err != nil {
		t.Skipf("no nginx: %v", err)
	}
	root := t.TempDir()
	sum, err = rig.WriteRandom(filepath.Join(root, "big.bin"), 7, big(t))
	ok(t, err)
	n, err = rig.StartNginx(rig.Within(t), name, root, t.TempDir())
	ok(t, err)
	t.Cleanup(func() {
		if err := n.Stop(); err != nil {
			t.Errorf("stop nginx: %v", err)
		}
	})
	return n, sum
}

// served ends the test unless nginx has sent big.bin once in all, in as many
// answers as it took (a node opens more connections where one is slow), and has said
// so many times that it has not changed. Its log comes after the answers, so it is
// read again until it has as much.
func served(t *testing.T, n *rig.Nginx, unchanged int) {
	t.Helper()
	size := big(t)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); ; <-tick.C {
		all, err := n.Requests("/big.bin")
		ok(t, err)
		sent, same := int64(0), 0
		for _, r := range all {
			if sent += r.Bytes; r.Status == http.StatusNotModified {
				same++
			}
		}
		if sent >= size && sent < 2*size && same == unchanged {
			return
		}
		if sent >= 2*size || same > unchanged || time.Now().After(deadline) {
			t.Fatalf("nginx has answered %+v; want %d bytes once, and %d times that nothing has changed", all, size, unchanged)
		}
	}
}

// TestBigNginxCommand fetches from nginx by the command alone, without a daemon.
func TestBigNginxCommand(t *testing.T) {
	n, sum := nginx(t)
	repo, dir := filepath.Join(t.TempDir(), "repo"), t.TempDir()
	hypha(t, repo, "fetch", n.URL+"/big.bin", "-o", dir)
	same(t, filepath.Join(dir, "big.bin"), sum)
	served(t, n, 0)

	again := t.TempDir()
	hypha(t, repo, "fetch", n.URL+"/big.bin", "-o", again)
	same(t, filepath.Join(again, "big.bin"), sum)
	served(t, n, 1) // the second time cost a condition, no bytes
}

// TestBigNginxBridge fetches from nginx over the sockets of three jobs: the second
// and the third cost the origin nothing.
func TestBigNginxBridge(t *testing.T) {
	n, sum := nginx(t)
	node := start(t)
	for i, from := range []string{"origin", "store", "store"} {
		job, err := node.CreateJob(rig.Within(t))
		ok(t, err)
		got, err := job.Fetch(rig.Within(t), rig.URI(n.URL+"/big.bin"))
		ok(t, err)
		if len(got) != 1 || got[0].Size != big(t) || got[0].Checksum != "sha256:"+sum || got[0].Metadata.From != from {
			t.Fatalf("job %d: %+v; want %d bytes, sha256:%s, from %s", i, got, big(t), sum, from)
		}
		name := filepath.Join(job.WorkDir, got[0].Path)
		same(t, name, sum)
		info, err := os.Stat(name)
		ok(t, err)
		if info.Mode().Perm() != 0o600 {
			t.Errorf("job %d: mode %v", i, info.Mode())
		}
	}
	served(t, n, 2)
}

// TestBigCurl speaks to the bridge with curl alone, as an executor in a shell would.
func TestBigCurl(t *testing.T) {
	curl, err := exec.LookPath("curl")
	if err != nil {
		t.Skipf("no curl: %v", err)
	}
	n, sum := nginx(t)
	node := start(t)
	job, err := node.CreateJob(rig.Within(t))
	ok(t, err)
	post := func(body string) (status string, answer []byte) {
		t.Helper()
		out := filepath.Join(t.TempDir(), "answer")
		r, err := rig.Program{Path: curl, Args: []string{
			"-s", "--unix-socket", job.Socket, "http://hypha/resources/fetch", "-o", out, "-w", "%{http_code}",
			"-H", "Content-Type: application/json", "-d", body,
		}}.Run(rig.Within(t))
		ok(t, err)
		answer, err = os.ReadFile(out)
		ok(t, err)
		return r.Stdout, answer
	}

	status, answer := post(`{"fetch":{"type":"uri","value":"` + n.URL + `/big.bin"},"out_dir":"models"}`)
	var got []rig.Fetched
	if err := json.Unmarshal(answer, &got); status != "200" || err != nil || len(got) != 1 || got[0].Path != "models/big.bin" {
		t.Fatalf("%s %s %v", status, answer, err)
	}
	same(t, filepath.Join(job.WorkDir, "models", "big.bin"), sum)

	for _, tc := range []struct{ name, body, status string }{
		{"missing", `{"type":"uri","value":"` + n.URL + `/missing"}`, "404"},
		{"outside", `{"fetch":{"type":"uri","value":"` + n.URL + `/big.bin"},"out_dir":"../out"}`, "400"},
		{"unknown", `{"type":"teleport"}`, "400"},
		{"no JSON", `{`, "400"},
		{"private address", `{"type":"uri","value":"http://169.254.169.254/latest"}`, "403"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			status, answer := post(tc.body)
			var refused rig.Refused
			if err := json.Unmarshal(answer, &refused); status != tc.status || err != nil || refused.Code == "" || refused.Detail == "" {
				t.Errorf("%s %s (%v), want %s with error and detail", status, answer, err, tc.status)
			}
		})
	}
}
