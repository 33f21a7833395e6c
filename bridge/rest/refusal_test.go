package rest

import (
	"bytes"
	"context"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/bridge"
	"github.com/hypha-node/hypha-node/bridge/bridgetest"
	"github.com/hypha-node/hypha-node/internal/hubtest"
)

func TestF7ChecksumMismatch(t *testing.T) {
	w := bridgetest.New(t, bridgetest.Options{})
	s := serveJob(t, w, "f7c")
	w.Origin.Put("/x", random(3, 3<<20))
	w.Origin.Put("/known", random(4, 1000))
	s.fetch(`"` + w.Origin.URL + `/known"`).files(t)
	for _, p := range []string{"/x", "/known"} {
		a := s.fetch(`{"type":"uri","value":"` + w.Origin.URL + p + `","filename":"bad","checksum":"sha256:` + strings.Repeat("0", 64) + `"}`)
		if a.status != http.StatusUnprocessableEntity || a.problem(t).Error != "checksum_mismatch" {
			t.Errorf("%s: %d %s", p, a.status, a.body)
		}
	}
	if got := s.tree(); !slices.Equal(got, []string{"artifacts/known"}) {
		t.Errorf("work directory has %v", got)
	}
	hub, _ := model()
	s = serveJob(t, bridgetest.New(t, bridgetest.Options{Hub: hub}), "f7d")
	a := s.fetch(`{"type":"huggingface","repository":"org/model","filenames":["config.json","empty.txt"],"checksum":"sha256:` + strings.Repeat("0", 64) + `"}`)
	if a.status != http.StatusBadRequest || !strings.Contains(a.problem(t).Detail, "checksum") {
		t.Errorf("a checksum for two files: %d %s", a.status, a.body)
	}
	a = s.fetch(`{"type":"huggingface","repository":"org/model","filenames":["model.safetensors"],"checksum":"sha256:` + strings.Repeat("0", 64) + `"}`)
	if a.status != http.StatusUnprocessableEntity || a.problem(t).Error != "checksum_mismatch" {
		t.Errorf("another checksum than the hub's: %d %s", a.status, a.body)
	}
	if got := s.tree(); len(got) != 0 {
		t.Errorf("work directory has %v", got)
	}
}

func TestF15Disconnect(t *testing.T) {
	w := bridgetest.New(t, bridgetest.Options{})
	s := serveJob(t, w, "f15")
	data := random(10, 4<<20)
	t.Run("alone", func(t *testing.T) {
		gate := w.Origin.Put("/alone", data).Stop()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			if _, _, err := s.try(ctx, http.MethodPost, "/resources/fetch", "application/json", `"`+w.Origin.URL+`/alone"`); err == nil {
				t.Error("an answer after all")
			}
		}()
		bridgetest.Wait(t, gate.Reached(), "half of the download")
		cancel()
		<-done
		bridgetest.Wait(t, gate.Abandoned(), "the end of the download")
	})
	t.Run("wanted by another", func(t *testing.T) {
		f := w.Origin.Put("/shared", data)
		gate := f.Stop()
		other := serveJob(t, w, "f15b")
		ctx, cancel := context.WithCancel(t.Context())
		gone, kept := make(chan struct{}), make(chan answer, 1)
		go func() {
			defer close(gone)
			if _, _, err := s.try(ctx, http.MethodPost, "/resources/fetch", "application/json", `"`+w.Origin.URL+`/shared"`); err == nil {
				t.Error("an answer after all")
			}
		}()
		bridgetest.Wait(t, gate.Reached(), "half of the download")
		asked := make(chan struct{})
		go func() {
			close(asked)
			kept <- other.fetch(`"` + w.Origin.URL + `/shared"`)
		}()
		<-asked
		cancel()
		<-gone
		gate.Open()
		other.checkFile((<-kept).files(t)[0], data)
	})
	bridgetest.Until(t, "an empty temporary directory", func() bool {
		entries, err := os.ReadDir(filepath.Join(s.dir, bridge.Private, "tmp"))
		return err == nil && len(entries) == 0
	})
	if got := s.tree(); len(got) != 0 {
		t.Errorf("work directory has %v", got)
	}
}

