package conformance

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hypha-node/hypha-node/testground/rig"
)

// TestOriginalExecutors runs executors that speak as the original's do, byte for
// byte, and know nothing of this node: one that subscribes to a stream and reads
// it after it has sent, one that asks for one file at a time and reports its
// state. Each trains against the other.
func TestOriginalExecutors(t *testing.T) {
	py, jobs := python(t), team(t, 0, 1)
	outs, errs := make([]string, 2), make(chan error, 2)
	for i, kind := range []string{"stream", "single"} {
		peers := fmt.Sprintf(`{"type":"peers","peers":[%q],"strategy":{"type":"All"},"resource":null}`, shared.ids[1-i])
		job := fmt.Sprintf(`{"job_id":%q,"executor":{"class":"train","descriptor":{"name":"diloco-transformer"},"config":{`+
			`"model":{"task":"causal-lm","artifact":{"type":"huggingface","repository":"org/model","revision":null,`+
			`"filenames":["config.json","model.safetensors"],"token":null},"input-names":["input_ids"]},"updates":%s,"results":%s}}}`, jobs[i].ID, peers, peers)
		args := []string{"-B", filepath.Join("testdata", "original.py"), kind, jobs[i].Socket, jobs[i].WorkDir, job}
		go func() {
			r, err := rig.Program{Path: py, Args: args}.Run(rig.Within(t))
			outs[i] = r.Stdout
			errs <- err
		}()
	}
	for range outs {
		ok(t, <-errs)
	}
	for i, out := range outs {
		if n := strings.Count(out, "round "); n != 3 || !strings.HasSuffix(strings.TrimSpace(out), "done") {
			t.Errorf("executor %d printed %s", i, out)
		}
	}
}
