package rest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
)

// asker is a process that asks a socket one thing.
type asker struct {
	cmd *exec.Cmd
	in  io.WriteCloser // closed: it asks, and ends
	out *bytes.Buffer
}

// TestAskerProcess is no test: it is what newAsker runs.
func TestAskerProcess(t *testing.T) {
	socket := os.Getenv("HYPHA_TEST_SOCKET")
	if socket == "" {
		return
	}
	client := unixClient(t, socket)
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://job/job", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		fmt.Printf("no answer: %v\n", err)
		return
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	fmt.Printf("%d %s %v\n", resp.StatusCode, body, err)
}

// newAsker starts a process of a user, -1: of this one.
func newAsker(t *testing.T, socket string, uid int) *asker {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	a := &asker{out: &bytes.Buffer{}}
	if uid >= 0 { // who can't read this program's directory
		dir, err := os.MkdirTemp("/tmp", "hypha-asker-") //nolint:usetesting // t.TempDir is this user's alone
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
		text, err := os.ReadFile(program)
		program = filepath.Join(dir, "asker")
		if err = errors.Join(err, os.Chmod(dir, 0o755), os.WriteFile(program, text, 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	a.cmd = exec.CommandContext(t.Context(), program, "-test.run=^TestAskerProcess$")
	a.cmd.Env = []string{"HYPHA_TEST_SOCKET=" + socket}
	a.cmd.Dir = "/"
	a.cmd.Stdout, a.cmd.Stderr = a.out, a.out
	if uid >= 0 {
		a.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
	}
	if a.in, err = a.cmd.StdinPipe(); err == nil {
		err = a.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// ask lets the process ask, and returns what it got.
func (a *asker) ask(t *testing.T) string {
	t.Helper()
	if err := errors.Join(a.in.Close(), a.cmd.Wait()); err != nil {
		t.Fatalf("%v: %s", err, a.out)
	}
	return a.out.String()
}

// lockedBuffer is a log that may be read while it grows.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// TestCaller: a process is known by its id, refused by 403 and a line in the log.
func TestCaller(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the process that connected is known on Linux")
	}
	var friend atomic.Int64
	var logged lockedBuffer
	s := serve(t, Config{
		Job:    &scripted{},
		Logger: slog.New(slog.NewTextHandler(&logged, nil)),
		Caller: func(c Caller) error {
			if c.UID != os.Geteuid() || c.GID != os.Getegid() {
				return fmt.Errorf("user %d of group %d", c.UID, c.GID)
			}
			mine, err := c.Look(func(pid int) (bool, error) { return pid == int(friend.Load()), nil })
			if err == nil && !mine {
				err = errors.New("a stranger")
			}
			return err
		},
	})
	a, b := newAsker(t, s.socket, -1), newAsker(t, s.socket, -1)
	friend.Store(int64(a.cmd.Process.Pid))
	if got := b.ask(t); !strings.HasPrefix(got, `403 {"error":"forbidden_caller","detail":"this process may not use the socket: a stranger"`) {
		t.Errorf("a stranger got %s", got)
	}
	if got := a.ask(t); !strings.HasPrefix(got, "200 {") {
		t.Errorf("a friend got %s", got)
	}
	if got := logged.String(); strings.Count(got, "caller refused") != 1 || !strings.Contains(got, fmt.Sprintf("pid=%d", b.cmd.Process.Pid)) {
		t.Errorf("log %q", got)
	}
}

// TestCallerOnce: one look is enough for a connection, and it stays refused on
// every route.
func TestCallerOnce(t *testing.T) {
	var looks atomic.Int64
	s := serve(t, Config{Job: &scripted{}, Caller: func(Caller) error { looks.Add(1); return errors.New("no") }})
	for range 3 {
		for _, path := range []string{"/healthz", "/openapi.json", "/nowhere"} {
			a := s.raw(t, http.MethodGet, path)
			if a.status != http.StatusForbidden || a.problem(t).Error != "forbidden_caller" || a.problem(t).Hint == "" {
				t.Errorf("%s: %d %s", path, a.status, a.body)
			}
		}
	}
	if n := looks.Load(); n != 1 {
		t.Errorf("%d looks at one connection", n)
	}
}

// raw asks without holding the answer against the document.
func (s *server) raw(t *testing.T, method, path string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://job"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := s.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{status: resp.StatusCode, header: resp.Header, body: body}
}

// TestCallerEnded: a process that has ended is nobody, though its id may be
// somebody's again.
func TestCallerEnded(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("whether a process has ended is known on Linux")
	}
	looked := make(chan error, 1)
	asked := make(chan struct{})
	dead := make(chan struct{})
	s := serve(t, Config{Job: &scripted{}, Caller: func(c Caller) error {
		close(asked)
		<-dead
		_, err := c.Look(func(int) (bool, error) { return true, nil })
		looked <- err
		return err
	}})
	a := newAsker(t, s.socket, -1)
	if err := a.in.Close(); err != nil {
		t.Fatal(err)
	}
	<-asked
	if err := a.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := a.cmd.Wait(); err == nil {
		t.Error("it was not killed")
	}
	close(dead)
	if err := <-looked; err == nil || !strings.Contains(err.Error(), "has ended") {
		t.Errorf("Look: %v", err)
	}
}

// TestCallerOtherUser: with Caller another user is let in, to be judged.
func TestCallerOtherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to be another user")
	}
	const uid = 61235
	var most atomic.Int64
	most.Store(uid)
	s := serve(t, Config{Job: &scripted{}, Caller: func(c Caller) error {
		if int64(c.UID) != most.Load() || c.GID != uid {
			return errors.New("another user")
		}
		return nil
	}})
	// Where the user gets to: the directories on the way, and the socket.
	dir, err := os.MkdirTemp("/tmp", "hypha-caller-") //nolint:usetesting // t.TempDir is this user's alone
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	if err := errors.Join(os.Chmod(dir, 0o711), os.Link(s.socket, socket), os.Chown(socket, uid, uid)); err != nil {
		t.Fatal(err)
	}
	if got := newAsker(t, socket, uid).ask(t); !strings.HasPrefix(got, "200 {") {
		t.Errorf("the user got %s", got)
	}
	most.Store(1)
	if got := newAsker(t, socket, uid).ask(t); !strings.HasPrefix(got, `403 {"error":"forbidden_caller"`) {
		t.Errorf("the user got %s", got)
	}
}

// TestLook: an id that can't be known is nobody's.
func TestLook(t *testing.T) {
	yes := func(int) (bool, error) { return true, nil }
	if ok, err := (Caller{}).Look(yes); ok || err == nil {
		t.Errorf("no id: %v, %v", ok, err)
	}
	if ok, err := (Caller{PID: 1}).Look(yes); !ok || err != nil {
		t.Errorf("an id: %v, %v", ok, err)
	}
	if ok, err := (Caller{PID: 1, ended: func() bool { return true }}).Look(yes); ok || err == nil {
		t.Errorf("an ended process: %v, %v", ok, err)
	}
	if _, err := (Caller{PID: 1}).Look(func(int) (bool, error) { return false, context.Canceled }); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}
