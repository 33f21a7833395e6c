package httpconn_test

import (
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	httpconn "github.com/hypha-node/hypha-node/connectors/http"
)

// TestEnvironmentChild fetches a URL on behalf of a job; TestEnvironment runs
// it in a process of its own, because the environment is read once.
func TestEnvironmentChild(t *testing.T) {
	u := os.Getenv("CHILD_URL")
	if u == "" {
		return // not a child of TestEnvironment
	}
	c := newClient(t, httpconn.Config{Retries: -1})
	body, err := c.Open(t.Context(), httpconn.Target{URL: u, Size: -1}, 0, -1, nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	if err := body.Close(); err != nil {
		t.Fatal(err)
	}
	fmt.Printf("GOT %s\n", b)
}

// tunnel is a proxy that connects everything to one address.
func tunnel(t *testing.T, to string) (address string, log *requests) {
	t.Helper()
	log = &requests{}
	var running sync.WaitGroup
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		log.add(r)
		var d net.Dialer
		up, err := d.DialContext(r.Context(), "tcp", to)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		down, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			_ = up.Close()
			return
		}
		running.Go(func() {
			_, _ = io.Copy(up, buffered)
			_ = up.Close()
		})
		running.Go(func() {
			_, _ = io.Copy(down, up)
			_ = down.Close()
		})
	}))
	t.Cleanup(func() {
		server.Close()
		running.Wait()
	})
	return server.URL, log
}

// TestEnvironment: HTTPS_PROXY and SSL_CERT_FILE are honoured, for jobs too.
func TestEnvironment(t *testing.T) {
	secure := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte(r.Host + r.URL.Path))
	}))
	secure.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	secure.StartTLS()
	t.Cleanup(secure.Close)
	proxy, log := tunnel(t, secure.Listener.Addr().String())
	roots := filepath.Join(t.TempDir(), "roots.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw})
	if err := os.WriteFile(roots, block, 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name    string
		env     []string
		url     string
		says    string
		tunnels int
	}{
		{"proxy and certificate", []string{"HTTPS_PROXY=" + proxy, "SSL_CERT_FILE=" + roots}, "https://example.com/x", "GOT example.com/x", 1},
		{"certificate is not known", []string{"HTTPS_PROXY=" + proxy}, "https://example.com/x", "certificate", 1},
		{"target is private", []string{"HTTPS_PROXY=" + proxy, "SSL_CERT_FILE=" + roots}, "https://10.0.0.1/x", "refused address", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := log.count()
			child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestEnvironmentChild$", "-test.v")
			child.Env = append([]string{"CHILD_URL=" + tt.url, "HOME=" + t.TempDir()}, tt.env...)
			out, err := child.CombinedOutput()
			if got := strings.HasPrefix(tt.says, "GOT"); got != (err == nil) || !strings.Contains(string(out), tt.says) {
				t.Errorf("%v\n%s", err, out)
			}
			if n := log.count() - before; n != tt.tunnels {
				t.Errorf("%d tunnels, want %d", n, tt.tunnels)
			}
		})
	}
}
