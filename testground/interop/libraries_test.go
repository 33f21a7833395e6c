package interop

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hypha-node/hypha-node/internal/hubtest"
	"github.com/hypha-node/hypha-node/testground/rig"
)

// loaded is what transformers and datasets say they got.
type loaded struct {
	ModelType string   `json:"model_type"`
	Layers    int      `json:"layers"`
	IDs       []int    `json:"ids"`
	Lines     []int    `json:"lines"`
	Table     []string `json:"table"`
	Streamed  []int    `json:"streamed"`
}

// tinyHub starts a hub with what the libraries load, and returns what they must get.
func tinyHub(t *testing.T, table []byte) (*hubtest.Hub, loaded) {
	t.Helper()
	w := loaded{ModelType: "bert", Layers: 3, IDs: []int{1, 0, 2}, Table: []string{"a", "b", "c"}}
	var lines strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&lines, "{\"n\":%d}\n", i)
		w.Lines = append(w.Lines, i)
	}
	w.Streamed = w.Lines
	hub, err := hubtest.New(hubtest.Config{Repos: []hubtest.Repo{
		{ID: "org/tiny", Files: map[string]hubtest.Content{
			"config.json": hubtest.Bytes([]byte(`{"model_type":"bert","num_hidden_layers":3,"vocab_size":3}`)),
			"tokenizer.json": hubtest.Bytes([]byte(`{"version":"1.0","truncation":null,"padding":null,"added_tokens":[],"normalizer":null,
				"pre_tokenizer":{"type":"Whitespace"},"post_processor":null,"decoder":null,
				"model":{"type":"WordLevel","vocab":{"[UNK]":0,"hello":1,"world":2},"unk_token":"[UNK]"}}`)),
			"tokenizer_config.json": hubtest.Bytes([]byte(`{"tokenizer_class":"PreTrainedTokenizerFast","unk_token":"[UNK]"}`)),
		}},
		{Type: "dataset", ID: "org/rows", Files: map[string]hubtest.Content{"train.jsonl": hubtest.Bytes([]byte(lines.String()))}},
		{Type: "dataset", ID: "org/table", Files: map[string]hubtest.Content{"data/train.parquet": hubtest.Bytes(table)}},
	}})
	ok(t, err)
	ok(t, hub.Start())
	t.Cleanup(func() { ok(t, hub.Close()) })
	return hub, w
}

// TestFacadeLibraries lets transformers and datasets use a node in the place of the
// Hub, unmodified and without their caches: twice, the second time no content is
// asked for.
func TestFacadeLibraries(t *testing.T) {
	python, err := rig.Find("HYPHA_PYTHON_ML", "", "transformers-5.23.0/bin/python")
	if err != nil {
		t.Skipf("no transformers: %v", err)
	}
	name := filepath.Join(t.TempDir(), "table.parquet")
	_, err = rig.Program{Path: python, Args: []string{
		"-c", "import sys, pyarrow as a, pyarrow.parquet as p; p.write_table(a.table({'word': ['a', 'b', 'c']}), sys.argv[1])", name,
	}}.Run(rig.Within(t))
	ok(t, err)
	table, err := os.ReadFile(name)
	ok(t, err)
	hub, w := tinyHub(t, table)
	facade := startFacade(t, hub.URL)
	for round := range 2 {
		// Nothing but loopback is reached: another address goes to a proxy that is not there.
		env := append(pythonEnv(t, facade), "HTTP_PROXY=http://127.0.0.1:1", "HTTPS_PROXY=http://127.0.0.1:1")
		r, err := rig.Program{Path: python, Args: []string{filepath.Join("testdata", "libraries.py")}, Env: env}.Run(rig.Within(t))
		ok(t, err)
		var g loaded
		ok(t, json.Unmarshal([]byte(r.Stdout), &g))
		if diff := cmp.Diff(w, g); diff != "" {
			t.Errorf("round %d: they got something else (-want +got):\n%s", round, diff)
		}
		for _, q := range hub.Requests() {
			if round > 0 && (q.CDN || strings.Contains(q.Path, "/resolve-cache/")) {
				t.Errorf("content was fetched again: %s %s", q.Method, q.Path)
			}
		}
		hub.ResetRequests()
	}
}