func TestF16OneFails(t *testing.T) {
	hub, files := model()
	w := bridgetest.New(t, bridgetest.Options{Hub: hub})
	t.Run("missing", func(t *testing.T) {
		s := serveJob(t, w, "f16")
		a := s.fetch(`{"type":"huggingface","repository":"org/model","filenames":["model.safetensors","config.json","missing","empty.txt"]}`)
		p := a.problem(t)
		if a.status != http.StatusNotFound || p.Error != "not_found" || !strings.Contains(p.Detail, "missing") {
			t.Errorf("%d %s", a.status, a.body)
		}
		if len(p.Completed) != 2 {
			t.Fatalf("completed %+v", p.Completed)
		}
		s.checkFile(p.Completed[0], files["model.safetensors"])
		s.checkFile(p.Completed[1], files["config.json"])
		if got := s.tree(); !slices.Equal(got, []string{"artifacts/config.json", "artifacts/model.safetensors"}) {
			t.Errorf("work directory has %v", got)
		}
	})
	t.Run("broken origin", func(t *testing.T) {
		s := serveJob(t, w, "f16b")
		w.Hub.Plant(hubtest.Fault{Path: "empty.txt", Status: http.StatusInternalServerError})
		defer w.Hub.ClearFaults()
		a := s.fetch(`{"type":"huggingface","repository":"org/model","filenames":["a/b/c.json","name with spaces & ümlaut.txt","empty.txt"]}`)
		p := a.problem(t)
		if a.status != http.StatusBadGateway || p.Error != "origin_error" || p.Path != "artifacts/empty.txt" || len(p.Completed) != 2 {
			t.Fatalf("%d %s", a.status, a.body)
		}
		s.checkFile(p.Completed[0], files["a/b/c.json"])
		s.checkFile(p.Completed[1], files["name with spaces & ümlaut.txt"])
	})
	t.Run("wrong bytes", func(t *testing.T) {
		sub := bridgetest.New(t, bridgetest.Options{Hub: hub}) // a store that does not have it yet
		s := serveJob(t, sub, "f16c")
		sub.Hub.Plant(hubtest.Fault{Path: "config.json", Corrupt: true, At: 2})
		a := s.fetch(`{"type":"huggingface","repository":"org/model","filenames":["a/b/c.json","config.json"]}`)
		if p := a.problem(t); a.status != http.StatusUnprocessableEntity || p.Error != "checksum_mismatch" || len(p.Completed) != 1 {
			t.Errorf("%d %s", a.status, a.body)
		}
		if got := s.tree(); !slices.Equal(got, []string{"artifacts/a/b/c.json"}) {
			t.Errorf("work directory has %v", got)
		}
	})
}

func TestRefusedAddress(t *testing.T) {
	w := bridgetest.New(t, bridgetest.Options{Guard: true})
	f := w.Origin.Put("/x", []byte("secret"))
	s := serveJob(t, w, "ssrf")
	a := s.fetch(`"` + w.Origin.URL + `/x"`)
	if a.status != http.StatusForbidden || a.problem(t).Error != "forbidden_address" || a.problem(t).Hint == "" {
		t.Errorf("%d %s", a.status, a.body)
	}
	if f.Requests() != 0 {
		t.Error("the origin was asked")
	}
}

func TestGated(t *testing.T) {
	w := bridgetest.New(t, bridgetest.Options{Hub: hubtest.Config{Repos: []hubtest.Repo{
		{ID: "org/gated", Gated: "manual", Files: map[string]hubtest.Content{"x.bin": hubtest.Bytes([]byte("x"))}},
	}}})
	s := serveJob(t, w, "gated")
	a := s.fetch(`{"type":"huggingface","repository":"org/gated","filenames":["x.bin"]}`)
	if a.status != http.StatusForbidden || a.problem(t).Error != "gated" {
		t.Errorf("%d %s", a.status, a.body)
	}
	a = s.fetch(`{"type":"huggingface","repository":"org/gated","filenames":["x.bin"],"token":"hf_wrongSecret"}`)
	if a.status != http.StatusForbidden || bytes.Contains(a.body, []byte("hf_wrongSecret")) {
		t.Errorf("%d %s", a.status, a.body)
	}
}

func TestNoSpace(t *testing.T) {
	m := blockstore.NewMemory()
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	m.SetLimit(1 << 20)
	w := bridgetest.New(t, bridgetest.Options{Store: m})
	s := serveJob(t, w, "full")
	w.Origin.Put("/x", random(11, 3<<20))
	a := s.fetch(`"` + w.Origin.URL + `/x"`)
	if a.status != http.StatusInsufficientStorage || a.problem(t).Error != "no_space" {
		t.Errorf("%d %s", a.status, a.body)
	}
	if got := s.tree(); len(got) != 0 {
		t.Errorf("work directory has %v", got)
	}
}
