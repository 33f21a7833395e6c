package control

import (
	"context"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestMemoryIsWaitedFor: what imports, copies or writes content waits while the
// node's memory is taken, ends when its caller has gone, and gives its share back.
func TestMemoryIsWaitedFor(t *testing.T) {
	r := newRig(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "f")
	must(t, os.WriteFile(file, []byte("content"), 0o600))
	added, err := r.server.addStream(t.Context(), AddRequest{Name: "f"}, strings.NewReader("content"), -1)
	must(t, err)
	budget := r.server.Engine.Memory()
	for name, do := range map[string]func(ctx context.Context) error{
		"add": func(ctx context.Context) error {
			return r.server.add(ctx, AddRequest{Paths: []string{file, dir}}, newStream[Added](httptest.NewRecorder()))
		},
		"add content": func(ctx context.Context) error {
			_, err := r.server.addStream(ctx, AddRequest{}, strings.NewReader("more"), 4)
			return err
		},
		"get": func(ctx context.Context) error {
			return r.server.get(ctx, GetRequest{Path: added.CID, Output: filepath.Join(dir, "out"), Force: true}, newStream[Written](httptest.NewRecorder()))
		},
	} {
		t.Run(name, func(t *testing.T) {
			all, err := budget.Take(t.Context(), 1<<62)
			must(t, err)
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			begin := func(ctx context.Context) {
				go func() { done <- do(ctx) }()
				limit, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				tick := time.NewTicker(time.Millisecond)
				defer tick.Stop()
				for budget.Waiting() != 1 {
					select {
					case <-tick.C:
					case err := <-done:
						t.Fatalf("did not wait: %v", err)
					case <-limit.Done():
						t.Fatal("nobody waits")
					}
				}
			}
			begin(ctx)
			cancel()
			if err := <-done; err == nil {
				t.Error("done without memory")
			}
			begin(t.Context())
			all.Release()
			must(t, <-done)
			again, err := budget.Take(t.Context(), 1<<62)
			must(t, err)
			again.Release()
		})
	}
}
