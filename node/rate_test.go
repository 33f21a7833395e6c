package node

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"github.com/hypha-node/hypha-node/api/control"
)

// TestMaxRate: what clients of a node fetch, at the same time, keeps together to the
// rate of its configuration: so much can't come in less time.
func TestMaxRate(t *testing.T) {
	const rate, files, size = 1 << 20, 3, 300 << 10
	const least = (files*size - rate/10) * time.Second / rate // a tenth of a second may pass at once
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write(bytes.Repeat([]byte(r.URL.Path), size/len(r.URL.Path)))
	}))
	defer origin.Close()
	c := config(t, filepath.Join(shortDir(t), "repo"))
	c.Offline, c.MaxRate = true, rate
	client, _, stop := run(t, c)
	defer stop()
	began := time.Now()
	done := make(chan error, files)
	for i := range files {
		go func() {
			ref := json.RawMessage(fmt.Sprintf("%q", fmt.Sprint(origin.URL, "/", i)))
			var last error
			for _, err := range client.Fetch(t.Context(), control.FetchRequest{Refs: []json.RawMessage{ref}}) {
				last = err
			}
			done <- last
		}()
	}
	for range files {
		must(t, <-done)
	}
	if took := time.Since(began); took < least {
		t.Errorf("%d bytes came in %v, at %d a second", files*size, took, rate)
	}
}
