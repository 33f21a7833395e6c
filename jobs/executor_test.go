package jobs

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/hypha-node/hypha-node/bridge/bridgetest"
	"github.com/hypha-node/hypha-node/internal/hubtest"
)

// An executor in Python, with the standard library alone, gets its model.
func TestPythonExecutor(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("python3 is not installed")
	}
	script, err := filepath.Abs(filepath.Join("testdata", "executor.py"))
	if err != nil {
		t.Fatal(err)
	}
	s := newSite(t, bridgetest.Options{Hub: hubtest.Config{Repos: []hubtest.Repo{{ID: "org/model", Files: map[string]hubtest.Content{
		"model.safetensors": hubtest.Random(1, 3<<20+1), "config.json": hubtest.Bytes([]byte("{}")),
	}}}}})
	sup := s.open(t)
	job, err := sup.Create(t.Context(), Spec{})
	if err != nil {
		t.Fatal(err)
	}
	conf := json.RawMessage(`{"model":{"task":"causal-lm","artifact":{"type":"huggingface","repository":"org/model","revision":null,` +
		`"filenames":["config.json","model.safetensors"],"token":null},"input-names":["input_ids"]},"batch_size":8}`)
	var out bytes.Buffer
	code, err := run(t.Context(), job, Command{
		Args: []string{python, script, "{JOB_JSON}"}, Config: conf, Stdout: &out, Stderr: &out,
	})
	if err != nil || code != 0 || strings.TrimSpace(out.String()) != `["config.json", "model.safetensors"]` {
		t.Errorf("exit code %d, %v\n%s", code, err, &out)
	}
}

// The examples of docs/api.md are run as they stand there, unless they need more
// than one node, a module that is not installed, a file that is not there, or for
// ever.
func TestDocumentedExamples(t *testing.T) {
	needsMore := regexp.MustCompile(`/resources/(send|receive|put)|hypha_bridge`)
	page, err := os.ReadFile(filepath.Join("..", "docs", "api.md"))
	if err != nil {
		t.Fatal(err)
	}
	s := newSite(t, bridgetest.Options{Hub: hubtest.Config{Repos: []hubtest.Repo{{ID: "openai-community/gpt2", Files: map[string]hubtest.Content{
		"model.safetensors": hubtest.Random(1, 2<<20), "config.json": hubtest.Bytes([]byte("{}")),
	}}}}})
	sup := s.open(t)
	for _, tt := range []struct{ language, tool, want string }{
		{"sh", "curl", `"path":"artifacts/model.safetensors"`},
	} {
		t.Run(tt.tool, func(t *testing.T) {
			tool, err := exec.LookPath(tt.tool)
			if err != nil {
				t.Skip(tt.tool + " is not installed")
			}
			job, err := sup.Create(t.Context(), Spec{})
			if err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			prelude := ""
			for _, block := range codeBlocks(string(page), tt.language) {
				if needsMore.MatchString(block) {
					continue
				}
				args := []string{tool, "-c", block}
				if tt.language == "sh" { // the job is there already, and the first block's function in all that follow
					block = strings.ReplaceAll(block, "eval ", "# ")
					args = []string{"/bin/sh", "-ec", prelude + block}
					for line := range strings.Lines(block) {
						if strings.HasPrefix(line, "bridge() {") {
							prelude += line
						}
					}
				}
				code, err := run(t.Context(), job, Command{Args: args, Env: []string{"PATH=/usr/bin:/bin"}, Stdout: &out, Stderr: &out})
				if code != 0 || err != nil {
					t.Fatalf("exit code %d, %v\n%s\n%s", code, err, block, &out)
				}
			}
			if !strings.Contains(out.String(), tt.want) {
				t.Errorf("output %s; want %s in it", &out, tt.want)
			}
		})
	}
}

// codeBlocks returns the fenced blocks of a language.
func codeBlocks(page, language string) (blocks []string) {
	for _, part := range strings.Split(page, "\n```"+language+"\n")[1:] {
		block, _, _ := strings.Cut(part, "\n```")
		blocks = append(blocks, block)
	}
	return blocks
}
