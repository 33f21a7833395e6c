package conformance

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hypha-node/hypha-node/internal/hubtest"
	"github.com/hypha-node/hypha-node/testground/rig"
)

// shared is what the tests have in common, made by TestMain.
var shared site

// site is a hub, an origin and three nodes that are connected with each other.
type site struct {
	dir    string
	binary string
	hub    *hubtest.Hub
	origin *origin
	nodes  [3]*rig.Node
	ids    [3]string // their peer ids
}

func TestMain(m *testing.M) {
	flag.Parse()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	err := shared.open(ctx)
	cancel()
	code := 1
	if err == nil {
		code = m.Run()
	}
	err = errors.Join(err, shared.close())
	if err == nil {
		err = goleak.Find()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// open starts everything.
func (s *site) open(ctx context.Context) (err error) {
	// Sockets have short names, wherever temporary files go.
	if s.dir, err = os.MkdirTemp("/tmp", "hc"); err != nil {
		return err
	}
	if s.binary, err = rig.Build(ctx, s.dir); err != nil {
		return err
	}
	if s.hub, err = hubtest.New(hubConfig()); err != nil {
		return err
	}
	if err := s.hub.Start(); err != nil {
		return err
	}
	s.origin = newOrigin()
	for i := range s.nodes {
		repo := filepath.Join(s.dir, fmt.Sprint("n", i))
		if s.nodes[i], err = rig.StartNode(ctx, rig.Config{Binary: s.binary, Repo: repo, Env: s.env()}); err != nil {
			return err
		}
		address, err := s.nodes[i].Address(ctx)
		if err != nil {
			return err
		}
		s.ids[i] = address[strings.LastIndexByte(address, '/')+1:]
		for _, n := range s.nodes[:i] {
			if _, err := n.Run(ctx, "connect", address); err != nil {
				return err
			}
		}
	}
	return nil
}

// close ends everything and waits for it.
func (s *site) close() error {
	var errs []error
	for _, n := range s.nodes {
		if n != nil {
			errs = append(errs, n.Stop())
		}
	}
	if s.hub != nil {
		errs = append(errs, s.hub.Close())
	}
	if s.origin != nil {
		s.origin.close()
	}
	http.DefaultClient.CloseIdleConnections()
	return errors.Join(append(errs, os.RemoveAll(s.dir))...)
}

// env is the environment of every node: it speaks to our hub and to nobody else.
func (s *site) env() []string {
	return []string{
		"HF_ENDPOINT=" + s.hub.URL, "HF_TOKEN=", "HF_HOME=" + filepath.Join(s.dir, "hf"), "NO_PROXY=127.0.0.1",
		"http_proxy=", "https_proxy=", "HTTP_PROXY=", "HTTPS_PROXY=",
	}
}

// hubConfig is what the hub has. Pages are small, so that listings have several.
func hubConfig() hubtest.Config {
	return hubtest.Config{
		PageSize: 2,
		Tokens:   map[string]hubtest.User{"hf_good": {Name: "reader"}},
		Repos: []hubtest.Repo{
			{ID: "org/model", Files: map[string]hubtest.Content{
				"config.json":               hubtest.Bytes([]byte(`{"layers":2}`)),
				"empty.txt":                 hubtest.Bytes(nil),
				"model.safetensors":         hubtest.Random(1, 3<<20+1),
				"a/b/c.json":                hubtest.Bytes([]byte(`{"deep":true}`)),
				"tokenizer/with space+ü.md": hubtest.Bytes([]byte("names are quoted")),
			}},
			{Type: "dataset", ID: "org/data", Files: map[string]hubtest.Content{"train.csv": hubtest.Random(3, 70000)}},
			{ID: "org/gated", Gated: "auto", Readers: []string{"reader"}, Files: map[string]hubtest.Content{"secret.bin": hubtest.Random(4, 2<<20)}},
		},
	}
}

// ok ends the test on an error.
func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// start starts a node of the test's own, which its end stops. Nothing is
// connected to it.
func start(t *testing.T, repo string, env []string, args ...string) *rig.Node {
	t.Helper()
	n, err := rig.StartNode(rig.Within(t), rig.Config{Binary: shared.binary, Repo: repo, Env: append(shared.env(), env...), Args: args})
	ok(t, err)
	t.Cleanup(func() {
		select {
		case <-n.Ended(): // the test ended it
		default:
			if err := n.Stop(); err != nil {
				t.Errorf("stop: %v", err)
			}
		}
	})
	return n
}

// shortDir returns a directory whose path is short enough for sockets.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "hc") //nolint:usetesting // t.TempDir has the test's name in its path
	ok(t, err)
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// run runs a command against a node and returns what it printed.
func run(t *testing.T, n *rig.Node, args ...string) string {
	t.Helper()
	r, err := n.Run(rig.Within(t), args...)
	ok(t, err)
	return strings.TrimSpace(r.Stdout)
}
