package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hypha-node/hypha-node/bridge"
	"github.com/hypha-node/hypha-node/jobs"
)

func TestJobRefs(t *testing.T) {
	for text, want := range map[string]string{
		"hf://a/b":             "artifacts",
		"hf://a/b=model":       "model",
		"hf://a/b=./in/data/":  "in/data",
		"https://x/y?a=b=data": "data",
		`{"type":"uri","value":"https://x/y?a=b"}`: "artifacts",
	} {
		s, err := (&jobFlags{Ref: []string{text}}).spec(nil)
		if _, ok := s.Inputs[want]; err != nil || len(s.Inputs) != 1 || !ok {
			t.Errorf("%s: %v, %v; want %s", text, s.Inputs, err, want)
		}
	}
	for _, text := range []string{"hf://a/b=", "hf://a/b=..", "hf://a/b=../x", "hf://a/b=/", "nothing=x", "hf://a/b=a\x00b"} {
		s, err := (&jobFlags{Ref: []string{text}}).spec(nil)
		if f := classify(err); f == nil || f.code != exitUsage {
			t.Errorf("%q: %v, %v", text, s.Inputs, err)
		}
	}
	s, err := (&jobFlags{Ref: []string{"hf://a/b", "hf://c/d", "hf://e/f"}}).spec(nil)
	if err != nil || string(s.Inputs["artifacts"]) != `["hf://a/b","hf://c/d","hf://e/f"]` {
		t.Errorf("%s, %v", s.Inputs, err)
	}
}

