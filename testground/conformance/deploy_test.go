package conformance

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hypha-node/hypha-node/testground/rig"
)

// page returns a file of docs/deploy.
func page(t *testing.T, name string) (path, text string) {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("..", "..", "docs", "deploy", name))
	ok(t, err)
	content, err := os.ReadFile(path)
	ok(t, err)
	return path, string(content)
}

// smallModel serves a model of the examples and returns its URL.
func smallModel(t *testing.T) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "m")
	_, err := rig.Program{Path: python(t), Args: []string{"-B", example(t, "tensors.py"), "new", name, "1000"}}.Run(rig.Within(t))
	ok(t, err)
	content, err := os.ReadFile(name)
	ok(t, err)
	url, _ := shared.origin.put(t, "m.safetensors", content)
	return url
}

// withBinary returns a PATH that begins with a directory of the command under
// test and these scripts.
func withBinary(t *testing.T, scripts map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	ok(t, os.Symlink(shared.binary, filepath.Join(dir, "hypha-node")))
	for name, text := range scripts {
		ok(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o700))
	}
	return "PATH=" + dir + ":" + os.Getenv("PATH")
}

// trained tells whether every trainer of the output came to its end.
func trained(t *testing.T, out string, trainers int) {
	t.Helper()
	if n := strings.Count(out, "\nfinal baf"); n != trainers {
		t.Errorf("%d of %d trainers ended well:\n%s", n, trainers, out)
	}
}

// TestDeploySlurm runs the batch script with an srun that starts the tasks here,
// and prints what each wrote in one piece, when all have ended.
func TestDeploySlurm(t *testing.T) {
	url := smallModel(t)
	script, _ := page(t, "slurm.sbatch")
	const srun = `#!/bin/bash
while [[ $1 == --* ]]; do shift; done
tasks=() code=0
for ((p = 0; p < SLURM_NTASKS; p++)); do SLURM_PROCID=$p "$@" >"$SRUN_OUT/$p" & tasks+=($!); done
for task in "${tasks[@]}"; do wait "$task" || code=$?; done
cat "$SRUN_OUT"/*
exit $code
`
	work := shortDir(t)
	// The nodes share the directory that sbatch is called in.
	root := filepath.Dir(filepath.Dir(filepath.Dir(script)))
	for _, name := range []string{"clients", "examples"} {
		ok(t, os.Symlink(filepath.Join(root, name), filepath.Join(work, name)))
	}
	r, err := rig.Program{
		Path: "/bin/bash", Args: []string{script}, Dir: work,
		Env: append(shared.env(), withBinary(t, map[string]string{"srun": srun}), "MODEL="+url, "ROUNDS=2", "SLURM_JOB_ID=7", "SLURM_NTASKS=3", "SRUN_OUT="+t.TempDir(),
			"HYPHA_LOCAL="+work, "HYPHA_LISTEN=/ip4/127.0.0.1/tcp/0", "HYPHA_HTTP_ALLOW=127.0.0.0/8", "PYTHONDONTWRITEBYTECODE=1"),
	}.Run(rig.Within(t))
	ok(t, err)
	trained(t, r.Stdout, 2)
	if left, err := filepath.Glob(filepath.Join(work, "hypha-*")); err != nil || len(left) > 0 {
		t.Errorf("the script leaves %q, %v", left, err)
	}
}

// TestDeployKubernetes runs what the pods of the manifest run, on three nodes.
func TestDeployKubernetes(t *testing.T) {
	url := smallModel(t)
	_, manifest := page(t, "kubernetes.yaml")
	_, block, found := strings.Cut(manifest, "  run.sh: |\n")
	block, _, ends := strings.Cut(block, "\n---\n")
	if !found || !ends {
		t.Fatal("the manifest has no run.sh")
	}
	meet, secret := t.TempDir(), filepath.Join(t.TempDir(), "secret")
	ok(t, os.WriteFile(secret, []byte("a secret"), 0o600))
	script := strings.NewReplacer("\n    ", "\n", "/meet", meet, "/secret/secret", secret,
		"/app/examples", filepath.Dir(example(t, "server.py")), "sleep 1;", "sleep 0.1;").Replace("\n" + block)
	outputs, errs := make([]string, 3), make(chan error, 3)
	path := withBinary(t, nil)
	for i, n := range shared.nodes {
		go func() {
			r, err := rig.Program{
				Path: "/bin/sh", Args: []string{"-c", script},
				Env: append(shared.env(), path, "HYPHA_REPO="+n.Repo, "PYTHONPATH="+clientDir(t), "PYTHONDONTWRITEBYTECODE=1", "COMPLETIONS=3",
					fmt.Sprint("JOB_COMPLETION_INDEX=", i), "SCOPE="+filepath.Base(meet)+filepath.Base(filepath.Dir(meet)), "MODEL="+url, "ROUNDS=2"),
			}.Run(rig.Within(t))
			outputs[i] = r.Stdout
			errs <- err
		}()
	}
	for range outputs {
		ok(t, <-errs)
	}
	trained(t, strings.Join(outputs, "\n"), 2)
}

// TestDeployRay runs the class by which an actor attaches, without Ray.
func TestDeployRay(t *testing.T) {
	_, notes := page(t, "ray.md")
	_, block, _ := strings.Cut(notes, "```python\n")
	block, _, _ = strings.Cut(block, "\n@ray.remote")
	block = strings.Replace(block, ", ray\n", "\n", 1)
	url, _ := shared.origin.put(t, "f.bin", []byte("content"))
	program := block + fmt.Sprintf(`
def node(command="id"):
    return json.loads(subprocess.check_output(["hypha-node", command, "--json"]))

with Bridge("ray-scope", channel="c") as bridge:
    [file] = bridge.fetch(%q)
    assert open(bridge.path(file)).read() == "content"
    assert os.path.isdir(bridge.work_dir)
print(os.path.exists(bridge.attached["socket"]), os.path.exists(bridge.attached["work_dir"]), node()["peer_id"])
`, url)
	r, err := rig.Program{
		Path: python(t), Args: []string{"-B", "-c", program},
		Env: append(shared.env(), withBinary(t, nil), "HYPHA_REPO="+shared.nodes[0].Repo, "PYTHONPATH="+clientDir(t)),
	}.Run(rig.Within(t))
	ok(t, err)
	if want := "False False " + shared.ids[0]; strings.TrimSpace(r.Stdout) != want {
		t.Errorf("printed %q, want %q", r.Stdout, want)
	}
}
