package rest

import (
	"bufio"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hypha-node/hypha-node/bridge/bridgetest"
)

func TestSocketMode(t *testing.T) {
	dir := privateDir(t)
	path := filepath.Join(dir, "s")
	l, err := Listen(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Lstat(path)
	if err != nil || info.Mode() != fs.ModeSocket|0o600 {
		t.Errorf("mode %v, %v; want a socket of mode 0600", info.Mode(), err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket outlives its listener: %v", err)
	}
}

// The socket is never wider, at no instant: somebody looks all the time.
func TestSocketModeFromBirth(t *testing.T) {
	dir := privateDir(t)
	path := filepath.Join(dir, "s")
	stop := make(chan struct{})
	var watcher sync.WaitGroup
	seen := 0
	watcher.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if info, err := os.Lstat(path); err == nil {
				if seen++; info.Mode() != fs.ModeSocket|0o600 {
					t.Errorf("mode %v", info.Mode())
					return
				}
			}
		}
	})
	for range 300 {
		l, err := Listen(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	watcher.Wait()
}

func TestSocketPath(t *testing.T) {
	dir := privateDir(t)
	long := filepath.Join(dir, strings.Repeat("x", MaxSocketPath-len(dir)-1))
	if len(long) != MaxSocketPath {
		t.Fatal(len(long))
	}
	l, err := Listen(t.Context(), long)
	if err != nil {
		t.Fatalf("the longest path: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	wide, link := filepath.Join(t.TempDir(), "wide"), filepath.Join(t.TempDir(), "link")
	if err := os.Mkdir(wide, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(wide, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("data"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, path := range map[string]string{
		"too long":         long + "x",
		"relative":         "s.sock",
		"empty":            "",
		"directory wide":   filepath.Join(wide, "s"),
		"symlink":          filepath.Join(link, "s"),
		"no directory":     filepath.Join(dir, "none", "s"),
		"in a file":        filepath.Join(file, "s"),
		"a file is there":  file,
		"directory itself": dir,
	} {
		l, err := Listen(t.Context(), path)
		if err == nil {
			t.Errorf("%s: listening", name)
			l.Close()
			continue
		}
		if !errors.Is(err, ErrSocketPath) {
			t.Errorf("%s: %v is no ErrSocketPath", name, err)
		}
	}
	if got, err := os.ReadFile(file); err != nil || string(got) != "data" {
		t.Errorf("a file was removed for a socket: %q, %v", got, err)
	}
}

func TestStaleSocket(t *testing.T) {
	path := filepath.Join(privateDir(t), "s")
	conf := net.ListenConfig{}
	dead, err := conf.Listen(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	unix, ok := dead.(*net.UnixListener)
	if !ok {
		t.Fatalf("%T", dead)
	}
	unix.SetUnlinkOnClose(false) // as kill -9 leaves it
	if err := dead.Close(); err != nil {
		t.Fatal(err)
	}
	l, err := Listen(t.Context(), path)
	if err != nil {
		t.Fatalf("a stale socket is in the way: %v", err)
	}
	defer l.Close()
	if second, err := Listen(t.Context(), path); !errors.Is(err, ErrSocketInUse) {
		t.Errorf("a live socket was taken: %v, %v", second, err)
	}
}

// Connections of another user get nothing; peerUID tells who connects.
func TestPeerCredentials(t *testing.T) {
	path := filepath.Join(privateDir(t), "s")
	l, err := Listen(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	strict, ok := l.(*userListener)
	if !ok {
		t.Fatalf("%T", l)
	}
	served := make(chan struct{})
	go func(inner net.Listener) {
		defer close(served)
		for {
			conn, err := inner.Accept()
			if err != nil {
				return
			}
			uid, err := peerUID(conn)
			if (err != nil || uid != os.Geteuid()) && !errors.Is(err, errors.ErrUnsupported) {
				t.Errorf("peer is %d, %v; want %d", uid, err, os.Geteuid())
			}
			conn.Close()
		}
	}(strict.Listener)
	conn := dial(t, path)
	if _, err := io.ReadAll(conn); err != nil {
		t.Error(err)
	}
	conn.Close()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	<-served
	l, err = Listen(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if strict, ok = l.(*userListener); !ok {
		t.Fatalf("%T", l)
	}
	strict.uid++ // as if we were somebody else
	accepted := make(chan net.Conn, 1)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if conn, err := strict.Accept(); err == nil {
			accepted <- conn
		}
	}()
	stranger := dial(t, path)
	defer stranger.Close()
	if err := stranger.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if n, err := stranger.Read(make([]byte, 1)); n != 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a stranger's connection stays open: %d, %v", n, err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	bridgetest.Wait(t, ended, "the end of Accept")
	select {
	case conn := <-accepted:
		conn.Close()
		t.Error("a stranger was let in")
	default:
	}
}

func TestBusyAnswerIsHTTP(t *testing.T) {
	r := bufio.NewReader(strings.NewReader(busy))
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || !strings.HasSuffix(string(body), "}\n") || r.Buffered() != 0 {
		t.Errorf("%q, %v, %d bytes left", body, err, r.Buffered())
	}
}