// A spec file may be TOML or JSON, and means the same.
func TestSpecFile(t *testing.T) {
	dir := t.TempDir()
	files := map[string]string{
		"secret": "hush\n",
		"a.toml": `
id = "train-1"
scope = "training"
peers = ["12D3KooWA", "12D3KooWB"]
secret_file = "secret"
work_dir = "w"
outputs = ["out/*.bin"]
keep = "failed"
after = ["prepare"]
limits.bytes = 1000
[command]
args = ["python3", "train.py"]
env = {A = "b"}
timeout = "1h"
grace = 10
config = {batch = 8, rate = 0.5}
[inputs]
data = ["hf://a/b", {type = "uri", value = "https://x/y"}]
`,
		"a.json": `{"id":"train-1","scope":"training","peers":["12D3KooWA","12D3KooWB"],"secret_file":"secret","work_dir":"w",
			"outputs":["out/*.bin"],"keep":"failed","after":["prepare"],"limits":{"bytes":1000},
			"command":{"args":["python3","train.py"],"env":{"A":"b"},"timeout":"1h","grace":10,"config":{"batch":8,"rate":0.5}},
			"inputs":{"data":["hf://a/b",{"type":"uri","value":"https://x/y"}]}}`,
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	specs := map[string]jobs.Spec{}
	for _, name := range []string{"a.toml", "a.json"} {
		s, err := (&jobFlags{File: filepath.Join(dir, name)}).spec(nil)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if s.Secret != "hush" || s.WorkDir != filepath.Join(dir, "w") || time.Duration(s.Command.Grace) != 10*time.Second ||
			time.Duration(s.Command.Timeout) != time.Hour || string(s.Command.Config) != `{"batch":8,"rate":0.5}` {
			t.Errorf("%s: %+v %+v", name, s, s.Command)
		}
		specs[name] = s
	}
	if diff := cmp.Diff(specs["a.toml"], specs["a.json"]); diff != "" {
		t.Error(diff)
	}

	over := &jobFlags{
		File: filepath.Join(dir, "a.toml"), ID: "other", Scope: "s", Channel: "c", Peer: []string{"12D3KooWC"}, Controller: "http://x", Keep: "always",
		Output: []string{"y"}, After: []string{"z"}, Limit: []string{"bytes=1KiB", "files=3", "rate=-1", "inbox_items=7"}, WorkDir: "/elsewhere",
	}
	s, err := over.spec(nil)
	if err != nil || s.ID != "other" || s.Scope != "s" || s.Channel != "c" || s.Peers[0] != "12D3KooWC" || len(s.Peers) != 1 || s.Controller != "http://x" ||
		s.Keep != jobs.KeepAlways || s.Outputs[0] != "y" || s.After[0] != "z" || s.WorkDir != "/elsewhere" ||
		s.Limits != (bridge.Limits{Bytes: 1024, Files: 3, Rate: -1, InboxItems: 7}) {
		t.Errorf("%+v, %v", s, err)
	}
	if s, err := (&jobFlags{File: "-"}).spec(strings.NewReader(`id = "x"`)); err != nil || s.ID != "x" {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestSpecFileRefuses(t *testing.T) {
	for text, want := range map[string]string{
		`colour = "red"`:                    `unknown field "colour"`,
		`id = "../x"`:                       "invalid job id",
		`id = `:                             "line 1",
		`{"id":`:                            "ends too early",
		`id = 5`:                            `field "id"`,
		`secret_file = "none"`:              "no such file",
		"[command]\nargs = []":              "neither args nor an executor",
		strings.Repeat(" ", 200<<10):        "longer than",
		"[inputs]\n\"../x\" = \"hf://a/b\"": "unsafe name",
	} {
		s, err := (&jobFlags{File: "-"}).spec(strings.NewReader(text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %+v, %v; want %s", text, s, err, want)
		}
	}
	for _, limit := range []string{"bytes", "bytes=x", "files=1KiB", "colour=1", "=1"} {
		if _, err := (&jobFlags{Limit: []string{limit}}).spec(nil); classify(err) == nil || classify(err).code != exitUsage {
			t.Errorf("%s: %v", limit, err)
		}
	}
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := (&jobFlags{SecretFile: empty}).spec(nil); err == nil {
		t.Error("an empty secret")
	}
}

func TestJobFlags(t *testing.T) {
	for line, want := range map[string]keepFlag{
		"job run -- true": "", "job run --keep -- true": "always", "job run --keep=failed -- true": "failed", "job submit --keep=never -- true": "never",
	} {
		var c cli
		k, err := newParser(&c)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := k.Parse(strings.Fields(line)); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if got := c.Job.Run.Keep + c.Job.Submit.Keep; got != want {
			t.Errorf("%s: %q, want %q", line, got, want)
		}
		if args := append(c.Job.Run.Command, c.Job.Submit.Command...); !cmp.Equal(args, []string{"--", "true"}) && !cmp.Equal(args, []string{"true"}) {
			t.Errorf("%s: command %q", line, args)
		}
	}
	var c cli
	k, err := newParser(&c)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.Parse([]string{"job", "run", "--keep=often", "--", "true"}); err == nil {
		t.Error("--keep=often")
	}
}

func TestProgram(t *testing.T) {
	file := filepath.Join(t.TempDir(), "conf.json")
	if err := os.WriteFile(file, []byte(`{"a":1}`), 0o600); err != nil {
		t.Fatal(err)
	}
	base := jobs.Spec{Command: &jobs.Program{Args: []string{"x"}, Env: map[string]string{"A": "1"}}}
	p, err := (&commandFlags{Command: []string{"--", "y", "z"}, Env: []string{"B=2=3"}, Config: file, Grace: time.Second, RunTimeout: time.Minute}).program(base)
	want := jobs.Program{
		Args: []string{"y", "z"}, Env: map[string]string{"A": "1", "B": "2=3"}, Config: []byte(`{"a":1}`),
		Grace: jobs.Duration(time.Second), Timeout: jobs.Duration(time.Minute),
	}
	if diff := cmp.Diff(want, p); err != nil || diff != "" {
		t.Error(err, diff)
	}
	if p, err := (&commandFlags{Config: ` {"b":2}`}).program(base); err != nil || string(p.Config) != ` {"b":2}` || p.Args[0] != "x" {
		t.Errorf("%+v, %v", p, err)
	}
	if p, err := (&commandFlags{Executor: "train"}).program(jobs.Spec{}); err != nil || p.Executor != "train" {
		t.Errorf("%+v, %v", p, err)
	}
	for name, f := range map[string]commandFlags{
		"no command": {}, "no value": {Command: []string{"x"}, Env: []string{"A"}}, "no JSON": {Command: []string{"x"}, Config: "{"},
		"no file": {Command: []string{"x"}, Config: file + "x"},
	} {
		if p, err := f.program(jobs.Spec{}); err == nil {
			t.Errorf("%s: %+v", name, p)
		}
	}
}

// What the node's own environment holds of credentials, jobs don't get.
func TestJobEnviron(t *testing.T) {
	got := jobEnviron([]string{
		"PATH=/bin", "HF_TOKEN=x", "HYPHA_REPO=/r", "hypha_x=1", "AWS_SECRET_ACCESS_KEY=x", "AWS_ACCESS_KEY_ID=x", "DB_PASSWORD=x", "OPENAI_API_KEY=x",
		"GOOGLE_APPLICATION_CREDENTIALS=/f", "CUDA_VISIBLE_DEVICES=0", "LANG=C", "TOKENIZERS_PARALLELISM=false",
	})
	if want := []string{"PATH=/bin", "CUDA_VISIBLE_DEVICES=0", "LANG=C", "TOKENIZERS_PARALLELISM=false"}; !cmp.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// The spec of docs/cli.md is one.
func TestDocumentedSpec(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "cli.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(page), "\n```toml\n")
	text, _, found := strings.Cut(rest, "\n```\n")
	if !found {
		t.Fatal("no spec in docs/cli.md")
	}
	text = strings.NewReplacer("bafy…", "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e", "12D3KooW…", "12D3KooWELvVG8gj5bSJMwS8sXgrpCwmSFH5pDY8dbhMrRr2ae7g").Replace(text)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "secret"), []byte("hush"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := parseSpec([]byte(text), dir)
	if err != nil {
		t.Fatal(err)
	}
	if s.ID != "train-1" || s.Secret != "hush" || len(s.Inputs) != 2 || s.Command.Executor != "train" || time.Duration(s.Command.Timeout) != 12*time.Hour {
		t.Errorf("%+v %+v", s, s.Command)
	}
}
