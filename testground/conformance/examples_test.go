package conformance

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/hypha-node/hypha-node/testground/rig"
)

// example returns the absolute name of an example.
func example(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("..", "..", "examples", name))
	ok(t, err)
	return path
}

// runJob runs a command as a job of a node, and returns what it printed.
func runJob(t *testing.T, n *rig.Node, id, config string, command ...string) (stdout string, err error) {
	t.Helper()
	args := []string{"job", "run", "--id", id}
	if config != "" {
		args = append(args, "--config", config)
	}
	p := n.Program(append(append(args, "--"), command...)...)
	p.Env = append(p.Env, "PYTHONPATH="+clientDir(t), "PYTHONDONTWRITEBYTECODE=1")
	r, err := p.Run(rig.Within(t))
	return r.Stdout, err
}

// TestExampleTraining runs a parameter server and two trainers on three nodes,
// and holds the weights to what the rounds must give.
func TestExampleTraining(t *testing.T) {
	py, id := python(t), newID()
	model := filepath.Join(t.TempDir(), "model.safetensors")
	_, err := rig.Program{Path: py, Args: []string{"-B", example(t, "tensors.py"), "new", model, "5000"}}.Run(rig.Within(t))
	ok(t, err)
	ref := "ipfs://" + run(t, shared.nodes[0], "add", "-q", model)
	errs := make(chan error, 3)
	var finals [2]string
	go func() {
		config := fmt.Sprintf(`{"model":%q,"rounds":4,"trainers":[%q,%q]}`, ref, shared.ids[1], shared.ids[2])
		_, err := runJob(t, shared.nodes[0], id, config, py, example(t, "server.py"))
		errs <- err
	}()
	for i := range 2 {
		go func() {
			config := fmt.Sprintf(`{"model":%q,"rounds":4,"server":%q,"shard":%d}`, ref, shared.ids[0], i)
			out, err := runJob(t, shared.nodes[1+i], id, config, py, example(t, "trainer.py"))
			if err == nil && strings.Count(out, "\nround ") != 4 {
				err = fmt.Errorf("trainer %d printed %s", i, out)
			}
			_, finals[i], _ = strings.Cut(out, "\nfinal ")
			errs <- err
		}()
	}
	for range 3 {
		ok(t, <-errs)
	}
	// Each round halves the distance to the mean of what the shards want, 1.5.
	var want []string
	for w := range 4 {
		want = append(want, fmt.Sprintf("%.6f", 1.5+(float64(w)-1.5)/16))
	}
	cid, numbers, _ := strings.Cut(strings.TrimSpace(finals[0]), " ")
	if numbers != strings.Join(want, " ") || finals[0] != finals[1] || !strings.HasPrefix(cid, "baf") {
		t.Errorf("the trainers ended with %q, want %q", finals, want)
	}
}

// TestExampleShell runs the shell executor on two nodes.
func TestExampleShell(t *testing.T) {
	id := newID()
	content := random(t, 900, 100000)
	url, _ := shared.origin.put(t, "data.bin", content)
	done := make(chan error, 1)
	go func() {
		_, err := runJob(t, shared.nodes[0], id, "", "/bin/sh", example(t, "executor.sh"), "work", url, shared.ids[1])
		done <- err
	}()
	out, err := runJob(t, shared.nodes[1], id, "", "/bin/sh", example(t, "executor.sh"), "collect")
	ok(t, err)
	ok(t, <-done)
	sum := strings.TrimPrefix(digest(content), "sha256:")
	if !strings.Contains(out, "received "+sum+"\n") || !regexp.MustCompile(`"cid":"baf[a-z2-7]+"`).MatchString(out) {
		t.Errorf("the second node printed %q, want %s", out, sum)
	}
}

// TestExampleRound runs the commands of the README as they stand.
func TestExampleRound(t *testing.T) {
	python(t)
	bin := t.TempDir()
	ok(t, os.Symlink(shared.binary, filepath.Join(bin, "hypha-node")))
	script, err := os.ReadFile(example(t, "round.sh"))
	ok(t, err)
	// It looks for bin/hypha-node first; a copy of an older build may lie there.
	text := strings.Replace(string(script), `PATH="$PWD/bin:$PATH"`, `PATH="`+bin+`:$PATH"`, 1)
	text = strings.Replace(text, `cd "$(dirname "$0")/.."`, `cd "`+filepath.Dir(filepath.Dir(example(t, "round.sh")))+`"`, 1)
	if strings.Count(text, bin) != 1 {
		t.Fatalf("round.sh has changed:\n%s", script)
	}
	r, err := rig.Program{Path: "/bin/sh", Args: []string{"-c", text}, Env: append(shared.env(), "PYTHONDONTWRITEBYTECODE=1")}.Run(rig.Within(t))
	ok(t, err)
	// Two processes write to it: lines may run into each other.
	if n := strings.Count(r.Stdout, "round "); n != 6 || strings.Count(r.Stdout, "final baf") != 1 {
		t.Errorf("printed %s\n%s", r.Stdout, r.Stderr)
	}
}
