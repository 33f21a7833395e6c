package trust

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/hypha-node/hypha-node/testground/rig"
)

// TestMemoryOfDownloads: eight downloads at the same time, of more than any window,
// cost a daemon no more than 256 MiB of memory of its own.
func TestMemoryOfDownloads(t *testing.T) {
	const files, size, most = 8, 64 << 20, 256 << 20
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seed, err := strconv.ParseUint(filepath.Base(r.URL.Path), 10, 64)
		if err != nil {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Length", strconv.Itoa(size))
		_, _ = io.Copy(w, rig.Random(seed, size))
	}))
	defer origin.Close()
	n := start(t, filepath.Join(t.TempDir(), "repo"))
	defer func() { stop(t, n) }()
	before, err := rig.UsageOf(n.PID())
	ok(t, err)
	peak := rig.WatchAnon(n.PID())
	done := make(chan error, files)
	for i := range files {
		go func(ctx context.Context) {
			_, err := n.Run(ctx, "fetch", "-q", fmt.Sprintf("%s/%d", origin.URL, i))
			done <- err
		}(rig.Within(t))
	}
	for range files {
		ok(t, <-done)
	}
	grown := peak() - before.Anon
	t.Logf("RssAnon grew by %d MiB, from %d", grown>>20, before.Anon>>20)
	if grown > most {
		t.Errorf("RssAnon grew by %d MiB for %d downloads at once, want at most %d", grown>>20, files, most>>20)
	}
}
