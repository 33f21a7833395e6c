package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/hypha-node/hypha-node/bridge"
	"github.com/hypha-node/hypha-node/bridge/bridgetest"
	"github.com/hypha-node/hypha-node/bridge/client"
	"github.com/hypha-node/hypha-node/bridge/rest"
	"github.com/hypha-node/hypha-node/internal/hubtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve serves a job of a world and returns it with a client.
func serve(t *testing.T, w *bridgetest.World) (*bridge.Job, *client.Client) {
	t.Helper()
	job := w.Open(t, "c")
	socket := filepath.Join(filepath.Dir(job.Info().WorkDir), "b.sock")
	if err := os.Chmod(filepath.Dir(socket), 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := rest.Listen(t.Context(), socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- rest.New(rest.Config{Job: job}).Serve(ctx, l) }()
	c := client.New(socket)
	t.Cleanup(func() {
		c.Close()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return job, c
}

func TestClient(t *testing.T) {
	w := bridgetest.New(t, bridgetest.Options{Hub: hubtest.Config{Repos: []hubtest.Repo{
		{ID: "org/m", Files: map[string]hubtest.Content{"config.json": hubtest.Bytes([]byte("{}")), "w.bin": hubtest.Random(1, 3<<20)}},
	}}})
	w.Origin.Put("/x", []byte("hello world"))
	job, c := serve(t, w)
	if err := c.Healthy(t.Context()); err != nil {
		t.Fatal(err)
	}
	if info, err := c.Job(t.Context()); err != nil || info != job.Info() {
		t.Errorf("%+v, %v; want %+v", info, err, job.Info())
	}
	got, err := c.Fetch(t.Context(), w.Origin.URL+"/x", "in")
	if err != nil || len(got) != 1 || got[0].Path != "in/x" || got[0].Size != 11 {
		t.Fatalf("%+v, %v", got, err)
	}
	if got[0].CID != "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e" {
		t.Errorf("CID %s", got[0].CID)
	}
	if data, err := os.ReadFile(filepath.Join(job.Info().WorkDir, "in", "x")); err != nil || string(data) != "hello world" {
		t.Errorf("%q, %v", data, err)
	}
	ref := map[string]any{"type": "HuggingFace", "repository": "org/m", "filenames": []string{"w.bin", "config.json"}}
	if got, err = c.Fetch(t.Context(), ref, ""); err != nil || len(got) != 2 || got[1].Path != "artifacts/config.json" {
		t.Errorf("%+v, %v", got, err)
	}
	raw := json.RawMessage(`{"type":"huggingface","repository":"org/m","filenames":["config.json","nope"]}`)
	_, err = c.Fetch(t.Context(), raw, "")
	refusal, ok := errors.AsType[*client.Error](err)
	if !ok || refusal.Status != http.StatusNotFound || refusal.Code != "not_found" || len(refusal.Completed) != 1 || !strings.Contains(err.Error(), "nope") {
		t.Errorf("%#v", err)
	}
}

func TestClientWithoutBridge(t *testing.T) {
	c := client.New(filepath.Join(t.TempDir(), "nobody"))
	defer c.Close()
	if err := c.Healthy(t.Context()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Fetch(ctx, "hf://a/b", ""); err == nil {
		t.Error("no error")
	}
	if _, err := c.Fetch(t.Context(), func() {}, ""); err == nil {
		t.Error("a function was encoded")
	}
}
