package hf_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hypha-node/hypha-node/connectors"
	"github.com/hypha-node/hypha-node/connectors/hf"
	httpconn "github.com/hypha-node/hypha-node/connectors/http"
	"github.com/hypha-node/hypha-node/internal/hubtest"
)

// TestFaults: what may happen on the way does not change what arrives.
func TestFaults(t *testing.T) {
	want := bytesOf(t, model()["model.safetensors"])
	tests := []struct {
		name  string
		fault hubtest.Fault
	}{
		{"the CDN cuts the body", hubtest.Fault{CDN: true, Cut: true, At: 100_000, Times: 1}},
		{"the CDN cuts at once", hubtest.Fault{CDN: true, Cut: true, At: 0, Times: 2}},
		{"the CDN stalls", hubtest.Fault{CDN: true, Stall: true, At: 100_000, Times: 1}},
		{"the CDN refuses the first URL", hubtest.Fault{CDN: true, Status: 403, Times: 1}},
		{"the CDN is busy", hubtest.Fault{CDN: true, Status: 503, Times: 2}},
		{"the hub is busy", hubtest.Fault{Status: 500, Times: 2}},
		{"too many requests", hubtest.Fault{Path: "/api/", Status: 429, RetryAfter: "0", Times: 1}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			hub := start(t, hubtest.Config{Repos: []hubtest.Repo{{ID: "owner/name", Files: model()}}})
			hub.Plant(tt.fault)
			client := httpconn.NewClient(httpconn.Config{Delay: time.Millisecond, Stall: time.Second})
			t.Cleanup(client.Close)
			items, err := collect(t, hf.New(hf.Config{Endpoint: hub.URL, Client: client}), named("model.safetensors"))
			if err != nil {
				t.Fatal(err)
			}
			if got, err := readItem(t, items[0]); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		})
	}
}

// TestExpiredLink: a link that has expired in the middle is asked for anew.
func TestExpiredLink(t *testing.T) {
	var hours atomic.Int64
	hub := start(t, hubtest.Config{
		Repos: []hubtest.Repo{{ID: "owner/name", Files: model()}},
		Now:   func() time.Time { return time.Now().Add(time.Duration(hours.Load()) * time.Hour) },
	})
	hub.Plant(hubtest.Fault{CDN: true, Cut: true, At: 100_000, Times: 1})
	items, err := collect(t, connect(t, hub, hf.Config{}), named("model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	body, err := items[0].Open(t.Context(), 0, -1, nil)
	if err != nil {
		t.Fatal(err)
	}
	hours.Store(2) // no request is under way: the first is being answered, the next comes from Read
	got, err := io.ReadAll(body)
	if err := errors.Join(err, body.Close()); err != nil || !bytes.Equal(got, bytesOf(t, model()["model.safetensors"])) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// TestStorageRefuses: when the CDN goes on refusing, the error says who it was.
func TestStorageRefuses(t *testing.T) {
	hub := start(t, hubtest.Config{Repos: []hubtest.Repo{{ID: "owner/name", Files: model()}}})
	hub.Plant(hubtest.Fault{CDN: true, Status: http.StatusForbidden})
	items, err := collect(t, connect(t, hub, hf.Config{}), named("model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := readItem(t, items[0]); !errors.Is(err, connectors.ErrUpstream) || !strings.Contains(err.Error(), "storage answered forbidden") {
		t.Errorf("error is %v", err)
	}
}
