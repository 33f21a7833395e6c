package node

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/hypha-node/hypha-node/jobs/isolate"
)

// TestConfinedCaller: the node's own socket is not for the commands of jobs,
// whatever they do to their session and environment; for others it is.
func TestConfinedCaller(t *testing.T) {
	c := config(t, filepath.Join(shortDir(t), "repo"))
	c.Offline = true
	_, _, stop := run(t, c)
	defer stop()
	python, err := exec.LookPath("python3")
	must(t, err) // CI installs it
	const script = `
import http.client, json, os, socket, sys
if os.fork() > 0: os.wait(); sys.exit()
os.setsid()
c = http.client.HTTPConnection("node")
c.sock = socket.socket(socket.AF_UNIX)
c.sock.connect(sys.argv[1])
c.request("GET", "/v1/id")
r = c.getresponse()
print(json.dumps({"status": r.status, "error": json.loads(r.read()).get("error", "")}))`
	plan, _, err := isolate.Choose(t.Context(), isolate.Auto, "")
	must(t, err)
	for _, tc := range []struct {
		name  string
		plan  isolate.Plan
		error string
	}{{"free", isolate.Plan{}, ""}, {"confined", plan, "forbidden_caller"}} {
		cmd := exec.CommandContext(t.Context(), python, "-c", script, SocketPath(c.Repo, c.RuntimeDir))
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr, cmd.Dir = &out, &out, "/"
		spec := isolate.Spec{Plan: tc.plan, WorkDir: t.TempDir(), ReadOnly: isolate.Around(python, nil, nil)}
		if tc.plan.View { // there the socket is not to be seen at all
			spec.ReadWrite = []string{filepath.Dir(SocketPath(c.Repo, c.RuntimeDir))}
		}
		must(t, isolate.Start(t.Context(), cmd, spec))
		must(t, cmd.Wait())
		var got struct {
			Status int
			Error  string
		}
		if err := json.Unmarshal(out.Bytes(), &got); err != nil || got.Error != tc.error || (got.Status == 403) != (tc.error != "") {
			t.Errorf("%s: %s, %v", tc.name, &out, err)
		}
	}
}
