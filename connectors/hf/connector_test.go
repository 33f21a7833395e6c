package hf_test

import (
	"bytes"
	"io"
	"testing"
	"time"

	"github.com/hypha-node/hypha-node/connectors"
	"github.com/hypha-node/hypha-node/connectors/conntest"
	"github.com/hypha-node/hypha-node/connectors/hf"
	httpconn "github.com/hypha-node/hypha-node/connectors/http"
	"github.com/hypha-node/hypha-node/internal/hubtest"
)

// operator is the access of the CLI's own commands: loopback may be reached.
var operator = connectors.Access{Operator: true} //nolint:gochecknoglobals // a constant

// start runs a hub until the end of the test.
func start(t *testing.T, cfg hubtest.Config) *hubtest.Hub {
	t.Helper()
	hub, err := hubtest.New(cfg)
	if err == nil {
		err = hub.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := hub.Close(); err != nil {
			t.Error(err)
		}
	})
	return hub
}

// connect returns a connector to a hub that retries fast.
func connect(t *testing.T, hub *hubtest.Hub, cfg hf.Config) *hf.Connector {
	t.Helper()
	client := httpconn.NewClient(httpconn.Config{Delay: time.Millisecond})
	t.Cleanup(client.Close)
	cfg.Client = client
	if cfg.Endpoint == "" {
		cfg.Endpoint = hub.URL + "/"
	}
	return hf.New(cfg)
}

// parse returns the reference of a URI.
func parse(t *testing.T, uri string) connectors.Ref {
	t.Helper()
	ref, err := connectors.ParseURI(uri)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

// bytesOf returns a content as bytes.
func bytesOf(t *testing.T, c hubtest.Content) []byte {
	t.Helper()
	f, err := c.Open()
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if _, err := io.Copy(&b, f); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestConformance(t *testing.T) {
	weights := hubtest.Random(1, 3<<20+17)
	files := map[string]hubtest.Content{
		"model.safetensors": weights,
		"config.json":       hubtest.Bytes([]byte(`{"a":1}`)),
		"onnx/model.onnx":   hubtest.Random(2, 3000),
		"onnx/a b#?%.txt":   hubtest.Bytes([]byte("odd name")),
		"empty":             hubtest.Bytes(nil),
		"direct":            hubtest.Bytes([]byte("direct")),
	}
	all := []string{"config.json", "direct", "empty", "model.safetensors", "onnx/a b#?%.txt", "onnx/model.onnx"}
	prefixes := map[string]string{"model": "", "dataset": "datasets/", "space": "spaces/"}
	tests := []struct {
		name  string
		kind  string
		ref   func(t *testing.T) connectors.Ref
		files []string
	}{
		{"listing", "model", func(t *testing.T) connectors.Ref { return parse(t, "hf://owner/name") }, all},
		{"dataset", "dataset", func(t *testing.T) connectors.Ref { return parse(t, "hf://datasets/owner/name@main") }, all},
		{"space", "space", func(t *testing.T) connectors.Ref { return parse(t, "hf://spaces/owner/name") }, all},
		{"pattern", "model", func(t *testing.T) connectors.Ref { return parse(t, "hf://owner/name/*.onnx") }, []string{"onnx/model.onnx"}},
		{"directory", "model", func(t *testing.T) connectors.Ref { return parse(t, "hf://owner/name/onnx") }, all[4:]},
		{"named", "model", func(*testing.T) connectors.Ref {
			return connectors.Ref{
				Type: connectors.TypeHuggingFace, Repository: "owner/name", RepoType: "model", HasFilenames: true,
				Filenames: []string{"onnx/a b#?%.txt", "model.safetensors", "config.json"},
			}
		}, []string{"onnx/a b#?%.txt", "model.safetensors", "config.json"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			conntest.Run(t, func(t *testing.T) conntest.Fixture {
				hub := start(t, hubtest.Config{
					PageSize: 2,
					Repos:    []hubtest.Repo{{Type: tt.kind, ID: "owner/name", Files: files, Direct: []string{"direct"}}},
				})
				f := conntest.Fixture{
					Connector: connect(t, hub, hf.Config{}),
					Access:    operator,
					Ref:       tt.ref(t),
					Missing:   parse(t, "hf://"+prefixes[tt.kind]+"owner/name/nothing"),
				}
				for _, name := range tt.files {
					f.Files = append(f.Files, conntest.File{Path: name, Content: bytesOf(t, files[name])})
				}
				return f
			})
		})
	}
}
